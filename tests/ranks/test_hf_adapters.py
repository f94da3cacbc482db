"""LoRA of peft, before and after distributing: losses, merged weights and saved adapters as the plain model's."""

import pytest
import torch
import weft
from ranks.meshes import layouts_of
from ranks.zoo import MODELS
from safetensors.torch import load_file

peft = pytest.importorskip("peft")


def adapted(name, targets, when):
    torch.manual_seed(0)
    model = MODELS[name].build().eval()
    if when == "after":
        weft.distribute_module(model, layouts_of(model))
    torch.manual_seed(1)
    model = peft.get_peft_model(model, peft.LoraConfig(r=4, target_modules=targets, init_lora_weights=False))
    if when == "before":
        weft.distribute_module(model, layouts_of(model))
    return model


def whole(x):
    return weft.full_tensor(x.detach()) if weft.is_sharded(x) else x.detach()


def trains(name, targets, when, folder):
    """Losses, logits after merging, and layouts of a target's weight and adapters."""
    model = adapted(name, targets, when)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2, eps=1e-3)
    ids = torch.arange(12).reshape(2, 6)
    losses = []
    for _ in range(3):
        loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(whole(loss).item())
    model.save_pretrained(folder)
    layer = next(m for m in model.modules() if hasattr(m, "lora_A") and hasattr(m, "get_base_layer"))
    matrices = (layer.get_base_layer().weight, layer.lora_A["default"].weight, layer.lora_B["default"].weight)
    axes = [weft.layout_of(m).axes if weft.is_sharded(m) else None for m in matrices]
    return losses, whole(model.merge_and_unload()(input_ids=ids).logits), axes


@pytest.mark.parametrize(("name", "targets"), [("llama", ["q_proj", "o_proj", "down_proj"]), ("gpt2", ["c_attn"])])
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("ranks", ["ranks2", "ranks3", "ranks4"])
def test_lora(request, tmp_path, ranks, when, name, targets):
    expected, logits, _ = trains(name, targets, None, tmp_path / "plain")
    for losses, merged, axes in request.getfixturevalue(ranks)(trains, name, targets, when, tmp_path / "sharded"):
        assert losses == pytest.approx(expected, abs=1e-4)
        assert torch.allclose(merged, logits, atol=1e-3)
        weight, first, second = axes
        assert None not in (first, second)
        if when == "after":
            turned = name == "gpt2"
            assert first == (None, weight[1 - turned]) and second == (weight[0 + turned], None)
    saved = load_file(tmp_path / "sharded" / "adapter_model.safetensors")
    plain = load_file(tmp_path / "plain" / "adapter_model.safetensors")
    assert saved.keys() == plain.keys() and all(torch.allclose(saved[k], plain[k], atol=1e-3) for k in plain)


def fails(folder):
    """The error of the rank that writes where it cannot; then all are in step still."""
    model = adapted("llama", ["q_proj"], "after")
    try:
        model.save_pretrained(folder / "file" / "inner")
    except OSError as e:
        return type(e).__name__, whole(next(model.parameters()).sum()).item()
    return "", 0.0


def test_an_error_of_the_writer_is_raised_on_all_ranks(ranks3, tmp_path):
    (tmp_path / "file").write_text("")
    assert [kind for kind, _ in ranks3(fails, tmp_path)] == ["NotADirectoryError"] * 3


def adds_and_loads(folder, sharded):
    """transformers' own methods: logits with the adapter, and of another model that has loaded it."""
    logits = []
    for step in ("add", "load"):
        torch.manual_seed(0)
        model = MODELS["llama"].build().eval()
        if sharded:
            weft.distribute_module(model, layouts_of(model))
        torch.manual_seed(1)
        if step == "add":
            model.add_adapter(peft.LoraConfig(r=4, target_modules=["q_proj"], init_lora_weights=False))
            model.save_pretrained(folder)
        else:
            model.load_adapter(str(folder))
        logits.append(whole(model(input_ids=torch.arange(12).reshape(2, 6)).logits))
    return logits


@pytest.mark.parametrize("ranks", ["ranks2", "ranks3"])
def test_adapters_of_transformers(request, tmp_path, ranks):
    expected, _ = adds_and_loads(tmp_path / "plain", False)
    for logits in request.getfixturevalue(ranks)(adds_and_loads, tmp_path / "sharded", True):
        assert all(torch.allclose(found, expected, atol=1e-5) for found in logits)
    saved, plain = (load_file(tmp_path / kind / "adapter_model.safetensors") for kind in ("sharded", "plain"))
    assert saved.keys() == plain.keys() and all(torch.equal(saved[k], plain[k]) for k in plain)
