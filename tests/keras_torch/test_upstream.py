"""Keras's own distribution tests, which it leaves to JAX, on torch.

They come in Keras's released package. The next Keras comes without tests: it is run with those of the released one.
"""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from keras_torch.conftest import RELEASES, require
from support.ranks import run_programs

ROOT = Path(__file__).parents[2]
KERAS_HUB = Path(sys.prefix) / "keras-hub" / "bin" / "python"  # has TensorFlow
SUITE = "distribution/distribution_lib_test.py"
PLAIN_SUITES = ["layers/layer_test.py", "models/model_test.py", "optimizers/optimizer_test.py"]
SHARDED_SUITES = [
    *("models/sequential_test.py", "models/functional_test.py", "models/cloning_test.py"),
    *("layers/core/dense_test.py", "layers/core/einsum_dense_test.py", "layers/core/embedding_test.py"),
    *("layers/attention/multi_head_attention_test.py", "layers/convolutional/depthwise_conv_test.py"),
    *("layers/normalization/layer_normalization_test.py", "layers/normalization/batch_normalization_test.py"),
    *("layers/rnn/lstm_test.py", "layers/rnn/gru_test.py", "layers/merging/merging_test.py"),
    *("optimizers/optimizer_test.py", "optimizers/adam_test.py", "optimizers/muon_test.py"),
]


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    return copied(SUITE, tmp_path)


def copied(suite: str, folder: Path) -> Path:
    """A copy by itself: inside the package it would belong to the released Keras."""
    spec = importlib.util.find_spec("keras")
    assert spec and spec.origin
    return Path(shutil.copy(Path(spec.origin).with_name("src") / suite, folder))


def command(suite: Path, *selection: str, python: str | Path = sys.executable) -> list[str]:
    options = ["-q", "-rs", "-c", os.devnull, "--rootdir", str(suite.parent), "--import-mode=importlib"]
    plugins = ["-p", "keras_torch.upstream_plugin", "-p", "no:cacheprovider"]
    return [str(python), "-m", "pytest", *options, *plugins, "-W", "ignore", str(suite), *selection]


def environment(release: str) -> dict[str, str]:
    path = os.pathsep.join([str(ROOT / "tests"), str(ROOT / "torch_ops")])
    return {"PYTHONPATH": path, "WEFT_TEST_KERAS": release, "OMP_NUM_THREADS": "1"}


def counts(output: str) -> dict[str, int]:
    """{"passed": 32, "skipped": 7} from pytest's last line."""
    return {word: int(n) for n, word in re.findall(r"(\d+) (passed|failed|skipped|errors?)", output.splitlines()[-1])}


def run(suite: Path, release: str, *selection: str, python: str | Path = sys.executable) -> dict[str, int]:
    done = subprocess.run(
        command(suite, *selection, python=python),
        env={**os.environ, **environment(release)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=380,
    )
    assert done.returncode == 0, done.stdout
    return counts(done.stdout)


@pytest.mark.parametrize("release", RELEASES)
def test_distribution(suite: Path, release: str) -> None:
    require(release)
    found = run(suite, release)
    # 8 of the 39 call distribute_dataset, which the next Keras has no more; 7 of these need TensorFlow's datasets.
    assert found["passed"] + found.get("skipped", 0) == 39 and found["passed"] >= 31


def test_keras_without_a_distribution_is_as_it_was(tmp_path: Path) -> None:
    """Tests of layers, models and optimizers; the next Keras has other internals than these ask for."""
    require("released")
    first, *others = [copied(suite, tmp_path) for suite in PLAIN_SUITES]
    assert run(first, "released", *map(str, others))["passed"] > 150


@pytest.mark.slow
def test_keras_under_model_parallel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every variable is Weft's, on a mesh of one process: tests of models, layers and optimizers see no difference."""
    require("released")
    monkeypatch.setenv("WEFT_TEST_DISTRIBUTED", "1")
    first, *others = [copied(suite, tmp_path) for suite in SHARDED_SUITES]
    assert run(first, "released", *map(str, others))["passed"] > 300


@pytest.fixture
def keras_hub() -> Path:
    if not KERAS_HUB.exists():
        pytest.skip("TensorFlow is not installed: tools/setup --keras-hub brings it")
    return KERAS_HUB


@pytest.mark.slow
def test_distribution_with_tensorflow(suite: Path, keras_hub: Path) -> None:
    assert run(suite, "released", python=keras_hub) == {"passed": 38, "skipped": 1}


@pytest.mark.slow
def test_data_sharding_on_four_ranks(suite: Path, keras_hub: Path) -> None:
    selection = command(suite, "-k", "DataShardingIntegrationTest", python=keras_hub)
    for output in run_programs(4, selection, timeout=380, env=environment("released")):
        assert counts(output)["passed"] == 1, output
