"""Hugging Face's loaders read what Weft saves, and Weft what they save."""

import pytest
import torch
import weft
from support.cases import meshes
from transformers import LlamaConfig, LlamaForCausalLM

RULES = {r".*/(q|k|v|gate|up)_proj/weight": ("a", None), r".*/(o|down)_proj/weight": (None, "a")}


def config(tied):
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "vocab_size": 64}
    return LlamaConfig(**sizes, num_attention_heads=4, tie_word_embeddings=tied)


def model_of(tied):
    torch.manual_seed(7)
    return LlamaForCausalLM(config(tied)).eval()


def saves(folder, tied):
    model = model_of(tied)
    weft.distribute_module(model, RULES, mesh=meshes(weft.world_size())[0])
    weft.save(folder, model)


@pytest.mark.parametrize("tied", [False, True])
def test_from_pretrained_reads_the_folder(tied, ranks3, tmp_path):
    folder = str(tmp_path / "c")
    ranks3(saves, folder, tied)
    config(tied).save_pretrained(folder)
    loaded, info = LlamaForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    for (name, p), q in zip(loaded.named_parameters(), model_of(tied).parameters(), strict=True):
        assert torch.equal(p, q), name
    assert (loaded.lm_head.weight is loaded.model.embed_tokens.weight) == tied


def loads(folder, tied):
    """Built on the meta device; the frequencies of positions, which no file has, the model computes."""
    with torch.device("meta"):
        model = LlamaForCausalLM(config(tied))
    model.eval()
    weft.distribute_module(model, RULES, mesh=meshes(weft.world_size())[0], param_init_fn=lambda module: None)
    loaded = weft.load(folder, model)
    assert loaded.step is None and loaded.extra is None
    x = torch.arange(10)[None]
    plain = model_of(tied)
    with torch.no_grad():
        torch.testing.assert_close(weft.full_tensor(model(x).logits), plain(x).logits)
    return [k for k, p in model.named_parameters() if not torch.equal(weft.full_tensor(p), plain.get_parameter(k))]


@pytest.mark.parametrize(("tied", "size"), [(False, "5GB"), (True, "5GB"), (False, "20KB")])
def test_folders_of_save_pretrained(tied, size, ranks2, tmp_path):
    folder = str(tmp_path / "c")
    model_of(tied).save_pretrained(folder, max_shard_size=size)
    for wrong in ranks2(loads, folder, tied):
        assert wrong == []
    plain = LlamaForCausalLM(config(tied))
    weft.load(folder, plain)
    assert all(torch.equal(p, q) for p, q in zip(plain.parameters(), model_of(tied).parameters(), strict=True))
