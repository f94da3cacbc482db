"""python -m weft."""

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import weft
from weft.cli.main import main

MODEL = """
import torch
from torch import nn

class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.up, self.down = nn.Linear(64, 128), nn.Linear(128, 64)

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([Block(), Block()])
        self.head = nn.Linear(64, 512)

class Runs(Net):
    def forward(self, x):
        for block in self.layers:
            x = block.down(block.up(x))
        return self.head(x)

def batch():
    return torch.zeros(8, 64)

made = Net()
number = 3

def raises():
    raise KeyError("of the function")

def on_meta():
    net = Net()
    assert net.head.weight.is_meta
    return net
"""
FITS = {
    r"layers/\d/up/weight": ("model", None),
    r"layers/\d/down/weight": (None, "model"),
    "head/weight": ("model", None),
}


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with a model in it, and plans by name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "cli_model", raising=False)
    (tmp_path / "cli_model.py").write_text(MODEL)
    mesh = weft.DeviceMesh((2, 4), ("data", "model"), device_type="cpu")
    weft.LayoutMap(mesh, FITS).save("fits.json")
    wrong = {"layers/*/up/weight": ("model", None), "up/weight": ("model", None), "head/weight": ("model",)}
    weft.LayoutMap(mesh, wrong).save("wrong.json")
    return tmp_path


def said(capsys, *arguments):
    code = main(arguments)
    out, errors = capsys.readouterr()
    return code, out, errors


def test_lint_of_a_plan_that_fits(place, capsys):
    for model in ("cli_model:Net", "cli_model:on_meta", "cli_model:made"):
        assert said(capsys, "lint", "fits.json", model) == (0, "fits.json: 0 things to look at\n", "")
    assert said(capsys, "lint", "fits.json", "cli_model:Net", "--real")[0] == 0


def test_lint_of_a_plan_that_does_not(place, capsys):
    code, out, _ = said(capsys, "lint", "wrong.json", "cli_model:Net")
    lines = out.splitlines()
    assert code == 1 and lines[-1] == f"wrong.json: {len(lines) - 1} things to look at"
    assert sum("'layers/*/up/weight'" in line for line in lines) == 1 and "'layers/.*/up/weight' would" in out
    assert "'.*up/weight' would" in out
    assert "'head.weight' has shape [512, 64]" in out
    assert "variable 'layers/[0-1]/down/weight' of 32768 bytes is matched by no rule" in out and "(2 alike)" in out
    assert "rule 'up/weight' matches nothing" not in out, "what it nearly matches says more"


def test_report(place, capsys):
    code, out, _ = said(capsys, "report", "fits.json", "cli_model:Net")
    assert code == 0 and out.startswith("who gets what on mesh (data=2, model=4)") and "layers/[0-1]/up/weight" in out
    assert "layers.1.up.weight" in said(capsys, "report", "fits.json", "cli_model:Net", "--details")[1]
    text = said(capsys, "report", "fits.json", "cli_model:Net", "--draw", "--mesh", "data=1,model=2")[1]
    assert "on mesh (data=1, model=2)" in text and "layers/[0-1]  Block ×2" in text
    pytest.importorskip("matplotlib")
    code, out, _ = said(capsys, "report", "fits.json", "cli_model:Net", "--draw", "net.svg")
    assert code == 0 and out.endswith("\n\nwrote net.svg\n")
    code, _, errors = said(capsys, "report", "fits.json", "cli_model:Net", "--draw", "net.xyz")
    assert code == 2 and errors.startswith("weft: [W039] draw: 'net.xyz' is no picture's name; such names end in ")
    assert "<svg" in (place / "net.svg").read_text()


