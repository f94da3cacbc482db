"""What tools/fuzz runs in one process: rules, patterns, plan files, addresses, meshes, layouts."""

import contextlib
import itertools
import json
import os
import random
import re
import tempfile
from collections.abc import Iterator

import torch
import weft
from fuzz import Input, wrong_refusal
from support.mutate import Mutator

MESH = weft.DeviceMesh((2, 2), ("data", "model"), device_type="cpu")
AXES = ["data", "model", "dat", "modelmodel", "Data", ""]
PATTERNS = [
    "layers/0/weight", ".*/(q|k|v)_proj/weight", "(up|down)/[a-z]+", "model/.*", r"h\.\d{1,3}\.attn", "^embed/(?:a|b)$",
    "(?i)dense_?[0-9]*/kernel", "a{2,5}", "[^/]+/bias", r"\Qliteral.+\E", "x*?y+?", r"\pL+/\bw", "/output",
]  # fmt: skip
PATHS = ["layers/0/weight", "model/a/q_proj/weight", "h.12.attn", "dense_1/kernel", "up/x", "aaa", "/output", ""]
PATTERN_WORDS = [
    "(", ")", "(?", "(?i)", "(?P<n>", "[", "[^", "]", "{", "{1,", "}", "{1000}", "{9999}", ".*", ".+", "|", "?",
    "(?=a)", "/", ".", "\\d", "\\Q", "\\E", "\\C", "\\1", "\\x{110000}", "\\p{Greek}", "\\z",
]  # fmt: skip


def rules(rng: random.Random) -> Iterator[Input]:
    """Each text that is taken is the rule of an op of its own."""
    samples = [line.split(": ", 1)[1] for line in torch.ops.weft.rules()]
    words = re.findall(r"[\w@.~+-]+|[^\w\s]", " ".join(samples))
    mutator = Mutator(rng, samples, sorted(set(words)))
    schemas = [
        "(Tensor a, Tensor b) -> Tensor", "(Tensor a, int[] dim, bool keepdim) -> Tensor", "(Tensor[] a) -> Tensor[]",
        "(Tensor a, Tensor? b, Tensor c, int groups) -> (Tensor, Tensor)", "(Tensor a) -> Tensor",
    ]  # fmt: skip
    library, numbers = torch.library.Library("weft_fuzz", "DEF"), itertools.count()
    ops: dict[str, str] = {}

    def check(schema: str, text: str) -> bool:
        if schema not in ops:
            ops[schema] = f"fuzz{next(numbers)}"
            library.define(ops[schema] + schema)
        weft.register_rule(f"weft_fuzz::{ops[schema]}", text)
        told = [line for line in torch.ops.weft.rules() if line.startswith(f"weft_fuzz::{ops[schema]}: ")]
        del ops[schema]
        assert [line.split(": ", 1)[1] for line in told] == [text], f"told again as {told}"
        assert re.fullmatch(r"[\w\s,;|()@.~*?#+=>-]+", text, re.ASCII), "it has characters that the notation has not"
        return True

    while True:
        yield Input(check, rng.choice(schemas), mutator.text())


def patterns(rng: random.Random) -> Iterator[Input]:
    pattern, path = Mutator(rng, PATTERNS, PATTERN_WORDS), Mutator(rng, PATHS)

    def check(first: str, second: str, sought: str) -> bool:
        layouts = weft.LayoutMap(MESH)
        layouts[first] = ("data", None)
        with refusing():
            layouts[second] = (None, ("model", "data"))
        again = weft.LayoutMap.from_json(layouts.to_json())
        assert again.rules() == layouts.rules() and list(layouts)[0] == first, "written and read: another map"
        with refusing():
            assert first in layouts.matching(first), "a key does not find itself"
            found = layouts.lookup(sought)
            assert (found.pattern if found else None) in [*layouts.matching(sought), None]
        del layouts[first]
        assert first not in layouts
        return True

    while True:
        yield Input(check, pattern.text(), pattern.text(), path.text())


def plans(rng: random.Random) -> Iterator[Input]:
    samples = []
    for axes in (("data", None), (("data", "model"),), (None, "model", None), ()):
        layouts = weft.LayoutMap(MESH, {p: axes for p in rng.sample(PATTERNS, 4)})
        samples += [layouts.to_json(), json.dumps(json.loads(layouts.to_json()))]
    samples.append(
        '{"weft_layout_map": 1, "mesh": {"shape": [3], "axis_names": ["\\u0061"]}, "rules": {"\\u006d": [["a"]]}}'
    )
    words = [
        '"rules"',
        '"mesh"',
        '"shape"',
        '"ranks"',
        '{"',
        '": [',
        "[]",
        "[[",
        "\\u0000",
        "\\ud800",
        "\\udc00",
        *AXES,
    ]
    mutator = Mutator(rng, samples, words)
    folder = tempfile.TemporaryDirectory()
    file = os.path.join(folder.name, "plan.json")

    def check(data: bytes, mesh: weft.DeviceMesh | None) -> bool:
        with open(file, "wb") as f:
            f.write(data)
        layouts = weft.LayoutMap.load(file, mesh)
        content = json.loads(data.decode("utf-8-sig"))  # raises where Python does not think that this is JSON
        assert list(content["rules"]) == list(layouts), "other patterns than the file's"
        for given, (_, axes) in zip(content["rules"].values(), layouts.rules(), strict=True):
            assert [names(a) for a in given] == [names(a) for a in axes], "other axes than the file's"
        text = layouts.to_json()
        layouts.save(file)
        assert weft.LayoutMap.load(file).to_json() == text, "written and read: another map"
        return True

    while True:
        yield Input(check, mutator.data(), rng.choice((None, MESH)))


