"""Files of the cache in tests, and how they are damaged."""

from runtime.system.compile_cache import SUFFIX


def files_in(root):
    return sorted(root.rglob(f"*{SUFFIX}"))


def flipped(content):
    """One bit is another, in the middle of the machine code."""
    place = len(content) // 2
    return content[:place] + bytes([content[place] ^ 16]) + content[place + 1 :]


def without_a_page(content):
    """A page of zeros, as a file system leaves them after a crash."""
    start = len(content) // 3
    return content[:start] + bytes(min(4096, len(content) - start)) + content[start + 4096 :]
