"""The notes of a report in words."""

from weft.notes import told
from weft.reporting import ReportNote


def unmatched(path: str, size: int = 8) -> ReportNote:
    return ReportNote("unmatched_variable", path, f"variable '{path}' of {size} bytes is matched by no rule")


def test_variables_of_layers_that_are_alike_are_one_note():
    found = told([unmatched("head.weight"), *(unmatched(f"layers.{n}.up.weight") for n in range(12))])
    assert found == [
        ("unmatched_variable", "variable 'head/weight' of 8 bytes is matched by no rule"),
        ("unmatched_variable", "variable 'layers/[0-11]/up/weight' of 8 bytes is matched by no rule (12 alike)"),
    ]


def test_what_differs_in_more_stays_apart():
    notes = [unmatched("layers.0.up"), unmatched("layers.1.up", size=9), unmatched("layers.2.down")]
    assert len(told(notes)) == 3
    rules = [ReportNote("unused_rule", f"layers/{n}", f"rule 'layers/{n}' matches nothing") for n in range(2)]
    assert [text for _, text in told(rules)] == [note.text for note in rules]


def test_of_a_rule_that_nearly_matches_that_alone_is_told():
    unused = [ReportNote("unused_rule", name, f"rule '{name}' matches nothing") for name in ("up", "down")]
    near = ReportNote("near_miss", "up", "rule 'up' matches a part")
    assert told([*unused, near]) == [("unused_rule", "rule 'down' matches nothing"), ("near_miss", near.text)]
