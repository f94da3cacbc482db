"""The notes of a report in words."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from .spans import alike, generic

if TYPE_CHECKING:
    from .reporting import ReportNote

_OF_VARIABLES = ("unmatched_variable", "uneven")  # kinds whose subject is a path


def told(notes: Iterable[ReportNote]) -> list[tuple[str, str]]:
    """Kinds and texts: one for variables of layers that are alike; of a pattern that nearly matches, that alone."""
    notes = list(notes)
    near = {note.subject for note in notes if note.kind == "near_miss"}
    groups: dict[tuple, list[ReportNote]] = {}
    for note in notes:
        if note.kind in _OF_VARIABLES:
            rest = note.text.replace(note.subject, "")
            groups.setdefault((note.kind, generic(_words(note.subject)), rest), []).append(note)
        elif note.kind != "unused_rule" or note.subject not in near:
            groups.setdefault((note.kind, note.subject, note.text), []).append(note)
    return [(kind, _text(group)) for (kind, _, _), group in groups.items()]


def _text(group: list[ReportNote]) -> str:
    first = group[0]
    if first.kind not in _OF_VARIABLES:
        return first.text
    (path,) = alike(note.subject for note in group)
    return first.text.replace(first.subject, path) + (f" ({len(group)} alike)" if len(group) > 1 else "")


def _words(path: str) -> list[str]:
    return path.replace(".", "/").split("/")
