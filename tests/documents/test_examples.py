"""The programs of examples/ run as their first lines say, and do what they are for."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import weft
from documents.blocks import ROOT
from support import cpp
from support.ranks import run_programs

EXAMPLES = ROOT / "examples"
pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def inside(tmp_path: Path) -> Iterator[None]:
    """What an example leaves behind is the test's."""
    before = os.getcwd()
    os.chdir(tmp_path)
    yield
    os.chdir(before)


def example(name: str, ranks: int, *arguments: object) -> str:
    """Rank 0's output."""
    environment = {"PYTHONPATH": os.pathsep.join(sys.path), "TMPDIR": os.getcwd()}
    command = [sys.executable, str(EXAMPLES / name), *map(str, arguments)]
    return run_programs(ranks, command, timeout=200, env=environment)[0]


def losses(output: str) -> list[float]:
    return [float(x) for x in re.findall(r"loss ([\d.]+)", output)]


def test_each_is_run_here() -> None:
    here = Path(__file__).read_text()
    for file in EXAMPLES.rglob("*"):
        if file.suffix in (".py", ".cpp"):
            assert f'"{file.name if file.suffix == ".py" else file.stem}"' in here, file
        assert (
            file.name.endswith(".txt")
            or file.is_dir()
            or "--nproc-per-node" in (text := file.read_text())
            or ("RANK=0" in text)
        ), f"{file} does not say how to run it"


def test_train_and_go_on_elsewhere() -> None:
    first = losses(example("train.py", 4, "--checkpoint", "model", "--steps", 30))
    more = losses(example("train.py", 3, "--checkpoint", "model", "--steps", 60))
    assert first[0] > 5 and more[-1] < first[-1] < first[0] - 1, (first, more)
    alone = losses(example("train.py", 1, "--steps", 30))
    assert alone == pytest.approx(first, abs=0.02), "random numbers and results are those of any mesh"


def test_train_under_torchrun() -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "0"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [*command, "--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0", EXAMPLES / "train.py", "--steps", "2"],
        capture_output=True, text=True, timeout=200, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(losses(done.stdout)) == 2


def test_finetune_hf() -> None:
    from transformers import AutoModelForCausalLM

    found = losses(example("finetune_hf.py", 4, "--out", "tuned"))
    assert found[-1] < found[0] - 1, found
    again = losses(example("finetune_hf.py", 2, "--model", "tuned", "--out", "again", "--steps", 1))
    assert again[0] == pytest.approx(found[-1], abs=0.5) and again[0] < found[-1] + 0.05, "the tuned model was saved"
    assert sum(p.numel() for p in AutoModelForCausalLM.from_pretrained("tuned").parameters()) > 10_000


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Keras 3.15 needs Python 3.11")
def test_keras_fit() -> None:
    output = example("keras_fit.py", 4)
    assert float(re.findall(r"accuracy ([\d.]+)", output)[-1]) > 0.9, output
    assert "classifier/up/kernel" in output and Path("classifier.keras").stat().st_size > 1000


@pytest.fixture(scope="module")
def programs() -> Path:
    return cpp.built(EXAMPLES / "cpp", cpp.BUILD / "examples")


@pytest.mark.timeout(900)
def test_cpp_train(programs: Path) -> None:
    output = run_programs(3, [str(programs / "train"), "classifier"], timeout=100)[0]
    assert output.startswith("step 100: ") and losses(output)[0] < 0.6, output


@pytest.mark.timeout(900)
def test_torchscript_and_cpp_serve(programs: Path) -> None:
    output = example("torchscript.py", 2, "--library", weft.library_path(), "--out", "scripted.pt")
    assert "(model, None) on mesh (model=2)" in output and float(output.split()[-1]) < 1e-6
    request = torch.arange(1.0, 9.0)
    expected = torch.jit.load("scripted.pt")(request[None])[0]
    Path("requests").write_text(f"{' '.join(str(x) for x in request.tolist())}\n" * 2)
    script = f'exec "{programs / "serve"}" scripted.pt < requests'
    answers = re.findall(r"\d\.\d+(?:e-\d+)?", run_programs(2, ["sh", "-c", script], timeout=100)[0])
    assert [float(x) for x in answers] == pytest.approx([*expected.tolist()] * 2, abs=1e-3)
