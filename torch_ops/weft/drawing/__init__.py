"""Pictures of who holds which part of what, for terminals and as files."""

from .drawing import Drawing, draw

__all__ = ["draw", "Drawing"]
