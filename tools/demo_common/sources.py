"""A text that every machine with Python has."""

import sysconfig
from pathlib import Path


def standard_library() -> bytearray:
    """The sources of Python's standard library."""
    files = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
    text = bytearray().join(file.read_bytes() for file in files)
    if len(text) < 100_000:
        raise RuntimeError(f"no sources of the standard library in {sysconfig.get_path('stdlib')}")
    return text
