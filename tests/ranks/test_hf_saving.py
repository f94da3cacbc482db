"""save_pretrained of sharded models: the files of the plain model, byte for byte, and the same error on all ranks."""

import os

import pytest
import torch
import weft
from ranks.meshes import layouts_of, mesh_of
from ranks.zoo import MODELS
from safetensors.torch import load_file, save_file
from support.ranks import run_ranks
from weft import safetensors_files


def saves(name, folder, options):
    torch.manual_seed(0)
    model = MODELS[name].build()
    if weft.rank() == 0:
        model.save_pretrained(folder / "plain", **options)
    weft.distribute_module(model, layouts_of(model))
    model.save_pretrained(folder / "sharded", **options)


def files(folder):
    return {f: (folder / f).read_bytes() for f in sorted(os.listdir(folder))}


# A mixture's stacks of experts are taken apart; GPT-2's and BERT's heads are tied; Wav2vec 2.0 has parametrizations.
@pytest.mark.parametrize("name", ["llama", "gpt2", "bert", "mixtral", "qwen2_moe", "t5", "wav2vec2", "llava"])
@pytest.mark.parametrize("ranks", ["ranks2", "ranks3", "ranks4"])
def test_same_files(request, tmp_path, name, ranks):
    request.getfixturevalue(ranks)(saves, name, tmp_path, {}, timeout=120)
    assert files(tmp_path / "sharded") == files(tmp_path / "plain")
    assert "model.safetensors" in files(tmp_path / "plain")


# Mixtral's experts, taken apart, lie in one memory, and go into one file.
@pytest.mark.parametrize("name", ["llama", "mixtral"])
def test_several_files(ranks2, tmp_path, name):
    ranks2(saves, name, tmp_path, {"max_shard_size": "20KB"})
    assert files(tmp_path / "sharded") == files(tmp_path / "plain")
    assert len(files(tmp_path / "plain")) > 4


def test_order_and_kinds(tmp_path):
    kinds = list(safetensors_files._KINDS)
    tensors = {f"{'ba'[i % 2]}{i}": torch.ones(i % 3 + 1, 2).to(kind) for i, kind in enumerate(kinds)}
    tensors |= {"empty": torch.empty(0, 3), "number": torch.tensor(1.5), "ä": torch.ones(2)}
    for metadata in (None, {"format": "pt"}):
        save_file(tensors, tmp_path / "theirs", metadata=metadata)
        safetensors_files.write(tensors, tmp_path / "ours", metadata)
        assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()
    with pytest.raises(ValueError, match="no such dtype: x"):
        safetensors_files.write({"x": torch.ones(1, dtype=torch.complex128)}, tmp_path / "ours")


def fails(folder):
    torch.manual_seed(0)
    model = MODELS["llama"].build()
    weft.distribute_module(model, layouts_of(model))
    failed = []
    for name in ("config.json", "model.safetensors"):  # before the tensors, and among them
        if weft.rank() == 0:
            (folder / name / name).mkdir(parents=True)  # which cannot be written
        try:
            model.save_pretrained(folder / name)
        except Exception as e:
            failed.append(str(e))
    model.save_pretrained(folder / "again")  # they are in step still
    return failed


def test_error_of_the_writer_on_all_ranks(ranks3, tmp_path):
    for early, late in ranks3(fails, tmp_path):
        assert "config.json" in early and "model.safetensors" in late
    assert load_file(tmp_path / "again" / "model.safetensors")


def saves_alone(folder):
    model = MODELS["llama"].build()
    weft.distribute_module(model, layouts_of(model))
    try:
        if weft.rank() == 0:
            model.save_pretrained(folder)
        next(model.parameters()).sum().item()
    except ValueError as e:
        return str(e)
    return ""


def test_one_rank_alone_is_an_error_on_all(tmp_path):
    for said in run_ranks(2, saves_alone, [tmp_path]):
        assert "save_pretrained of a sharded model, which every rank calls alike" in said


def loads_again(folder):
    """Saved on one mesh, loaded on another, saved again."""
    from transformers import AutoModelForCausalLM

    model = weft.hf.from_pretrained(AutoModelForCausalLM, folder, mesh=mesh_of(weft.world_size()), layouts="plan")
    model.save_pretrained(folder / "again")


def test_saved_again_from_another_mesh(ranks2, ranks4, tmp_path):
    ranks4(saves, "mixtral", tmp_path, {})
    ranks2(loads_again, tmp_path / "sharded")
    again = load_file(tmp_path / "sharded" / "again" / "model.safetensors")
    plain = load_file(tmp_path / "plain" / "model.safetensors")
    assert again.keys() == plain.keys() and all(torch.equal(again[k], plain[k]) for k in plain)
