"""The documents of figures are what tools/bench/all has measured."""

import importlib
import json
import sys
from pathlib import Path

import pytest
from documents.blocks import ROOT

sys.path.insert(0, str(ROOT / "tools" / "bench"))
figures, show_figures = (importlib.import_module(name) for name in ("figures", "show_figures"))
RESULTS = ROOT / "docs" / "results"


def test_the_documents_are_of_the_figures() -> None:
    kept = json.loads((RESULTS / "figures.json").read_text())
    assert show_figures.readme_table(kept) in (ROOT / "README.md").read_text(), "tools/bench/all --readme mends it"
    assert show_figures.document(kept) == (RESULTS / "figures.md").read_text(), "tools/bench/all --readme mends it"


def test_notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(figures.FILE, raising=False)
    figures.note("nowhere", "plain", "s", 1.0, 2.0)
    path = tmp_path / "figures"
    assert figures.read(str(path)) == []
    monkeypatch.setenv(figures.FILE, str(path))
    figures.note("two numbers", "plain", "s", 1.0, 2.0, goal=0.9)
    # The median of the rounds' ratios, which is not the ratio of the medians.
    figures.note("rounds", "DDP", "ms", [1.0, 9.0, 30.0], [2.0, 3.0, 40.0], headline=False)
    single, rounds = figures.read(str(path))
    assert (single.ratio, single.low, single.goal, single.headline) == (0.5, None, 0.9, True)
    assert (rounds.ours, rounds.theirs, rounds.ratio, rounds.low, rounds.high) == (9.0, 3.0, 0.75, 0.5, 3.0)
    text = show_figures.with_table(
        f"before {show_figures.BEGIN} old {show_figures.END} after",
        {"x": {"title": "Work", "figures": [vars(single), vars(rounds)]}},
    )
    assert "| Work | two numbers: 0.50 | plain | `x.py` |" in text and "rounds" not in text
    assert text.startswith("before") and text.endswith("after") and " old " not in text


def test_an_interval_holds_the_median() -> None:
    values = [float(n) for n in range(101)]
    median, low, high = figures.interval(values)
    assert median == 50 and 38 <= low <= 42 and 58 <= high <= 62  # the binomial's quantiles of 101 values: 40 and 60
