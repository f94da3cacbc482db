"""Damaged checkpoints are refused before anything is changed; saves that fail or are killed leave the one before."""

import json
import os
import random
import resource
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import weft
from support.cases import meshes


def tensors(value=None):
    """Split by rows, by columns, replicated, and a plain one; by default of values of their own."""
    mesh = meshes(weft.world_size())[0]
    torch.manual_seed(4)
    whole = torch.randn(10, 7) if value is None else torch.full((10, 7), float(value))
    laid_out = {
        str(i): weft.distribute_tensor(whole + i, a, mesh)
        for i, a in enumerate([("a", None), (None, "a"), (None, None)])
    }
    return laid_out | {"plain": whole + 3}


def saves(folder, value=None):
    weft.save(folder, tensors(value), extra={"value": value}, step=value)


def untouched(held):
    return all(
        torch.equal(weft.full_tensor(t), weft.full_tensor(u))
        for t, u in zip(held.values(), tensors(-1).values(), strict=True)
    )


def tries_each(folders):
    """What load says to each folder, and whether the tensors are as before."""
    found = []
    held = tensors(-1)
    for folder in folders:
        try:
            weft.load(folder, held)
            found.append(None)
        except (ValueError, RuntimeError) as error:
            found.append(f"{type(error).__name__}: {error}")
    return found, untouched(held)


def damage(folder, copy, file, change):
    shutil.copytree(folder, copy)
    data = bytearray((copy / file).read_bytes())
    (copy / file).write_bytes(change(data))
    return str(copy)


def flipped(at, bit):
    def change(data):
        data[at] ^= 1 << bit
        return data

    return change


@pytest.fixture
def saved(ranks2, tmp_path):
    ranks2(saves, str(tmp_path / "c"))
    return tmp_path / "c"


