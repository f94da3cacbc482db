"""What a rank passes differs from what the others pass: one error, on all ranks, soon, and they work on.

Each case is run by all ranks; `pick(a, b)` is `b` on rank 1 and `a` on the others.
"""

import pytest
import torch
import weft
from ranks.differing import error_of, linear, pick, square
from ranks.meshes import line
from support.cases import SOON
from support.ranks import run_ranks
from torch import nn

ROWS, COLUMNS = ("a", None), (None, "a")

DISTRIBUTE = {  # arguments of distribute_tensor and distribute_variable
    "shape": lambda m: (torch.ones(4, pick(4, 5)), ROWS, m),
    "dimensions": lambda m: (pick(square(), torch.ones(4)), ROWS, m),
    "dtype": lambda m: (square(dtype=pick(torch.float32, torch.float64)), ROWS, m),
    "strides": lambda m: (pick(square(), square().t()), ROWS, m),
    "requires_grad": lambda m: (square(requires_grad=pick(True, False)), ROWS, m),
    "layout": lambda m: (square(), pick(ROWS, COLUMNS), m),
    "pending": lambda m: (square(), weft.TensorLayout((None, None), m, partial=pick({}, {"a": "sum"}))),
    "unknown axis": lambda m: (square(), pick(ROWS, ("z", None)), m),
    "no mesh": lambda m: (square(), ROWS, pick(m, None)),
    "names of the mesh": lambda m: (square(), (None, None), pick(m, line("b"))),
    "shape of the mesh": lambda m: (square(), (None, None), pick(m, other_mesh())),
    "order of the mesh": lambda m: (square(), ROWS, pick(m, backwards())),
    "size of the mesh": lambda m: (square(), (None, None), pick(m, weft.DeviceMesh((64,), ("a",), device_type="cpu"))),
}


REDISTRIBUTE = {  # arguments of distribute_tensor, of a sharded tensor
    "layout": lambda m: (rows_of(m), pick((None, None), COLUMNS), m),
    "pending": lambda m: (pick(rows_of(m), summed(m)), (None, None), m),
    "sharded on one": lambda m: (pick(square(), rows_of(m)), COLUMNS, m),
    "unknown axis": lambda m: (rows_of(m), pick(COLUMNS, ("z", None)), m),
    "dimensions": lambda m: (rows_of(m), pick(COLUMNS, (None,)), m),
    "mesh": lambda m: (rows_of(m), (None, None), pick(m, other_mesh())),
}


def rows_of(mesh):
    return weft.distribute_tensor(square(), ROWS, mesh)


def summed(mesh):
    return weft.from_local(square(), weft.TensorLayout((None, None), mesh, {"a": "sum"}))


