"""A few of the models of tools/models, of the libraries beside transformers and torchvision, on two and three ranks:
loss, gradients, buffers and an optimizer's step as the plain model's."""

import importlib.util

import pytest
from ranks.zoo import MODELS
from ranks.zoo.run import run_model

NAMES = [
    "timm.vit",
    "timm.xcit",
    "diffusers.unet_condition",
    "diffusers.dit",
    "diffusers.vq",
    "st.cached_multiple_negatives",
    "st.batch_hard_triplet",
    "trl.sft",
    "trl.dpo_weighted",
    "pyg.gat",
    "pyg.pna",
    "pyg.topk",
]


@pytest.fixture(params=[2, 3])
def ranks(request):
    return request.getfixturevalue(f"ranks{request.param}")


@pytest.mark.parametrize("plan", ["drawn", "activations"])
@pytest.mark.parametrize("name", NAMES)
def test_trains_as_plain(ranks, name, plan):
    if not importlib.util.find_spec(MODELS[name].library):
        pytest.skip(f"{MODELS[name].library} is not installed (tools/test --models)")
    for row in ranks(run_model, name, (ranks.nprocs,), plan, timed=False, timeout=120):
        assert (row["verdict"], row["text"]) == ("equal", "")