def addresses(rng: random.Random) -> Iterator[Input]:
    names = ["KERAS_DISTRIBUTION_JOB_ADDRESSES", "KERAS_DISTRIBUTION_NUM_PROCESSES", "KERAS_DISTRIBUTION_PROCESS_ID"]
    names += [
        "MASTER_ADDR",
        "MASTER_PORT",
        "WORLD_SIZE",
        "RANK",
        "TORCHELASTIC_USE_AGENT_STORE",
        "TORCHELASTIC_RESTART_COUNT",
    ]
    numbers = Mutator(rng, ["0", "1", "2", "4", "29500", "65535", "65536"], ["+", "-", " "])
    hosts = Mutator(rng, ["localhost:1234", "10.0.0.1:1,10.0.0.2:2", "[::1]:99", "a.b", "True", "h:1, g:2"])

    def check(arguments: tuple, variables: dict[str, str]) -> bool:
        for name in names:
            os.environ.pop(name, None)
        os.environ.update(variables)
        host, port, rank, size, prefix = torch.ops.weft.rendezvous(*arguments)
        assert 0 <= rank < size and bool(prefix) <= (size > 1)
        if size > 1:
            assert host and not re.search(r"\s", host) and 0 < port < 65536, f"host {host!r}, port {port}"
            for name in names:
                os.environ.pop(name, None)
            address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
            again = torch.ops.weft.rendezvous(address, size, rank)
            assert again == (host, port, rank, size, ""), f"{address} is read as {again}"
        return True

    while True:
        variables = {}
        for name in names:
            if rng.randrange(2):
                text = (hosts if "ADDR" in name or "USE" in name else numbers).text()
                variables[name] = text.replace("\0", "")  # which ends a variable
        some = [
            rng.choice((None, hosts.text())),
            *(rng.choice((None, None, 0, 1, 2, 4, -1, 1 << 40)) for _ in range(2)),
        ]
        yield Input(check, tuple(some) if rng.randrange(3) == 0 else (), variables)


def meshes(rng: random.Random) -> Iterator[Input]:
    mutator = Mutator(rng, AXES)
    edges = [0, -1, 1 << 12, 1 << 31, 1 << 32, 1 << 62, (1 << 63) - 1]

    def check(shape: list[int], axes: list[str], devices: list | None, kind: str) -> bool:
        mesh = weft.DeviceMesh(shape, axes, devices, kind)
        assert (mesh.shape, mesh.axis_names) == (tuple(shape), tuple(axes))
        assert mesh == weft.DeviceMesh(mesh.shape, mesh.axis_names, mesh.ranks, mesh.device_type)
        assert str(mesh) and repr(mesh) and [mesh.axis_size(a) for a in axes] == shape
        return True

    while True:
        ndim = rng.choice((0, 1, 1, 2, 2, 3, 20))
        shape = [rng.choice((1, 2, 2, 3, 4)) for _ in range(ndim)]
        if shape and rng.randrange(4) == 0:
            shape[rng.randrange(ndim)] = rng.choice(edges)
        axes = [rng.choice((mutator.text(), f"axis{i}")) for i in range(ndim + (rng.randrange(9) == 0))]
        devices = rng.choice((None, None, list(range(4)), [rng.choice((0, 1, 2, 5, -1, 1 << 40)) for _ in range(4)]))
        yield Input(check, shape, axes, devices, rng.choice(("cpu", "cpu", "cpu", mutator.text())))


def layouts(rng: random.Random) -> Iterator[Input]:
    mutator = Mutator(rng, AXES)

    def name() -> str:
        return rng.choice(("data", "model", mutator.text()))

    def check(axes: tuple, partial: dict[str, str]) -> bool:
        layout = weft.TensorLayout(axes, MESH, partial)
        assert [names(a) for a in layout.axes] == [names(a) for a in axes], f"told again as {layout.axes}"
        assert layout.partial == partial, f"told again as {layout.partial}"
        assert layout == weft.TensorLayout(layout.axes, MESH, layout.partial)
        assert 0 < len(str(layout)) < 1000 and 0 < len(repr(layout)) < 1000
        return True

    while True:
        kinds = (None, None, name(), (name(),), (name(), name()), (), 3, 0.5, ((name(),),), True)
        axes = tuple(rng.choice(kinds[: rng.choice((6, len(kinds)))]) for _ in range(rng.choice((0, 1, 2, 2, 3, 70))))
        yield Input(
            check, axes, {name(): rng.choice(("sum", "max", mutator.text())) for _ in range(rng.choice((0, 0, 1, 2)))}
        )


def names(axes: object) -> tuple:
    """The axes of one dimension, in the way that has several."""
    return (axes,) if isinstance(axes, str) else tuple(axes or ())


@contextlib.contextmanager
def refusing() -> Iterator[None]:
    """Wraps a second part of an input, which may be refused as well."""
    try:
        yield
    except ValueError as e:
        assert not wrong_refusal(e), wrong_refusal(e)
