"""Meshes without processes."""

import io
import json

import pytest
import torch
import weft
from torch._subclasses.fake_tensor import FakeTensorMode
from weft.planning import Step, made_on_meta, planned_step


def mesh_of(rank=0, **axes):
    axes = axes or {"data": 2, "model": 4}
    return weft.DeviceMesh(tuple(axes.values()), tuple(axes), device_type="cpu", simulate=rank)


def test_another_mesh_than_the_real_one():
    real = weft.DeviceMesh((2, 4), ("data", "model"), device_type="cpu")
    assert mesh_of(3).simulated_rank == 3
    assert real.simulated_rank is None
    assert len({real, mesh_of(0), mesh_of(3), mesh_of(3)}) == 3
    assert mesh_of(6).coordinates == {"data": 1, "model": 2}


@pytest.mark.parametrize("rank", [-1, 8, "0", 1.0])
def test_no_such_rank(rank):
    with pytest.raises(ValueError, match=r"W\d+.*simulate"):
        mesh_of(rank)


@pytest.mark.parametrize(("rank", "rows"), [(0, 3), (2, 3), (3, 0)])
def test_parts_have_this_ranks_shape_and_no_memory(rank, rows):
    x = weft.distribute_tensor(torch.randn(9, 5), ("model", None), mesh_of(rank, model=4))
    local = weft.local_tensor(x)
    assert local.is_meta
    assert tuple(local.shape) == (rows, 5)
    assert x.device == torch.device("cpu")
    assert tuple(x.shape) == (9, 5)