def other_mesh():
    return weft.DeviceMesh((weft.world_size() // 2, 2), ("a", "b"), device_type="cpu")


def backwards():
    ranks = list(range(weft.world_size()))[::-1]
    return weft.DeviceMesh((len(ranks),), ("a",), ranks, device_type="cpu")


def whole(rows):
    """The shape that parts with so many rows make up."""
    return rows * weft.world_size(), 2


FROM_LOCAL = {
    "layout": lambda m: (torch.ones(2, 2), pick(ROWS, COLUMNS), None, m),
    "dtype": lambda m: (torch.ones(2, 2, dtype=pick(torch.float32, torch.float64)), ROWS, None, m),
    "dtype, shape told": lambda m: (torch.ones(2, 2, dtype=pick(torch.float32, torch.float64)), ROWS, whole(2), m),
    "other sizes": lambda m: (torch.ones(2, pick(2, 3)), ROWS, None, m),
    "dimensions": lambda m: (pick(torch.ones(2, 2), torch.ones(2)), ROWS, None, m),
    "requires_grad": lambda m: (torch.ones(2, 2, requires_grad=pick(True, False)), ROWS, None, m),
    "shape on one": lambda m: (torch.ones(2, 2), ROWS, pick(None, whole(2)), m),
    "shape": lambda m: (torch.ones(pick(2, 3), 2), ROWS, whole(pick(2, 3)), m),
    "sizes": lambda m: (torch.ones(pick(2, 5), 2), ROWS, None, m),
    "pending": lambda m: (torch.ones(2), weft.TensorLayout((None,), m, {"a": pick("sum", "max")})),
    "a sharded part": lambda m: (pick(torch.ones(1, 4), weft.distribute_tensor(square(), ROWS, m)), ROWS, None, m),
    "unknown axis": lambda m: (torch.ones(2, 2), pick(ROWS, ("z", None)), None, m),
    "mesh": lambda m: (torch.ones(2, 2), (None, None), None, pick(m, other_mesh())),
}

TAG = {  # the map, the variable, the path
    "rule": lambda m: (weft.LayoutMap(m, {"w": pick(ROWS, COLUMNS)}), square(), "w"),
    "path": lambda m: (weft.LayoutMap(m, {"w": ROWS}), square(), pick("w", "v")),
    "shape": lambda m: (weft.LayoutMap(m, {"w": ROWS}), torch.ones(4, pick(4, 5)), "w"),
    "no map": lambda m: (pick(weft.LayoutMap(m, {"w": ROWS}), None), square(), "w"),
    "several rules": lambda m: (weft.LayoutMap(m, {"w.*": ROWS, **pick({}, {".*x": COLUMNS})}), square(), "wx"),
    "a rule of other dimensions": lambda m: (weft.LayoutMap(m, {"w": pick(ROWS, ("a",))}), square(), "w"),
    "mesh": lambda m: (weft.LayoutMap(pick(m, line("b"))), square(), "w"),
}


def tag(layouts, variable, path):
    with weft.register_layouts(layouts):
        weft.tag(variable, path)


def frozen(layer, trains):
    layer.weight.requires_grad_(trains)
    return layer


def with_gradient(layer):
    layer.weight.grad = square()
    return layer


def in_use(layer):
    layer.held = [layer(torch.ones(1, 4))]
    return layer


def renamed(name):
    return nn.ModuleDict({name: linear()})


MODULE = {  # the module, the rules, the mesh
    "rule": lambda m: (linear(), {"weight": pick(ROWS, COLUMNS)}, m),
    "no rule": lambda m: (linear(), pick({"weight": ROWS}, {}), m),
    "several rules": lambda m: (linear(), {"w.*": ROWS, **pick({}, {".*t": COLUMNS})}, m),
    "a rule of other dimensions": lambda m: (linear(), {"weight": pick(ROWS, ("a",))}, m),
    "no map": lambda m: (linear(), pick({"weight": ROWS}, None), pick(m, None)),
    "unknown axis": lambda m: (linear(), {"weight": pick(ROWS, ("z", None))}, m),
    "mesh": lambda m: (linear(), {}, pick(m, other_mesh())),
    "paths": lambda m: (renamed(pick("one", "other")), {}, m),
    "variables": lambda m: (linear(bias=pick(True, False)), {}, m),
    "dtype": lambda m: (linear(dtype=pick(torch.float32, torch.float64)), {}, m),
    "shape": lambda m: (nn.Linear(4, pick(4, 5)), {}, m),
    "lazy": lambda m: (pick(linear(), nn.LazyLinear(4)), {}, m),
    "meta": lambda m: (linear(device=pick("cpu", "meta")), {}, m),
    "requires_grad": lambda m: (frozen(linear(), pick(True, False)), {}, m),
    "gradient": lambda m: (pick(linear, lambda: with_gradient(linear()))(), {}, m),
    "in use": lambda m: (pick(linear, lambda: in_use(linear()))(), {}, m),
    "distributed before": lambda m: (pick(linear(), weft_module(m)), {"weight": ROWS}, m),
    "scripted, rule": lambda m: (torch.jit.script(linear()), {"weight": pick(ROWS, COLUMNS)}, m),
}


def weft_module(mesh):
    return weft.distribute_module(linear(), {"weight": ROWS}, mesh=mesh)


def distribute_module(module, rules, mesh):
    weft.distribute_module(module, rules, mesh=mesh)


def redistribute(tensor, layout, mesh):
    weft.distribute_tensor(tensor, layout, mesh)


BATCH = {
    "shape": lambda m: (torch.ones(pick(4, 5), 2), m, "a"),
    "more": lambda m: ({"x": square(), **pick({}, {"y": torch.ones(4)})}, m, "a"),
    "dim": lambda m: (square(), m, "a", pick(0, 1)),
    "dtype in a list": lambda m: ([square(), torch.ones(4, dtype=pick(torch.int32, torch.int64))], m, "a"),
}

INITIALIZE = {"num_processes": lambda m: (None, pick(None, 64)), "process_id": lambda m: (None, None, pick(None, 9))}

FUNCTIONS = (
    (weft.distribute_tensor, DISTRIBUTE),
    (weft.distribute_variable, DISTRIBUTE),
    (redistribute, REDISTRIBUTE),
    (weft.from_local, FROM_LOCAL),
    (tag, TAG),
    (distribute_module, MODULE),
    (weft.shard_batch, BATCH),
    (weft.initialize, INITIALIZE),
)
CASES = {f"{f.__name__}: {name}": (f, case) for f, cases in FUNCTIONS for name, case in cases.items()}


def every_case(world):
    mesh, found = line(), {}
    weft.distribute_tensor(square(), (None, None), mesh)
    for name, (f, case) in CASES.items():
        text, took = error_of(f, case(mesh))
        x = weft.distribute_tensor(torch.arange(6.0), ("a",), mesh)
        found[name] = text, took, float(x.sum()) == 15 and torch.equal(weft.full_tensor(x), torch.arange(6.0))
    return found


@pytest.fixture(scope="module", params=(2, 4))
def results(request):
    """The results of processes of their own: ranks compare a pair of layouts once, the first time that it is asked."""
    return run_ranks(request.param, every_case, (request.param,), timeout=120)


@pytest.mark.parametrize("name", CASES)
def test_one_error_on_all_ranks(results, name):
    texts = [found[name][0] for found in results]
    assert texts[0] and len(set(texts)) == 1, texts
    for text, took, goes_on in (found[name] for found in results):
        assert took < SOON and goes_on, (text, took)


NAMED = {  # what differs, what the other ranks have of it, what rank 1 has
    "distribute_tensor: shape": ("shape", "[4, 4]", "[4, 5]"),
    "distribute_tensor: dtype": ("dtype", "Float", "Double"),
    "distribute_tensor: strides": ("stride", "[4, 1]", "[1, 4]"),
    "distribute_tensor: requires_grad": ("requires_grad", "True", "False"),
    "distribute_tensor: layout": ("layout", "(a, None) on mesh (a=", "(None, a) on mesh (a="),
    "distribute_tensor: names of the mesh": ("mesh", "mesh (a=", "mesh (b="),
    "redistribute: layout": ("layout", "(None, None) on mesh (a=", "(None, a) on mesh (a="),
    "from_local: dtype": ("part's dtype", "Float", "Double"),
    "distribute_module: requires_grad": ("variable 'weight'", "Float[4, 4] on cpu", "Float[4, 4] on cpu"),
    "distribute_module: variables": ("variable 'bias'", "Float[4] on cpu", "not there"),
    "shard_batch: dtype in a list": ("tensor 1", "torch.int32 of shape (4,)", "torch.int64 of shape (4,)"),
}


@pytest.mark.parametrize("name", NAMED)
def test_the_error_names_both_values(results, name):
    fact, others, mine = NAMED[name]
    said = results[0][name][0]
    of_others = "on rank 0, " if len(results) == 2 else "on ranks 0, 2, 3, "
    told = said.split(f"; the {fact} is ")[-1].split(";")[0]
    assert told.startswith(others) and told.endswith(" on rank 1") and f"{of_others}{mine}" in told, said
