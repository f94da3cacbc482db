"""DCP's reader and writer of Hugging Face's format: from sharded tensors to plain ones, and back."""

import math

import pytest
import torch
import torch.distributed.checkpoint as dcp
import weft
from ranks.checkpoints import mesh_of
from ranks.test_checkpoint import laid_out
from safetensors.torch import load_file, save_file
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader, HuggingFaceStorageWriter


def values():
    """Floats alone: DCP's consolidation takes no integers."""
    gen = torch.Generator().manual_seed(0)
    shapes = {"w": (10, 7), "v": (6, 12), "b": (9,), "one": (1, 5), "cube": (3, 4, 5)}
    return {name: torch.randn(shape, generator=gen) for name, shape in shapes.items()}


def saves(folder, shape, variant, **options):
    tensors = laid_out(values(), mesh_of(shape), variant)
    try:
        dcp.save(tensors, storage_writer=HuggingFaceStorageWriter(folder, **options))
    except CheckpointException as error:
        return str(error)


def loads(folder, shape, variant):
    """The names of those that are not as they were saved."""
    expected = values()
    targets = laid_out({name: torch.full_like(t, 7) for name, t in expected.items()}, mesh_of(shape), variant)
    dcp.load(targets, storage_reader=HuggingFaceStorageReader(folder))
    return [name for name, t in targets.items() if not torch.equal(weft.full_tensor(t), expected[name])]


def on(request, shape, function, *args, **options):
    return request.getfixturevalue(f"ranks{math.prod(shape)}")(function, *args, timeout=240, **options)


@pytest.mark.parametrize(("shape", "variant"), [((2,), 0), ((3,), 1), ((2, 2), 2)])
def test_saved_in_parts_and_put_together(shape, variant, request, tmp_path):
    parts, whole = str(tmp_path / "parts"), tmp_path / "whole"
    assert set(on(request, shape, saves, parts, shape, variant, save_distributed=True)) == {None}
    options = {"save_distributed": True, "enable_consolidation": True}
    assert set(on(request, shape, saves, str(whole), shape, variant, **options)) == {None}
    found = {}
    for file in whole.glob("*.safetensors"):
        found |= load_file(file)
    expected = values()
    assert found.keys() == expected.keys() and all(torch.equal(found[k], t) for k, t in expected.items())
    for other in ((2,), (3,)):
        for folder in (parts, str(whole)):
            assert all(wrong == [] for wrong in on(request, other, loads, folder, other, variant + 1)), (folder, other)


def test_loads_what_others_have_written(ranks3, tmp_path):
    save_file(values(), tmp_path / "model.safetensors")
    for variant in range(3):
        assert ranks3(loads, str(tmp_path), (3,), variant, timeout=240) == [[]] * 3


def test_loads_what_weft_has_saved(ranks2, ranks3, tmp_path):
    folder = str(tmp_path / "c")
    ranks2(saves_by_weft, folder, timeout=240)
    assert ranks3(loads, folder, (3,), 1, timeout=240) == [[]] * 3


def saves_by_weft(folder):
    weft.save(folder, laid_out(values(), mesh_of((2,)), 1))


def test_one_file_of_several_ranks_is_an_error(ranks3, tmp_path):
    said = ranks3(saves, str(tmp_path / "c"), (3,), 1, timeout=240)
    assert all("save_distributed=True" in text for text in said)


def saves_pieces(folder):
    """A tensor of which each rank holds several pieces."""
    mesh = mesh_of((2,))
    t = weft.distribute_tensor(torch.arange(24.0).reshape(3, 4, 2), (None, "a", None), mesh).reshape(12, 2)
    try:
        dcp.save({"t": t}, storage_writer=HuggingFaceStorageWriter(folder, save_distributed=True))
    except CheckpointException as error:
        return str(error)


def test_several_pieces_of_a_rank_are_an_error(ranks2, tmp_path):
    said = ranks2(saves_pieces, str(tmp_path / "c"), timeout=240)
    assert all("several pieces" in text for text in said), said
