"""Parts of the tensors in safetensors files, read from where they lie."""

import contextlib

import torch
from safetensors.torch import load_file, save_file
from weft.hf import reading


def test_each_part_of_a_file(tmp_path, monkeypatch):
    x = torch.arange(7 * 5 * 6, dtype=torch.float32).reshape(7, 5, 6)
    save_file({"x": x, "one": x[:1].clone(), "number": torch.tensor(3.0)}, tmp_path / "f.safetensors")
    monkeypatch.setattr(reading, "_BLOCK", 2 * 5 * 6 * 8)
    with contextlib.ExitStack() as closed:
        sources = reading.open_files([str(tmp_path / "f.safetensors")], closed)
        for name, ranges in {
            "x": [range(1, 6), range(2, 5), range(6)],
            "one": [range(1), range(5), range(3, 6)],
            "number": [],
        }.items():
            want = load_file(tmp_path / "f.safetensors")[name][tuple(slice(r.start, r.stop) for r in ranges)]
            into = torch.full_like(want, -1)
            reading.read(sources[name], ranges, into)
            assert torch.equal(into, want)
        reading.read(sources["x"], [range(3, 3), range(5), range(6)], torch.empty(0, 5, 6))
