"""The error that is raised when a generated folder cannot be loaded."""


class LoadError(RuntimeError):
    """A generated folder is missing, damaged, edited, or not what this version generates."""
