"""torch.compile of models from transformers on mesh (2, 2), forward and backward one graph each: as the plain model."""

import pytest
import torch
import weft
from ranks import models
from ranks.compiling import moved, needed, recorded
from torch import nn

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


def normalized_convolution(mesh):
    """Its backward pass has all that it needs for what forward has reduced."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 1, bias=False), nn.BatchNorm2d(4), nn.ReLU())
    weft.distribute_module(model, {"0/weight": ("model", None, None, None)}, mesh=mesh)
    x = weft.distribute_tensor(torch.randn(4, 3, 2, 2), ("data", None, None, None), mesh)
    return moved(lambda: model(x).square().sum(), model)


def collectives(name):
    mesh = weft.DeviceMesh((2, 2), ("data", "model"))
    with recorded():
        if name == "normalized convolution":
            return [normalized_convolution(mesh)]
        found = []
        for split in (False, True):
            model, batch = models.build(name)
            weft.distribute_module(model, models.PLANS[name], mesh=mesh)
            batch = weft.shard_batch(batch, mesh, "data") if split else batch
            models.record_no_warnings()
            found.append(moved(lambda m=model, b=batch: m(**b).loss, model))
        return found


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", ["normalized convolution", *NAMES])
def test_collectives_are_those_of_the_eager_plan(ranks4, name):
    for results in ranks4(collectives, name, timeout=560):
        for expected, got, baked in results:
            assert got == expected
            assert baked == []
