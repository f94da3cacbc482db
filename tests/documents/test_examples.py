"""The programs of examples/ run as their first lines say, and do what they are for."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import weft
from documents.blocks import ROOT
from support import cpp
from support.ranks import run_programs

EXAMPLES = ROOT / "examples"
pytestmark = pytest.mark.slow


def example(folder: Path, name: str, ranks: int, *arguments: object) -> str:
    """Rank 0's output; what an example leaves behind is in the folder."""
    environment = {"PYTHONPATH": os.pathsep.join(sys.path), "TMPDIR": str(folder)}
    command = [sys.executable, str(EXAMPLES / name), *map(str, arguments)]
    return run_programs(ranks, command, timeout=200, env=environment, cwd=folder)[0]


def losses(output: str) -> list[float]:
    return [float(x) for x in re.findall(r"loss ([\d.]+)", output)]


def test_each_says_how_to_run_it_and_is_run_here() -> None:
    here = Path(__file__).read_text()
    for file in EXAMPLES.glob("*.py"):
        assert "argparse.ArgumentParser(description=__doc__" in file.read_text(), f"{file} does not take --help"
    for file in (*EXAMPLES.glob("*.py"), *EXAMPLES.glob("cpp/*.cpp")):
        text = file.read_text()
        assert "--nproc-per-node" in text or "RANK=0" in text, f"{file} does not say how to run it"
        assert f'"{file.name if file.suffix == ".py" else file.stem}"' in here, file


def test_train_and_go_on_elsewhere(tmp_path: Path) -> None:
    first = losses(example(tmp_path, "train.py", 4, "--checkpoint", "model", "--steps", 30))
    more = losses(example(tmp_path, "train.py", 3, "--checkpoint", "model", "--steps", 60))
    assert first[0] > 5 and more[-1] < first[-1] < first[0] - 1, (first, more)
    alone = losses(example(tmp_path, "train.py", 1, "--steps", 30))
    assert alone == pytest.approx(first, abs=0.02), "random numbers and results are those of any mesh"


def test_train_under_torchrun() -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += [str(EXAMPLES / "train.py"), "--steps", "2"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, env=environment)
    assert done.returncode == 0, done.stderr
    assert len(losses(done.stdout)) == 2


def test_finetune_hf(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    found = losses(example(tmp_path, "finetune_hf.py", 4, "--out", "tuned"))
    assert found[-1] < found[0] - 1, found
    again = losses(example(tmp_path, "finetune_hf.py", 2, "--model", "tuned", "--out", "again", "--steps", 1))
    assert again[0] == pytest.approx(found[-1], abs=0.5) and again[0] < found[-1] + 0.05, "the tuned model was saved"
    assert sum(p.numel() for p in AutoModelForCausalLM.from_pretrained(tmp_path / "tuned").parameters()) > 10_000


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Keras 3.15 needs Python 3.11")
def test_keras_fit(tmp_path: Path) -> None:
    output = example(tmp_path, "keras_fit.py", 4)
    assert float(re.findall(r"accuracy ([\d.]+)", output)[-1]) > 0.9, output
    assert "classifier/up/kernel" in output and (tmp_path / "classifier.keras").stat().st_size > 1000


@pytest.fixture(scope="module")
def programs() -> Path:
    return cpp.built(EXAMPLES / "cpp", cpp.BUILD / "examples")


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", ["train", "serve"])
def test_cpp_usage(programs: Path, tmp_path: Path, name: str) -> None:
    for option, code in (("--help", 0), ("--halp", 2)):
        done = subprocess.run([programs / name, option], capture_output=True, text=True, timeout=60, cwd=tmp_path)
        assert done.returncode == code and done.stderr.startswith(f"usage: {name} "), done
    assert not list(tmp_path.iterdir()), "nothing is written"


@pytest.mark.timeout(900)
def test_cpp_train(programs: Path, tmp_path: Path) -> None:
    def train(folder: str, ranks: int) -> str:
        return run_programs(ranks, [str(programs / "train"), folder], timeout=100, cwd=tmp_path)[0]

    output = train("classifier", 3)
    assert output.startswith("step 100: ") and losses(output)[0] < 0.6, output
    more = train("classifier", 2)
    assert more.startswith("step 200: ") and losses(more)[0] < losses(output)[0], more
    first = losses(train("one", 1))[0]
    assert first == pytest.approx(losses(output)[0], rel=1e-3)
    assert losses(train("one", 1))[0] == pytest.approx(losses(more)[0], rel=1e-3)


@pytest.mark.timeout(900)
def test_torchscript_and_cpp_serve(programs: Path, tmp_path: Path) -> None:
    output = example(tmp_path, "torchscript.py", 2, "--library", weft.library_path(), "--out", "scripted.pt")
    assert "(model, None) on mesh (model=2)" in output and float(output.split()[-1]) < 1e-6
    request = torch.arange(1.0, 9.0)
    expected = torch.jit.load(tmp_path / "scripted.pt")(request[None])[0]
    (tmp_path / "requests").write_text(f"{' '.join(str(x) for x in request.tolist())}\n" * 2)
    script = f'exec "{programs / "serve"}" scripted.pt < requests'
    answers = re.findall(r"\d\.\d+(?:e-\d+)?", run_programs(2, ["sh", "-c", script], timeout=100, cwd=tmp_path)[0])
    assert [float(x) for x in answers] == pytest.approx([*expected.tolist()] * 2, abs=1e-3)
