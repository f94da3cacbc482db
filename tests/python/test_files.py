"""Files that a program asks for: whole, or not there, with an error that has a code."""

import json
import os

import pytest
import torch
import weft
from torch import nn


def mesh():
    return weft.DeviceMesh((2,), ("m",), device_type="cpu")


def trace():
    with weft.trace() as found:
        pass
    return found


def drawing():
    pytest.importorskip("matplotlib")
    return weft.draw(nn.Linear(2, 2), layout_map=weft.LayoutMap(mesh()))


def found():
    return weft.search(lambda: nn.Linear(4, 4), {"m": 2}, torch.zeros(2, 4), tries=1)


WRITES = {
    "plan": lambda path: weft.LayoutMap(mesh()).save(path),
    "found": lambda path: found().save(path),
    "cost": lambda path: weft.cost(mesh()).save(path),
    "trace": lambda path: trace().chrome(path),
    "drawing": lambda path: drawing().save(path),
    "draw": lambda path: drawing() and weft.draw(nn.Linear(2, 2), path, layout_map=weft.LayoutMap(mesh())),
}


@pytest.mark.parametrize("what", WRITES)
def test_a_file_that_cannot_be_written(tmp_path, what):
    (tmp_path / "folder.svg").mkdir()
    full = tmp_path / "full.svg"
    full.symlink_to("/dev/full")
    for path, why in (
        (tmp_path / "no" / "such.svg", "No such file or directory"),
        (tmp_path / "folder.svg", "Is a directory"),
        (full, "No space left on device"),
        (tmp_path / ("n" * 300 + ".svg"), "File name too long"),
        (tmp_path / "a\0.svg", "Invalid argument"),
    ):
        with pytest.raises(ValueError, match=rf"^\[W110\] cannot write '.*'.*: {why}") as error:
            WRITES[what](path)
        assert str(tmp_path) in str(error.value)
    assert sorted(os.listdir(tmp_path)) == ["folder.svg", "full.svg"] and not os.listdir(tmp_path / "folder.svg")
    assert os.path.realpath(full) == "/dev/full" and not os.path.isfile("/dev/full")
    for bad in (3, None) if what != "draw" else (3,):
        with pytest.raises(ValueError, match=r"^\[W\d+\] .*(file|path) must be str or path, not "):
            WRITES[what](bad)


@pytest.mark.parametrize("what", WRITES)
def test_a_link_goes_on_naming_what_is_replaced(tmp_path, what):
    (tmp_path / "real.svg").write_text("old")
    (tmp_path / "link.svg").symlink_to("real.svg")
    WRITES[what](tmp_path / "link.svg")
    assert (tmp_path / "link.svg").is_symlink() and (tmp_path / "real.svg").read_text()[0] in "{<"
    assert sorted(os.listdir(tmp_path)) == ["link.svg", "real.svg"]


def test_a_picture_of_no_kind(tmp_path):
    for name in ("parts", "parts.xyz", "parts.json", ".svg"):
        for write in (WRITES["drawing"], WRITES["draw"]):
            with pytest.raises(ValueError, match=rf"^\[W039\] draw: '.*{name}' .* end in .*\.pdf, .*\.png, .*\.svg"):
                write(tmp_path / name)
    WRITES["draw"](tmp_path / "PARTS.SVG")
    assert os.listdir(tmp_path) == ["PARTS.SVG"] and "<svg" in (tmp_path / "PARTS.SVG").read_text()


def train(folder):
    """What each rank raises of a call that all make, and that they go on together."""
    net = weft.distribute_module(nn.Linear(4, 6), {"weight": ("m", None)}, mesh=mesh())
    errors = []
    for name in ("no/such.svg", "parts.xyz", "folder.svg"):
        with pytest.raises(ValueError) as error:
            weft.draw(net, f"{folder}/{name}")
        errors.append(str(error.value))
    assert net(torch.ones(2, 4)).sum().item() == net(torch.ones(2, 4)).sum().item()
    if weft.rank() == 1:
        weft.draw(net).save(f"{folder}/alone.svg")  # nobody else is asked
    with weft.trace() as found:
        net(torch.ones(2, 4)).sum().item()
    found.chrome(f"{folder}/trace.json")
    return errors


def test_all_ranks_raise_what_the_first_one_does(ranks2, tmp_path):
    pytest.importorskip("matplotlib")
    (tmp_path / "folder.svg").mkdir()
    first, second = ranks2(train, str(tmp_path))
    assert first == second
    assert [error[:6] for error in first] == ["[W110]", "[W039]", "[W110]"]
    assert sorted(os.listdir(tmp_path)) == ["alone.svg", "folder.svg", "trace.json"]
    assert json.loads((tmp_path / "trace.json").read_text())["traceEvents"]


def draw_on_the_first_rank_alone(folder):
    net = weft.distribute_module(nn.Linear(4, 6), {"weight": ("m", None)}, mesh=mesh())
    if weft.rank() == 0:
        weft.draw(net, f"{folder}/parts.svg")
    net(torch.ones(2, 4)).sum().item()


def test_a_file_drawn_on_one_rank_alone_is_an_error_on_all(ranks2, tmp_path):
    with pytest.raises(Exception, match="draw to a file, which every rank calls alike"):
        ranks2(draw_on_the_first_rank_alone, str(tmp_path))
