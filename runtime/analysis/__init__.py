"""What the overlaps say about the landscape and the dynamics: analysis of states and runs."""
