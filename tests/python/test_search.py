"""weft.search: layouts found for a model, beside all that there are."""

import itertools
import json

import pytest
import torch
import weft
from torch.utils.flop_counter import FlopCounterMode
from weft.planning import Step, planned_step
from weft.search_estimate import Estimator, simulated
from weft.search_folding import folded, runs_of
from weft.search_gathers import coming_ahead
from weft.search_kinds import Space, splits_of

MESH = {"data": 2, "model": 2}


class Block(torch.nn.Module):
    def __init__(self, width):
        super().__init__()
        self.up = torch.nn.Linear(width, 2 * width)
        self.down = torch.nn.Linear(2 * width, width)

    def forward(self, x):
        return x + self.down(self.up(x).relu())


class Net(torch.nn.Module):
    def __init__(self, layers=6, width=64):
        super().__init__()
        self.first = torch.nn.Linear(16, width)
        self.layers = torch.nn.ModuleList(Block(width) for _ in range(layers))
        self.head = torch.nn.Linear(width, 4)

    def forward(self, x):
        x = self.first(x)
        for layer in self.layers:
            x = layer(x)
        return self.head(x)


class ByNumber(Net):
    """Its layers are asked for by their numbers, which a model of fewer has not."""

    def forward(self, x):
        x = self.first(x)
        for i in range(6):
            x = self.layers[i](x)
        return self.head(x)


def pair(inner, width=256):
    """Two matrices without biases."""
    linear = lambda a, b: torch.nn.Linear(a, b, bias=False)  # noqa: E731
    return lambda: torch.nn.Sequential(linear(width, inner), torch.nn.ReLU(), linear(inner, width))


def three():
    linear = lambda a, b: torch.nn.Linear(a, b, bias=False)  # noqa: E731
    return torch.nn.Sequential(linear(64, 512), torch.nn.ReLU(), linear(512, 64), linear(64, 1024))


def least_of_all(make_model, shape, batch):
    """Seconds of the quickest of all layouts there are, by `weft.plan`."""
    with torch.device("meta"):
        parameters = dict(make_model().named_parameters())
    mesh = simulated(shape)
    axes = [a for a, n in shape.items() if n > 1]
    batches = [c for n in range(len(axes) + 1) for c in itertools.combinations(axes, n)]
    best = None
    for splits in itertools.product(*(splits_of(p.shape, mesh) for p in parameters.values())):
        layouts = dict(zip(parameters, splits, strict=True))
        for over in batches:
            planned = weft.plan(make_model, shape, layouts, batch, optimizer=torch.optim.AdamW, batch_axis=over)
            best = planned.seconds if best is None else min(best, planned.seconds)
    return best


@pytest.mark.parametrize(
    ("make_model", "shape", "rows"),
    [
        (pair(4096), {"model": 4}, 8),
        (pair(512), {"model": 4}, 4096),
        (three, {"data": 3}, 96),
        pytest.param(pair(2048), MESH, 64, marks=pytest.mark.slow),
    ],
)
def test_within_a_hundredth_of_the_best_there_is(make_model, shape, rows):
    batch = torch.zeros(rows, 64 if make_model is three else 256)
    found = weft.search(make_model, shape, batch, optimizer=torch.optim.AdamW, tries=400)
    assert found.planned.seconds <= 1.01 * least_of_all(make_model, shape, batch)


def test_long_batches_are_split_and_short_ones_are_not():
    long = weft.search(pair(512), {"axis": 4}, torch.zeros(1 << 16, 256))
    assert long.batch_axis == ("axis",)
    short = weft.search(pair(1 << 15), {"axis": 4}, torch.zeros(4, 256))
    assert short.batch_axis == ()
    assert dict(short.layouts.rules()) == {"0/weight": ("axis", None), "2/weight": (None, "axis")}


def test_a_limit_of_memory_is_kept():
    batch, wide = torch.zeros(1 << 15, 256), pair(8192)
    free = weft.search(wide, MESH, batch, optimizer=torch.optim.AdamW)
    limit = free.planned.peak - (4 << 20)
    tight = weft.search(wide, MESH, batch, optimizer=torch.optim.AdamW, memory=limit)
    assert tight.planned.peak <= limit
    assert tight.planned.seconds >= free.planned.seconds
    with pytest.raises(ValueError, match=r"W039.*fits into memory=100000; the best takes [\d.]+ MiB: [\d.]+ MiB of "):
        weft.search(wide, MESH, batch, memory=100_000)


def test_the_plan_file_gives_what_was_found(tmp_path):
    batch = torch.zeros(32, 16)
    found = weft.search(Net, MESH, batch, optimizer=torch.optim.AdamW)
    found.save(tmp_path / "plan.json")
    planned = weft.plan(
        Net, MESH, tmp_path / "plan.json", batch, optimizer=torch.optim.AdamW, batch_axis=found.batch_axis
    )
    assert planned.seconds == found.planned.seconds
    assert planned.trace.rows == found.planned.trace.rows
    assert found.layouts.device_mesh.simulated_rank is None
    assert json.loads(found.json())["planned"]["seconds"] == planned.seconds
    for candidate in found.runners_up:
        assert candidate.layouts != found.layouts or candidate.batch_axis != found.batch_axis
        assert candidate.seconds >= 0.99 * found.planned.seconds
    assert f"{found.planned.seconds * 1e3:.1f} ms" in str(found)


