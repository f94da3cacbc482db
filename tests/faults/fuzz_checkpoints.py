"""What tools/fuzz gives weft.load: files of a checkpoint, with checksums that are right."""

import os
import random
import shutil
import tempfile
from collections.abc import Iterator

import safetensors.torch
import torch
import weft
from fuzz import Input
from support.mutate import Mutator

WORDS = [
    '"dtype"', '"shape"', '"data_offsets"', '"F32"', '"I8"', '"F64"', "[0,8]", "[8,9]", "[2]", "[]", "{}",
    '"__metadata__"', '"file"', '"offset"', '"crc32c"', '"tensors"', '"aliases"', '"groups"', '"weight_map"', '"a"',
    '"b"',
]  # fmt: skip


def crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def sealed(text: bytes) -> bytes:
    return text + f'  "crc32c": "{crc32c(text):08x}"\n}}\n'.encode()


def checkpoints(rng: random.Random) -> Iterator[Input]:
    """The header of a folder of Hugging Face's, its index, and a manifest."""
    temporary = tempfile.TemporaryDirectory()
    root, value = temporary.name, {"a": torch.tensor([1.0, 2.0]), "b": torch.tensor([3], dtype=torch.int8)}
    own, others = os.path.join(root, "own"), os.path.join(root, "others")
    weft.save(own, value)
    os.mkdir(others)
    file = next(f for f in os.listdir(own) if f.startswith("model-"))
    shutil.copy(os.path.join(own, file), os.path.join(others, file))
    with open(os.path.join(own, file), "rb") as f:
        content = f.read()
    length = int.from_bytes(content[:8], "little")
    header, data = content[8 : 8 + length].decode(), content[8 + length :]
    texts = {}
    for name in ("weft.json", "model.safetensors.index.json"):
        with open(os.path.join(own, name), encoding="utf-8") as f:
            texts[name] = f.read()
    seal = len(sealed(b""))
    headers, manifests = Mutator(rng, [header], WORDS), Mutator(rng, [texts["weft.json"][:-seal]], [*WORDS, file])
    indices = Mutator(rng, [texts["model.safetensors.index.json"]], [*WORDS, file])

    def load(folder: str) -> dict[str, torch.Tensor]:
        targets = {name: torch.zeros_like(t) for name, t in value.items()}
        missing = weft.load(folder, targets, strict=False).missing
        return {name: t for name, t in targets.items() if name not in missing}

    def check_header(text: bytes) -> bool:
        single = os.path.join(others, "model.safetensors")
        with open(single, "wb") as f:
            f.write(len(text).to_bytes(8, "little") + text + data)
        try:
            loaded = load(others)
            expected = safetensors.torch.load_file(single)
        finally:
            os.remove(single)
        assert all(torch.equal(t, expected[name]) for name, t in loaded.items()), "other values than safetensors reads"
        return True

    def check_index(text: bytes) -> bool:
        with open(os.path.join(others, "model.safetensors.index.json"), "wb") as f:
            f.write(text)
        assert all(torch.equal(t, value[name]) for name, t in load(others).items()), "other values than were saved"
        return True

    def check_manifest(text: bytes) -> bool:
        with open(os.path.join(own, "weft.json"), "wb") as f:
            f.write(sealed(text))
        loaded = load(own)
        saved = [*value.values()]
        assert all(any(torch.equal(t, s) for s in saved) for t in loaded.values()), "other values than were saved"
        return True

    while True:
        yield Input(check_header, headers.data())
        yield Input(check_index, indices.data())
        yield Input(check_manifest, manifests.data())