def test_ops_are_planned_and_their_collectives_counted():
    mesh = mesh_of()
    x = weft.distribute_tensor(torch.randn(8, 6), ("data", "model"), mesh)
    w = weft.distribute_tensor(torch.randn(6, 12), ("model", None), mesh)
    with weft.trace() as trace:
        out = torch.relu(x @ w) + torch.ones(12)
    assert tuple(out.shape) == (8, 12)
    assert [(row.kind, row.axis, row.bytes) for row in trace.rows] == [("all_reduce", "model", 2 * 3 * 4 * 12 * 4 // 4)]


def test_fake_tensors_are_laid_out():
    with FakeTensorMode():
        fake = torch.randn(8, 6)
    x = weft.distribute_tensor(fake, ("model", None), mesh_of())
    assert tuple(weft.local_tensor(x).shape) == (2, 6)
    part = weft.from_local(fake, weft.TensorLayout(("model", None), mesh_of()))
    assert tuple(part.shape) == (32, 6)


@pytest.mark.parametrize(
    "read",
    [
        lambda x: x.sum().item(),
        lambda x: bool(x.sum() > 0),
        lambda x: float(x.sum()),
        lambda x: torch.equal(x, x),
        lambda x: torch.allclose(x, x),
        lambda x: x.tolist(),
        lambda x: x.numpy(),
        lambda x: x.nonzero(),
        lambda x: x[x > 0],
        lambda x: torch.unique(x),
        lambda x: torch.save(x, io.BytesIO()),
    ],
)
def test_values_are_nowhere(read):
    x = weft.distribute_tensor(torch.ones(4, 4), ("model", None), mesh_of())
    with pytest.raises(NotImplementedError, match=r"^\[W073\] .* over mesh \(data=2, model=4\), which is simulated"):
        read(x)


def test_indices_are_known_by_their_shape():
    x = weft.distribute_tensor(torch.ones(8, 4), ("model", None), mesh_of())
    assert tuple(x[torch.tensor([1, 2, 3])].shape) == (3, 4)


@pytest.mark.parametrize("mode", ["counter", "replay"])
def test_random_values_take_no_memory(mode):
    size = 1 << 40
    x = weft.distribute_tensor(torch.empty(size, device="meta"), ("model",), mesh_of())
    parameters = weft.distribute_tensor(torch.empty(8, 4), ("model", None), mesh_of())
    with weft.random_mode(mode):
        drawn = [
            torch.rand_like(x),
            torch.randn_like(x) + x,
            torch.nn.functional.dropout(x),
            x.clone().uniform_(),
            torch.bernoulli(x),
            x.clone().bernoulli_(0.5),
            x.clone().exponential_(),
        ]
        noise = torch.normal(parameters, torch.ones(8, 4))
    for y in drawn:
        assert weft.local_tensor(y).is_meta and tuple(y.shape) == (size,)
        assert tuple(weft.local_tensor(y).shape) == (size // 4,)
    assert weft.local_tensor(noise).is_meta


def test_the_part_that_is_shown_is_of_the_rank_that_is_simulated():
    x = weft.distribute_tensor(torch.ones(4), ("model",), mesh_of(3))
    assert "shown is rank 3's part, of shape (1,)" in str(x)


def test_devices_named_by_the_program():
    x = weft.distribute_tensor(torch.ones(4, 4), ("model", None), mesh_of())
    assert weft.is_sharded(x.to("cpu", torch.float64))
    assert torch.zeros_like(x, device="cpu").device == torch.device("cpu")
    assert weft.local_tensor(x.new_zeros(8, device="cpu")).is_meta


def kernels_of(mesh, run):
    """The ops that run on this rank's parts, which are on the meta device."""
    with torch.no_grad(), torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
        out = run()
    return out, [event.name for event in profiler.events()]


@pytest.mark.skipif(
    not torch._C._dispatch_has_kernel_for_dispatch_key("aten::_fused_rms_norm", "CUDA"), reason="a torch without CUDA"
)
def test_a_norm_is_one_kernel_where_the_parts_are_on_gpus():
    for kind in ("cuda", "cpu"):
        mesh = weft.DeviceMesh((4,), ("model",), device_type=kind, simulate=1)
        x = weft.distribute_tensor(torch.randn(8, 6), ("model", None), mesh)
        weight = weft.distribute_tensor(torch.randn(6), (None,), mesh)
        (out, _), names = kernels_of(mesh, lambda x=x, w=weight: torch.ops.aten._fused_rms_norm(x, [6], w, 1e-5))
        assert weft.layout_of(out) == weft.layout_of(x)
        planned = names.count("aten::_fused_rms_norm") > 1  # more than the program's own call
        assert planned == (kind == "cuda"), names


def on_gpus(axes, *shape):
    mesh = weft.DeviceMesh((4,), ("model",), device_type="cuda", simulate=1)
    return weft.distribute_tensor(torch.randn(*shape), axes, mesh)


@torch.no_grad()
def test_attention_of_gpus_is_split_over_heads():
    q = on_gpus((None, "model", None, None), 2, 4, 16, 32)
    with weft.trace() as trace:
        out, sums, *rest = torch.ops.aten._scaled_dot_product_flash_attention(q, q, q)
        of_rows = torch.ops.aten._scaled_dot_product_flash_attention_backward(
            q, q, q, q, out, sums, rest[0], rest[1], rest[2], rest[3], 0.0, False, rest[4], rest[5]
        )
        whole = torch.ops.aten._scaled_dot_product_efficient_attention(q, q, q, None, True)
        backward = torch.ops.aten._scaled_dot_product_efficient_attention_backward(
            q, q, q, q, None, *whole, 0.0, [True, True, True, False]
        )
    assert not trace.rows
    for result in (out, whole[0], *of_rows, *backward[:3]):
        assert weft.layout_of(result) == weft.layout_of(q)
    for result in (sums, whole[1]):
        assert weft.layout_of(result).axes == (None, "model", None)


@torch.no_grad()
def test_a_step_of_an_lstm_on_gpus_is_split_over_the_batch():
    gates, cell = on_gpus(("model", None), 8, 4 * 6), on_gpus(("model", None), 8, 6)
    bias = on_gpus((None,), 4 * 6)
    with weft.trace() as trace:
        step = torch.ops.aten._thnn_fused_lstm_cell(gates, gates, cell, bias, bias)
        backward = torch.ops.aten._thnn_fused_lstm_cell_backward_impl(cell, None, cell, step[1], step[2], True)
    assert not trace.rows
    assert [weft.layout_of(t).axes for t in (*step, *backward)] == [("model", None)] * 5 + [(None,)]
    assert weft.layout_of(backward[2]).partial == {"model": "sum"}


def test_plan_of_many_ranks():
    net = lambda: torch.nn.Sequential(torch.nn.Linear(512, 2048), torch.nn.ReLU(), torch.nn.Linear(2048, 512))  # noqa: E731
    layouts = {"0/weight": ("model", "data"), "2/weight": ("data", "model")}
    planned = weft.plan(
        net, {"data": 64, "model": 64}, layouts, torch.zeros(64, 512), optimizer=torch.optim.AdamW, rank=4095
    )
    weights = {v.path: v.weight for v in planned.variables}
    assert weights["0/weight"] == 2048 * 512 * 4 // 4096
    assert planned.peak < 40 << 20
    assert planned.kinds["optimizer"] >= planned.kinds["weights"]
    found = json.loads(planned.json())
    assert found["sent"] == planned.trace.total_bytes > 0
    assert "mesh (data=64, model=64), rank 4095" in str(planned)
    assert "0/weight" in str(planned)


def test_gathers_and_notes_of_a_plan():
    class Odd(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(6, 7))

        def forward(self, x):
            return torch.renorm(self.weight @ x, 2, 0, 1.0)

    planned = weft.plan(Odd, {"model": 4}, {"weight": ("model", None)}, torch.ones(7, 6))
    assert [note.kind for note in planned.notes] == ["uneven"]
    (gathered,) = (g for g in planned.gathers if g.op == "renorm")
    assert (gathered.calls, gathered.bytes) == (1, 6 * 6 * 4)


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.up, self.down = torch.nn.Linear(16, 64), torch.nn.Linear(64, 16)

    def forward(self, x):
        return x + torch.nn.functional.dropout(self.down(self.up(x).relu()), 0.1) + torch.rand_like(x)


NET = {"up/weight": ("model", "data"), "up/bias": ("model",), "down/weight": ("data", "model")}


def test_a_plan_does_not_depend_on_what_was_planned_before():
    def planned(make_model=Net, layouts=NET, shape=None):
        found = weft.plan(
            make_model, shape or {"data": 2, "model": 2}, layouts, torch.zeros(8, 16), optimizer=torch.optim.AdamW
        )
        return found.json(), first_step()

    def first_step():
        mesh = weft.DeviceMesh((2, 2), ("data", "model"), device_type="cpu", simulate=0)
        step = Step(torch.zeros(8, 16), torch.optim.AdamW, batch_axis="data")
        return planned_step(made_on_meta(Net, "plan"), weft.LayoutMap(mesh, NET), step, steps=1).json()

    before = planned()
    planned(layouts={}, shape={"data": 3})
    with pytest.raises(ValueError, match="W028"):
        planned(layouts={"up/weight": ("model",)})
    assert planned() == before
    with torch.no_grad():
        assert planned() == before
    with torch.inference_mode():
        assert planned() == before


def test_the_models_of_a_plan_stay_as_they_are():
    net = Net()
    before = [p.detach().clone() for p in net.parameters()]
    planned = [weft.plan(make, {"model": 2}, {}, torch.zeros(8, 16)).json() for make in (Net, lambda: net, lambda: net)]
    assert planned == planned[:1] * 3
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), before, strict=True))
    weft.distribute_module(net, mesh=weft.DeviceMesh((1,), ("m",)))
    with pytest.raises(ValueError, match="W053.*distributed already"):
        weft.plan(lambda: net, {"model": 2}, {}, torch.zeros(8, 16))