def test_layers_that_are_alike_have_one_entry():
    found = weft.search(lambda: Net(width=1024), {"model": 4}, torch.zeros(8, 16))
    assert found.layouts.lookup("layers/0/up/weight") is not None
    assert {found.layouts.lookup(f"layers/{i}/up/weight").pattern for i in range(6)} == {r"layers/\d+/up/weight"}


def test_a_module_stays_as_it_is():
    net = Net()
    before = [p.clone() for p in net.parameters()]
    weft.search(net, MESH, torch.zeros(32, 16))
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), before, strict=True))
    assert not any(weft.is_sharded(p) for p in net.parameters())


def test_meshes_of_a_number_of_ranks():
    found = weft.search(pair(512), 4, torch.zeros(1 << 16, 256))
    assert found.planned.mesh.size == 4
    assert found.planned.mesh.axis_names == ("data", "model")


def test_the_mesh_that_is_given_has_the_layouts():
    mesh = weft.DeviceMesh((1,), ("data",))
    assert weft.search(Net, mesh, torch.zeros(8, 16)).layouts.device_mesh == mesh


@pytest.mark.parametrize("sizes", [(2, 3), (5, 7)])
def test_runs_of_layers(sizes):
    first, second = sizes
    net = torch.nn.Sequential(*(Block(8) for _ in range(first)), *(Block(16) for _ in range(second)))
    runs = runs_of(net)
    assert [len(run.names) for run in runs] == [first, second]
    short = folded(net, dict.fromkeys(runs, 1))
    assert [name for name, _ in short.named_children()] == ["0", str(first)]
    assert len(net) == first + second


@pytest.mark.parametrize(
    "layouts", [{}, {r"layers/\d+/up/weight": ("model", None), r"layers/\d+/down/weight": (None, "model")}]
)
def test_few_layers_stand_for_all(layouts):
    """Exactly, but for what buckets of gradients save."""
    net = torch.nn.Module.to(Net(), "meta")
    space = Space(net, simulated(MESH), runs_of(net))
    splits = space.splits_by(weft.LayoutMap(space.mesh, layouts))
    step = Step(torch.zeros(64, 16), torch.optim.AdamW)
    estimator = Estimator(net, runs_of(net), step)
    short = estimator.of(space, splits, ("data",))
    estimator.unfold()
    whole = estimator.of(space, splits, ("data",))
    assert short.computing == pytest.approx(whole.computing, rel=1e-6)
    assert short.seconds == pytest.approx(whole.seconds, rel=0.05)
    assert short.peak == pytest.approx(whole.peak, rel=0.15)


def test_what_a_first_step_gathers_comes_in_the_buckets_of_those_after_it():
    def gathers(steps):
        net = torch.nn.Module.to(Net(), "meta")
        layouts = weft.LayoutMap(simulated(MESH), {r".*(first|up|down)/weight": ("data", None)})
        step = Step(torch.zeros(64, 16), torch.optim.AdamW, batch_axis="data")
        rows = planned_step(net, layouts, step, steps=steps).trace.rows
        return [row for row in rows if row.axis == "data" and row.kind == "all_gather"]

    first, second = gathers(1), gathers(2)
    put_together, copied = coming_ahead(first, MESH)
    assert len(first) > len(put_together) == len(second)
    assert sum(row.bytes for row in put_together) == sum(row.bytes for row in first)
    assert copied == 2 * sum(row.bytes for row in first)  # half of a whole is sent


def test_a_model_that_numbers_its_layers_is_searched_whole():
    found = weft.search(ByNumber, MESH, torch.zeros(32, 16), tries=10)
    assert found.planned.seconds == weft.search(Net, MESH, torch.zeros(32, 16), tries=10).planned.seconds


def test_flops_are_those_of_the_plain_model():
    net, batch = Net(), torch.zeros(32, 16)
    with FlopCounterMode(display=False) as counted:
        net(batch).square().mean().backward()
    planned = weft.plan(Net, {"model": 2}, {}, batch)
    assert planned.flops == counted.get_total_flops()
    split = weft.plan(Net, {"data": 2}, {}, batch)
    assert split.flops == counted.get_total_flops() // 2
    assert planned.seconds == planned.seconds_computing + planned.seconds_sending
    assert planned.seconds_computing == pytest.approx(sum(op.seconds for op in planned.computed))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((3, MESH), "W038"),
        ((lambda: 3, MESH), "W038"),
        ((lambda: torch.jit.script(torch.nn.Linear(16, 4)), MESH), "W038"),
        ((Net, "data"), "W038"),
        ((Net, 0), "W038"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        weft.search(*arguments, torch.zeros(8, 16))


@pytest.mark.parametrize("options", [{"tries": 0}, {"memory": 0}, {"memory": 1.5}])
def test_wrong_options(options):
    with pytest.raises(ValueError, match="W039"):
        weft.search(Net, MESH, torch.zeros(8, 16), **options)


class Asks(Net):
    def forward(self, x):
        return super().forward(x) * self.first.weight.sum().item()


def test_a_step_that_needs_a_value():
    with pytest.raises(RuntimeError, match="item"):
        weft.search(Asks, MESH, torch.zeros(8, 16))
