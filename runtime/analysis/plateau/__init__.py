"""The plateau: the symmetric state in which learning gets stuck, and how it is left."""
