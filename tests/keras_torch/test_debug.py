"""KERAS_DISTRIBUTION_DEBUG=1 shows variables, batches and collectives; off, nothing is shown."""

import re
import sys
from pathlib import Path

import pytest
from keras_torch.harness import NIGHTLY
from support.ranks import run_programs

PROGRAM = """
import sys
sys.path.insert(0, {tests!r})
from keras_torch.cases import MLP_RULES, features
from keras_torch.networks import mlp
from keras_torch.harness import distribute
distribute((1, 2), MLP_RULES)
model = mlp()
model.compile(optimizer="sgd", loss="mse")
model.fit(*features(16, 8), batch_size=8, epochs=2, verbose=0)
"""


def output(release: str, debug: str) -> list[str]:
    if release == "nightly" and not NIGHTLY.is_dir():
        pytest.skip("keras-nightly is not installed (tools/setup found none)")
    program = PROGRAM.format(tests=str(Path(__file__).parents[1]))
    env = {"KERAS_DISTRIBUTION_DEBUG": debug, "WEFT_TEST_KERAS": release}
    return run_programs(2, [sys.executable, "-c", program], timeout=120, env=env)


@pytest.mark.parametrize("release", ["released", "nightly"])
def test_on(release: str) -> None:
    for rank, text in enumerate(output(release, "1")):
        lines = [line for line in text.splitlines() if line.startswith(f"[weft rank {rank}] ")]
        up = [line for line in lines if "sequential/up/kernel" in line and ".*up/kernel" in line]
        assert len(up) == 1, text
        for fact in ("(None, model)", "[8, 6]", "192"):  # layout, local shape, bytes
            assert fact in up[0]
        for path in ("up/bias", "down/kernel", "down/bias", "head/kernel", "head/bias"):
            assert any(f"sequential/{path}" in line for line in lines), (path, text)
        batches = [line for line in lines if " batch " in line]
        assert len(batches) == len(set(batches)) == 2, text  # x and y
        assert "(8, 8)" in batches[0]
        assert "layout (batch, None)" in batches[0]
        collectives = [line for line in lines if re.search(r"all_reduce|all_gather|reduce_scatter", line)]
        assert collectives, text
        assert len(collectives) == len(set(collectives))  # each the first time
        assert f"[weft rank {1 - rank}]" not in text


def test_off() -> None:
    for text in output("released", "0"):
        assert "[weft rank" not in text