def test_weights_are_gathered_for_a_batch_that_is_smaller():
    """Each is larger than what flows: all the same it is the weights that move, and the batch stays split."""

    class Language(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = torch.nn.Embedding(1 << 16, 1024)
            self.net = torch.nn.Sequential(*(torch.nn.Linear(1024, 4096), torch.nn.ReLU(), torch.nn.Linear(4096, 1024)))
            self.head = torch.nn.Linear(1024, 1 << 16)

        def forward(self, tokens):
            return self.head(self.net(self.embed(tokens)))

    fsdp = lambda model, mesh: weft.layouts.fsdp(model, mesh, "data")  # noqa: E731
    tokens = torch.empty(64, 2048, dtype=torch.long, device="meta")
    planned = weft.plan(Language, {"data": 64}, fsdp, tokens)
    largest = max(row.bytes for row in planned.trace.rows if not row.path and row.op not in ("gradient", "gather"))
    assert largest < 1 << 20, planned.trace
    assert planned.trace.total_bytes < 3 * 64 * sum(v.weight for v in planned.variables)


class Tokens(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.norm, self.head = torch.nn.Embedding(9, 8), torch.nn.LayerNorm(8), torch.nn.Linear(8, 9)

    def forward(self, tokens):
        return self.head(self.norm(self.embed(tokens)))


def image_net():
    return torch.nn.Sequential(torch.nn.Conv2d(4, 6, 3, groups=2), torch.nn.BatchNorm2d(6), torch.nn.Flatten(1))


def of_dtype(dtype, make=image_net):
    return lambda: make().to(dtype)


IMAGE, BF16, F64 = torch.zeros(4, 4, 5, 5), torch.bfloat16, torch.float64


@pytest.mark.parametrize("mesh", [{"model": 2}, {"data": 2, "model": 2}])
@pytest.mark.parametrize(
    ("make", "batch", "says"),
    [
        (Net, torch.zeros(8, 16, dtype=F64), "mat1 and mat2 must have the same dtype"),
        (Net, torch.zeros(8, 16, dtype=torch.long), "mat1 and mat2 must have the same dtype"),
        (of_dtype(BF16, Net), torch.zeros(8, 16), "mat1 and mat2 must have the same dtype"),
        (lambda: torch.nn.Linear(16, 4, bias=False), torch.zeros(2, 3, 16, dtype=F64), "to have the same dtype"),
        (Tokens, torch.zeros(4, 3), "scalar types: Long, Int"),
        (image_net, IMAGE.to(F64), "should be the same"),
    ],
)
def test_dtypes_that_do_not_go_together(mesh, make, batch, says):
    """The real program's own error, though no kernel runs."""
    layouts = lambda model, mesh: weft.layouts.fsdp(model, mesh, "model", whole=0.0)  # noqa: E731
    for inputs in (batch, batch.to("meta")):
        with pytest.raises(RuntimeError, match=says):
            weft.plan(make, mesh, layouts, inputs)


@pytest.mark.parametrize(
    ("make", "batch"),
    [
        (of_dtype(F64, Net), torch.zeros(8, 16, dtype=F64)),
        (of_dtype(torch.half, Net), torch.zeros(8, 16, dtype=torch.half)),
        (Tokens, torch.zeros(4, 3, dtype=torch.int)),
        (of_dtype(BF16), IMAGE.to(BF16)),
        (of_dtype(torch.half), IMAGE.half()),
    ],
)
def test_dtypes_that_go_together(make, batch):
    weft.plan(make, {"data": 2, "model": 2}, {"0/weight": ("model", None)} if make is Net else {}, batch)


def test_numbers_that_are_not_taken_for_dtypes():
    x = weft.distribute_tensor(torch.arange(8), ("model",), mesh_of())
    for result in (x // 2, x // (x + 1), x % 3, torch.gather(x, 0, x)):
        assert tuple(result.shape) == (8,)


def test_a_batch_without_memory():
    """It takes and sends what a batch with values does."""
    layouts = {"up/weight": ("model", None), "up/bias": ("model",)}
    for mesh in ({"model": 2}, {"data": 2, "model": 2}):
        told = []
        for device in ("cpu", "meta"):
            batch = torch.zeros(8, 16, device=device)
            planned = weft.plan(Net, mesh, layouts, batch, loss=lambda out, x: (out.sum() - x.sum()) ** 2)
            told.append((planned.trace.total_bytes, planned.flops, [v.gradient for v in planned.variables]))
        assert told[0] == told[1]


def test_wrong_arguments_of_a_plan():
    linear = lambda: torch.nn.Linear(2, 2)  # noqa: E731
    for wrong in (
        {"optimizer": torch.optim.SGD(linear().parameters())},
        {"optimizer": "AdamW"},
        {"loss": "mse"},
        {"rank": "0"},
        {"rank": None},
        {"batch_axis": 3},
    ):
        with pytest.raises(ValueError, match=r"^\[W0\d\d\] "):
            weft.plan(linear, {"data": 2}, {}, torch.ones(2, 2), **wrong)
    with pytest.raises(ValueError, match="function that makes the model"):
        weft.plan(torch.nn.Linear(2, 2), {"data": 2}, {}, torch.ones(2, 2))
    with pytest.raises(ValueError, match="how many ranks each axis has"):
        weft.plan(lambda: torch.nn.Linear(2, 2), (2, 2), {}, torch.ones(2, 2))
    with pytest.raises(ValueError, match="LayoutMap over that mesh"):
        real = weft.LayoutMap(weft.DeviceMesh((2,), ("data",), device_type="cpu"))
        weft.plan(lambda: torch.nn.Linear(2, 2), {"data": 2}, lambda model, mesh: real, torch.ones(2, 2))
