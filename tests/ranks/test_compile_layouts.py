"""torch.compile of Llamas whose weights are split over the batch's axis, and of one with LoRA."""

import pytest
import torch
import weft
from ranks import models
from ranks.compiling import needed, recorded
from support.cases import whole

pytestmark = needed


def differences(model, plain):
    """Relative ones of gradients, by path, where they are not small; both have them for the same parameters."""
    found = {}
    for (path, p), q in zip(model.named_parameters(), plain.named_parameters(), strict=True):
        expected = q[1].grad
        if (p.grad is None) != (expected is None):
            found[path] = "missing"
        elif expected is not None:
            expected = whole(expected)
            error = ((whole(p.grad) - expected).norm() / (expected.norm() + 1e-6)).item()
            if not error < 1e-4:
                found[path] = error
    return found


def step(run, model, batch):
    """The loss of the second of two steps, whose gradients stay, and what moved in it."""
    for _ in range(2):
        model.zero_grad()
        with weft.trace() as trace:
            loss = run(**batch).loss
            loss.backward()
    return whole(loss).item(), {kind: trace.count(kind) for kind in ("all_gather", "reduce_scatter", "all_reduce")}


def split_over_the_batch(backend):
    mesh = weft.DeviceMesh((2,), ("data",))
    made = []
    for _ in range(2):
        model, batch = models.build("llama")
        weft.distribute_module(model, weft.layouts.fsdp(model, mesh, "data"))
        made.append(model)
    batch = weft.shard_batch(batch, mesh, "data")
    model, eager = made
    expected, moved_eager = step(eager, eager, batch)
    with recorded():
        loss, moved = step(models.compiled(model, backend), model, batch)
    return loss, expected, differences(model, eager), moved, moved_eager


@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.long)])
def test_weights_split_over_the_batch(ranks2, backend):
    for loss, expected, wrong, moved, eager in ranks2(split_over_the_batch, backend, timeout=560):
        assert loss == pytest.approx(expected, abs=1e-5)
        assert wrong == {}
        assert 0 < moved["all_gather"] <= eager["all_gather"], (moved, eager)
        assert 0 < moved["reduce_scatter"] <= eager["reduce_scatter"], (moved, eager)


def with_lora(model):
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(1)
    targets = ["q_proj", "o_proj", "down_proj"]
    return get_peft_model(model, LoraConfig(r=4, target_modules=targets, init_lora_weights=False))


def adapted(backend, when):
    mesh = weft.DeviceMesh((2,), ("model",))
    model, batch = models.build("llama")
    if when == "after":
        weft.distribute_module(model, models.PLANS["llama"], mesh=mesh)
    model = with_lora(model)
    if when == "before":
        layouts = {
            pattern.replace("_proj)/weight", "_proj)(/base_layer)?/weight"): axes
            for pattern, axes in models.PLANS["llama"].items()
        }
        weft.distribute_module(model, layouts, mesh=mesh)
    plain = with_lora(models.build("llama")[0])
    expected, _ = step(plain, plain, batch)
    with recorded():
        loss, _ = step(models.compiled(model, backend), model, batch)
    trained = sum(p.grad is not None for p in model.parameters())
    return loss, expected, differences(model, plain), trained


@pytest.mark.parametrize("when", ["before", pytest.param("after", marks=pytest.mark.long)])
@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.long)])
def test_lora(ranks2, backend, when):
    """Added before distributing or after it."""
    pytest.importorskip("peft")
    for loss, expected, wrong, trained in ranks2(adapted, backend, when, timeout=560):
        assert loss == pytest.approx(expected, abs=1e-5)
        assert wrong == {}
        assert trained == 2 * 2 * 3, "the adapters of three layers in each of two blocks"