def test_flips_and_truncations(saved, ranks2, tmp_path):
    """They are found in every file but those of groups that are not asked for, whose headers alone are read."""
    rng = random.Random(0)
    folders, what = [], []
    for file in sorted(os.listdir(saved)):
        size = (saved / file).stat().st_size
        data = (saved / file).read_bytes()
        whole = not file.endswith(".safetensors") or file.startswith(("model-", "extra-"))
        end = size if whole else 8 + struct.unpack("<Q", data[:8])[0]
        places = {0, 1, 7, 8, 9, end // 2, end - 1, *(rng.randrange(end) for _ in range(12))}
        for at in sorted(p for p in places if p < end):
            what.append((file, at))
            folders.append(damage(saved, tmp_path / str(len(folders)), file, flipped(at, rng.randrange(8))))
        for length in {0, 1, size // 2, size - 1}:
            what.append((file, "cut", length))
            folders.append(damage(saved, tmp_path / str(len(folders)), file, lambda d, n=length: d[:n]))
        what.append((file, "longer"))
        folders.append(damage(saved, tmp_path / str(len(folders)), file, lambda d: d + b"\0"))
        if file != "weft.json":  # without it, it is a folder of Hugging Face's
            what.append((file, "removed"))
            folders.append(damage(saved, tmp_path / str(len(folders)), file, lambda d: d))
            os.remove(os.path.join(folders[-1], file))
    (first, same), (second, same_too) = ranks2(tries_each, folders, timeout=120)
    taken = [f for f, said in zip(folders, first, strict=True) if said is None]
    assert not taken, [(f, what[int(os.path.basename(f))]) for f in taken]
    assert same and same_too and first == second


def test_names_all_that_is_damaged(saved, ranks2):
    file = next(f for f in os.listdir(saved) if f.startswith("model-"))
    manifest = json.loads((saved / "weft.json").read_text())
    data = bytearray((saved / file).read_bytes())
    for name in ("1", "plain"):
        data[manifest["groups"]["model"]["tensors"][name]["offset"] + 5] ^= 4
    (saved / file).write_bytes(data)
    for (said,), same in ranks2(tries_each, [str(saved)]):
        assert same and f"other bytes than were saved in '1' (in {file}), 'plain' (in {file})" in said


def misfits(folder):
    found = []
    held = tensors(-1)
    mesh = meshes(weft.world_size())[0]
    other = {
        "0": weft.distribute_tensor(torch.zeros(10, 8), ("a", None), mesh),
        "1": held["1"].to(torch.int64),
        "new": torch.zeros(2),
        "plain": held["plain"],
    }
    for strict in (True, False):
        try:
            weft.load(folder, other, strict=strict)
        except ValueError as error:
            found.append(str(error))
    loaded = weft.load(folder, {"new": other["new"], "2": held["2"]}, strict=False)
    found.append((loaded.missing, loaded.unexpected))
    return (
        found,
        torch.equal(held["plain"], torch.full((10, 7), 2.0)),
        torch.equal(weft.full_tensor(held["2"]), weft.full_tensor(tensors()["2"])),
    )


def test_what_does_not_fit_is_named(saved, ranks2):
    results = ranks2(misfits, str(saved))
    assert results[0] == results[1]
    (strict, loose, told), untouched, read = results[0]
    assert untouched and read and told == (["new"], ["0", "1", "plain"])
    for text in (
        "'0' is Float of shape (10, 7), not Float of shape (10, 8)",
        "'1' is Float of shape (10, 7), not Long",
    ):
        assert text in strict and text in loose
    assert "missing in it: 'new'; in it, but not asked for: '2';" in strict and "missing" not in loose


def fails_to_save(folder, limited=None):
    """What save says; on the rank that is limited a file may have so many bytes, more than the ranks' store takes."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    found = []
    mesh = meshes(weft.world_size())[0]
    large = weft.distribute_tensor(torch.zeros(1 << 20), ("a",), mesh)
    try:
        if limited == weft.rank():
            resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, limits[1]))
        for save in (weft.save, lambda *a: weft.async_save(*a).wait()):
            try:
                save(folder, tensors(5) | {"large": large})
                found.append(None)
            except (ValueError, RuntimeError) as error:
                found.append(f"{type(error).__name__}: {error}")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    return found


@pytest.mark.parametrize("limited", [0, 1])
def test_full_disk(limited, saved, ranks2):
    """The disk is full on rank 0, which makes the files, or on another, which only writes."""
    before = {f: (saved / f).read_bytes() for f in os.listdir(saved)}
    first, second = ranks2(fails_to_save, str(saved), limited)
    assert first == second
    for said in first:
        assert "File too large" in said and f"on rank {limited}: " in said and "RuntimeError" in said
    after = {f: (saved / f).read_bytes() for f in os.listdir(saved)}
    assert after == before


def test_folders_that_cannot_be(ranks2, tmp_path):
    (tmp_path / "file").write_text("")
    cases = {
        tmp_path / "no" / "where": "No such file or directory",
        tmp_path / "file": "File exists",
        tmp_path / "file" / "in": "Not a directory",
    }
    for folder, reason in cases.items():
        first, second = ranks2(fails_to_save, str(folder))
        assert first == second and all(reason in said for said in first), first


READ_ONLY = ("Operation not permitted", "Read-only file system", "Permission denied")


def test_folders_that_may_not_be_written(ranks2):
    """Not by root either."""
    first, second = ranks2(fails_to_save, "/sys/weft")
    assert first == second and all(any(reason in said for reason in READ_ONLY) for said in first), first


def test_files_that_are_read_only_are_replaced(saved, ranks2):
    """By a rename, which asks what the folder allows."""
    for file in os.listdir(saved):
        (saved / file).chmod(0o400)
    assert ranks2(fails_to_save, str(saved)) == [[None, None]] * 2


def test_hugging_face_single_file_in_the_way(saved, ranks2):
    (saved / "model.safetensors").write_bytes(b"")
    for said in ranks2(fails_to_save, str(saved)):
        assert all("model.safetensors" in s and "ValueError" in s for s in said)


def no_models(folder):
    found = []
    for model in ([torch.ones(2)], {3: torch.ones(2)}, {"a": {"b": torch.ones(2)}}):
        for call in (weft.save, weft.async_save):
            try:
                call(folder, model)
            except ValueError as error:
                found.append(str(error))
    return found


def test_what_is_no_model_is_named(ranks2, tmp_path):
    for found in ranks2(no_models, str(tmp_path / "new")):
        parts = ("the model is of type list", "3 among the model's names", "'a' of the model is no tensor")
        for i, text in enumerate(parts):
            assert text in found[2 * i] and text in found[2 * i + 1]
    assert not (tmp_path / "new").exists()


def ranks_differ(folder):
    found = []
    mesh = meshes(weft.world_size())[0]
    r = weft.rank()
    t = torch.zeros(4)
    sharded = weft.distribute_tensor(t, ("a",), mesh)
    for what in (
        lambda: weft.save(f"{folder}{r}", {"a": t}),
        lambda: weft.save(folder, {f"a{r}": t}),
        lambda: weft.save(folder, {"a": t + r}),
        lambda: weft.save(folder, {"a": sharded if r else t}),
        lambda: weft.save(folder, {"a": t}, extra={"rank": r}),
        lambda: weft.save(folder, {"a": t}, extra={"rank": {1, 2} if r else 3}),
        lambda: weft.save(folder, {"a": t.to(torch.complex128)}),
        lambda: weft.load(folder if r else folder + "x", {"a": t}),
    ):
        try:
            what()
            found.append(None)
        except (ValueError, RuntimeError) as error:
            found.append(str(error))
    return found


def test_ranks_that_differ(ranks2, tmp_path):
    first, second = ranks2(ranks_differ, str(tmp_path / "c"))
    assert first == second and None not in first
    assert all("must be the same on all ranks" in said for said in first[:6]), first
    assert "ComplexDouble" in first[6] and not (tmp_path / "c").exists()
    assert "rank 0" in first[7] and "no checkpoint" in first[7]


KILLS = int(os.environ.get("WEFT_TEST_KILLS", "10"))


def test_killed_at_any_time(tmp_path):
    """There is always a whole checkpoint, and the next save clears what was left over."""
    program = Path(__file__).with_name("checkpoint_kills.py")
    command = [sys.executable, str(program), str(tmp_path / "c"), str(KILLS)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60 + 6 * KILLS)
    assert done.returncode == 0, done.stdout
    assert f"{KILLS} kills" in done.stdout
    generation = json.loads((tmp_path / "c" / "weft.json").read_text())["generation"]
    left = [f for f in os.listdir(tmp_path / "c") if generation not in f]
    assert sorted(left) == ["model.safetensors.index.json", "weft.json"]