def test_plan(place, capsys):
    code, out, _ = said(capsys, "plan", "fits.json", "cli_model:Runs", "cli_model:batch")
    assert code == 0 and out.startswith("mesh (data=2, model=4), rank 0: a step takes ")
    assert "all_reduce" in out and "layers/0/up/weight" in out
    adam = ("--optimizer", "torch.optim:AdamW", "--mesh", "data=4,model=2", "--rank", "7", "--json")
    found = json.loads(said(capsys, "plan", "fits.json", "cli_model:Runs", "cli_model:batch", *adam)[1])
    assert (found["mesh"], found["rank"]) == ({"data": 4, "model": 2}, 7)
    head = next(v for v in found["variables"] if v["path"] == "head/weight")
    assert head["weight"] == head["gradient"] == 512 * 64 * 4 // 2
    assert found["kinds"]["optimizer"] > 2 * found["kinds"]["weights"] * 0.99


def test_search(place, capsys):
    options = ("--mesh", "data=2,model=2", "--memory", "1GiB", "--save", "found.json", "--tries", "20")
    code, out, _ = said(capsys, "search", "cli_model:Runs", "cli_model:batch", *options)
    assert code == 0 and out.startswith("mesh (data=2, model=2), batch over ") and "next best" in out
    assert said(capsys, "plan", "found.json", "cli_model:Runs", "cli_model:batch")[0] == 0
    code, out, errors = said(capsys, "search", "cli_model:Runs", "cli_model:batch", *options[:5], "no/such.json")
    assert code == 2 and "next best" in out and errors.startswith("weft: [W110] cannot write 'no/such.json': ")
    found = json.loads(said(capsys, "search", "cli_model:Runs", "cli_model:batch", "--mesh", "2", "--json")[1])
    assert found["planned"]["mesh"]["data"] * found["planned"]["mesh"]["model"] == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("lint", "nowhere.json", "cli_model:Net"), "nowhere.json"),
        (("lint", "cli_model.py", "cli_model:Net"), "cli_model.py:2:1"),
        (("lint", "fits.json", "cli_model"), "not of the form module:name"),
        (("lint", "fits.json", "nowhere:Net"), "nowhere"),
        (("lint", "fits.json", "cli_model:Nothing"), "cli_model has no Nothing"),
        (("lint", "fits.json", "cli_model:number"), "gives a int"),
        (("plan", "fits.json", "cli_model:Runs", "cli_model:nothing"), "INPUTS: cli_model has no nothing"),
        (("plan", "fits.json", "cli_model:Runs", "cli_model:batch", "--rank", "8"), "rank 8 cannot be simulated"),
        (("report", "fits.json", "cli_model:Net", "--mesh", "data"), "not of the form data=2,model=4"),
        (("search", "cli_model:Runs", "cli_model:batch", "--mesh", "2", "--memory", "infGiB"), "not of the form 80GiB"),
        (("lint", "fits.json", ".cli_model:Net"), "not of the form module:name"),
    ],
)
def test_what_cannot_be_looked_at(place, capsys, arguments, words):
    code, out, errors = said(capsys, *arguments)
    assert code == 2 and out == "" and errors.startswith("weft: ") and words in errors


def test_errors_of_a_function_of_the_programs_own_show_its_lines(place, capsys):
    code, out, errors = said(capsys, "lint", "fits.json", "cli_model:raises")
    assert code == 2 and out == "" and 'raise KeyError("of the function")' in errors


def test_explain(capsys):
    code, out, _ = said(capsys, "explain", "W041")
    assert code == 0 and out == weft.explain_error("[W041] LayoutMap: path 'a' matches 2 entries") + "\n"
    assert "an exact key wins" in out
    assert said(capsys, "explain", "w041")[:2] == said(capsys, "explain", "41")[:2] == (code, out)
    code, out, errors = said(capsys, "explain", "W000")
    assert code == 2 and out == "" and "[W029] explain_error: 'W000' is no code" in errors


def test_rules(capsys):
    everything = said(capsys, "rules")[1].splitlines()
    assert everything == torch.ops.weft.rules()
    product = "m k, k n -> m n;  sum k;  linear 0|1\n"
    for name in ("mm", "aten::mm", "mm.default", "mm.out"):
        assert said(capsys, "rules", name)[:2] == (0, f"mm: {product}mm.dtype: {product}")
    assert said(capsys, "rules", "mm.dtype")[:2] == (0, f"mm.dtype: {product}")
    for name in ("add.Tensor", "add_.Tensor", "aten::add.Tensor"):
        assert said(capsys, "rules", name)[1].splitlines() == ["add.Tensor: ..., ... -> ...;  linear 0+1"]
    assert {line.split(":")[0] for line in said(capsys, "rules", "_foreach_add_")[1].splitlines()} >= {"add.Tensor"}
    code, out, errors = said(capsys, "rules", "softmaxx")
    assert code == 1 and out == "" and "no rule for softmaxx" in errors and "softmax" in errors.split("similar:")[1]


