"""torch.compile of models from transformers on mesh (2, 2), forward and backward one graph each: as the plain model."""

import pytest
from ranks import models
from ranks.compiling import needed, recorded

pytestmark = needed

NAMES = ["llama", *(pytest.param(n, marks=pytest.mark.long) for n in ("gpt2", "bert", "t5", "vit", "resnet"))]


def compiled_step(*args):
    with recorded():
        return models.train_step(*args)


@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.long)])
@pytest.mark.parametrize("name", NAMES)
def test_trains_as_plain(ranks4, name, backend):
    for result in ranks4(compiled_step, name, "column_row", backend, timeout=560):
        assert result["loss"] == pytest.approx(result["expected"], abs=1e-5)
        assert result["wrong"] == {}
        assert result["compiled_again"] == 0
