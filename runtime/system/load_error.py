"""The error of loading a generated folder."""


class LoadError(RuntimeError):
    """A generated folder is missing, damaged, edited, or not what this version generates."""
