"""The loss around critical points and solutions: Hessians and stability."""
