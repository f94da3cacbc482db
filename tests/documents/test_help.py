"""Every command explains itself, and the documents give commands as they are."""

import functools
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import weft
from documents.blocks import ROOT
from weft.cli.main import main

COMMANDS = {str(p.relative_to(ROOT)): p for p in (ROOT / "tools").rglob("*") if p.is_file() and os.access(p, os.X_OK)}
BENCHMARKS = {
    str(p.relative_to(ROOT)): p for p in (ROOT / "tools" / "bench").glob("*.py") if '"__main__"' in p.read_text()
}
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")]
# A command with the options that follow it.
GIVEN = re.compile(r"(tools/(?:bench/)?\w+(?:\.py)?)((?: +--?[a-z][\w-]*(?:[ =][\w,./*^]+)?)+)")


@functools.cache
def help_of(command: str) -> str:
    path = (COMMANDS | BENCHMARKS)[command]
    done = subprocess.run(
        [*([sys.executable] if path.suffix == ".py" else []), path, "--help"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_commands(command: str) -> None:
    assert command in help_of(command)


@pytest.mark.long
@pytest.mark.parametrize("script", sorted(BENCHMARKS))
def test_benchmarks(script: str) -> None:
    assert help_of(script).startswith(f"usage: {Path(script).name}")


def options_given(text: str) -> set[tuple[str, str]]:
    """Commands and their options."""
    return {
        (command, option) for command, words in GIVEN.findall(text) for option in re.findall(r"(?<!\S)--[\w-]+", words)
    }


def test_options_are_read_from_text() -> None:
    text = "`tools/a --b-c x --d`, tools/bench/all --e. `tools/f g`; tools/h and --i, tools/j beside --k"
    assert options_given(text) == {("tools/a", "--b-c"), ("tools/a", "--d"), ("tools/bench/all", "--e")}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: p.stem)
def test_options_that_documents_give_are_there(document: Path) -> None:
    for command, option in sorted(options_given(document.read_text())):
        # A benchmark's imports take seconds: its source says the same.
        told = BENCHMARKS[command].read_text() if command in BENCHMARKS else help_of(command)
        assert re.search(rf"{option}\b", told), f"{document.name}: {command} has no {option}"


MODELS = """
import torch
def make():
    return torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 64))
def batch():
    return torch.zeros(8, 64)
"""


@pytest.mark.slow
def test_shell_lines_of_the_readme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = re.findall(r"^python -m weft (.*)$", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert len(lines) >= 8
    (tmp_path / "my_package").mkdir()
    (tmp_path / "my_package" / "models.py").write_text(MODELS)
    monkeypatch.chdir(tmp_path)
    mesh = weft.DeviceMesh((2, 2), ("data", "model"), device_type="cpu")
    weft.LayoutMap(mesh, {"0/weight": ("model", None), "2/weight": (None, "model")}).save("plan.json")
    for line in lines:
        assert main(shlex.split(line, comments=True)) == 0, line