def test_help_and_nothing(capsys):
    assert main([]) == 2
    commands = re.findall(r"^    (\w+) {2,}\w", capsys.readouterr().out, re.MULTILINE)
    assert {"lint", "report", "plan", "search", "rules", "explain", "doctor"} <= set(commands)
    for command in commands:
        with pytest.raises(SystemExit) as end:
            main([command, "--help"])
        out = capsys.readouterr().out
        assert end.value.code == 0 and out.startswith(f"usage: python -m weft {command} ")
        assert "Exit code 1" in out or command not in ("lint", "rules", "doctor")


def test_version(capsys):
    with pytest.raises(SystemExit) as end:
        main(["--version"])
    assert end.value.code == 0
    assert capsys.readouterr().out == f"weft {weft.__version__}, built for torch {torch.__version__}\n"


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_progress_of_a_search_is_shown_on_a_terminal(place, capsys, monkeypatch):
    pytest.importorskip("rich")
    arguments = ("search", "cli_model:Runs", "cli_model:batch", "--mesh", "2", "--tries", "8")
    assert said(capsys, *arguments)[2] == "", "nothing on what is no terminal"
    monkeypatch.setattr(sys, "stderr", Terminal())
    assert main(arguments) == 0
    assert "looking at layouts" in sys.stderr.getvalue() and "100%" in sys.stderr.getvalue()


def python_m_weft(*arguments, **environment):
    env = {**os.environ, "PYTHONPATH": str(Path(weft.__file__).parents[1]), **environment}
    env["WEFT_LIBRARY"] = environment.get("WEFT_LIBRARY", str(weft.library_path()))
    command = [sys.executable, "-m", "weft", *arguments]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=200)


def test_cmake_prefix_path(tmp_path):
    (tmp_path / "lib" / "cmake" / "weft").mkdir(parents=True)
    (tmp_path / "lib" / "cmake" / "weft" / "weftConfig.cmake").write_text("")
    os.symlink(weft.library_path(), tmp_path / "lib" / "libweft.so")
    done = python_m_weft("--cmake-prefix-path", WEFT_LIBRARY=str(tmp_path / "lib" / "libweft.so"))
    assert (done.returncode, done.stdout) == (0, f"{tmp_path}\n"), done.stderr
    own = python_m_weft("--cmake-prefix-path")
    prefix = Path(own.stdout.strip())
    assert (prefix / "weftConfig.cmake").exists() or (prefix / "lib/cmake/weft/weftConfig.cmake").exists()


@pytest.mark.slow
def test_doctor():
    done = python_m_weft("doctor", GLOO_SOCKET_IFNAME="lo")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("all right\n") and "WRONG" not in done.stdout
    for words in (
        "torch        ",
        torch.__version__,
        "gpu",
        "gloo",
        "GLOO_SOCKET_IFNAME=lo",
        "two ranks met",
        "1024 KiB",
    ):
        assert words in done.stdout, done.stdout


@pytest.mark.slow
def test_doctor_says_what_is_wrong():
    done = python_m_weft("doctor", GLOO_SOCKET_IFNAME="no_such_interface")
    assert done.returncode == 1 and done.stdout.endswith("1 thing wrong\n"), done.stdout + done.stderr
    assert "WRONG  self-test" in done.stdout
    late = python_m_weft("doctor", "--timeout", "0.1")
    assert late.returncode == 1 and "not done after 0.1 s" in late.stdout
    quick = python_m_weft("doctor", "--no-self-test")
    assert quick.returncode == 0 and "self-test" not in quick.stdout
