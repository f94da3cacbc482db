"""The trace: each collective with its op, kind, axis, bytes and the variable it came from."""

import gc
import json
import pickle
import time
import warnings
import weakref

import pytest
import torch
import weft
from torch import nn
from torch.utils.checkpoint import checkpoint
from weft import traced_programs


def step(layouts):
    mesh = weft.DeviceMesh((2,), ("m",), device_type="cpu")
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))
    weft.distribute_module(net, layouts, mesh=mesh)
    x = torch.ones(6, 8)
    with weft.trace() as trace:
        net(x).square().sum().backward()
    return trace.rows, str(trace)


def megatron(rows):
    return [(r.kind, r.axis, r.bytes) for r in rows]


def test_column_then_row_is_one_all_reduce(ranks2):
    layouts = {"0/weight": ("m", None), "0/bias": ("m",), "2/weight": (None, "m")}
    for rows, text in ranks2(step, layouts):
        # The row-split product is summed once: 2 (n - 1) / n of 6 x 4 floats. The input needs no gradient.
        assert megatron(rows) == [("all_reduce", "m", 96)], text
        assert rows[0].path == "2/bias" or rows[0].path == "2/weight" or rows[0].op
        assert rows[0].op in ("addmm", "mm", "add.Tensor", "pow.Tensor_Scalar", "relu"), rows
        assert "all_reduce" in text and "total" in text and "96 B" in text


def gathered():
    mesh = weft.DeviceMesh((2,), ("m",), device_type="cpu")
    with weft.register_layouts(weft.LayoutMap(mesh, {"a/weight": ("m", None)})):
        w = weft.tag(torch.ones(4, 4), "a.weight")
    weft.distribute_tensor(w, (None, "m"), mesh)  # the ranks compare a pair of layouts when it is first asked for
    outer = weft.trace()
    with outer:
        with weft.trace() as inner:
            weft.full_tensor(w)
        weft.distribute_tensor(w, (None, "m"), mesh)
    with weft.trace() as after:
        w.sum()
    with pytest.raises(ValueError, match="no trace number 99"):
        torch.ops.weft.trace_stop(99)
    return inner.rows, outer, after.count()


def test_traces_nest_and_name_op_and_variable(ranks2):
    for inner, outer, after in ranks2(gathered):
        assert [tuple(r) for r in inner] == [("full_tensor", "all_gather", "m", 32, "a/weight")]
        assert outer.rows[0] == inner[0] and len(outer) == 2 and after == 0
        assert outer.rows[1].op == "distribute_tensor" and outer.rows[1].kind == "all_to_all"
        assert outer.rows[1].path == "a/weight"
        for sums in (outer.by_kind(), outer.by_op(), outer.by_axis()):
            assert outer.total_bytes == sum(sums.values())
        assert outer.count("all_gather") == outer.count(op="full_tensor") == outer.count(axis="m") - 1 == 1
        assert outer.by_path() == {"a/weight": outer.total_bytes}


def kept_by_a_trace():
    net = torch.nn.Linear(4, 4)
    weft.distribute_module(net, {"weight": ("m", None)}, mesh=weft.DeviceMesh((2,), ("m",), device_type="cpu"))
    alive = weakref.ref(net)
    with weft.trace() as every, weft.trace(net) as one:
        net(torch.ones(2, 4)).sum().item()
    sent = pickle.loads(pickle.dumps((every, one)))
    assert [t.by_module() for t in sent] == [every.by_module(), one.by_module()]
    assert sent[0].rows == every.rows != []
    del net, one
    gc.collect()
    return alive() is None


def test_a_trace_is_values_alone(ranks2):
    assert ranks2(kept_by_a_trace) == [True, True]


def test_alone_there_is_nothing_to_trace():
    with weft.trace() as trace:
        (torch.ones(2) + 1).sum()
    assert trace.rows == [] and trace.total_bytes == 0 and "no collectives" in str(trace)


class Blocks(nn.Module):
    """Each block sends something forward and backward; the second is computed anew in the backward pass."""

    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8)) for _ in range(2))

    def forward(self, x):
        return checkpoint(self.blocks[1], self.blocks[0](x), use_reentrant=False)


def blocks():
    size = torch.distributed.get_world_size()
    mesh = weft.DeviceMesh((size,), ("m",), device_type="cpu")
    net = Blocks()
    weft.distribute_module(net, {r"blocks/\d/0/weight": ("m", None), r"blocks/\d/2/weight": (None, "m")}, mesh=mesh)
    return net, torch.randn(5, 8)


def traced_modules(file):
    traced_programs._has_recorded = False  # by other tests in this process
    net, x = blocks()
    begin = time.monotonic_ns()
    with weft.trace() as forward:
        out = net(x.requires_grad_()).square().sum()
    with weft.trace() as whole:
        net(x).square().sum().backward()
        weft.full_tensor(net.blocks[0][0].weight)
    end = time.monotonic_ns()
    assert out.requires_grad
    path = f"{file}{weft.rank()}"
    whole.chrome(path)
    with open(path) as written:
        events = json.load(written)["traceEvents"]
    with weft.trace(net.blocks[1]) as inside:
        net(x).square().sum().backward()
    times = [(m.start - begin, end - m.start - m.duration, m.duration) for m in whole.moments]
    facts = [(row.kind, row.op, module) for row, module in zip(whole.rows, whole.modules, strict=True)]
    return {
        "facts": facts,
        "forward": forward.modules,
        "times": times,
        "events": events,
        "tree": whole.tree(2),
        "by": (whole.by_module(), whole.by_module(1), whole.total_bytes),
        "inside": inside.modules,
        "rows": whole.rows,
    }


def check_modules(found):
    facts, forward = found["facts"], found["forward"]
    # Each block's sum is carried out where the next op needs it: in its row layer, or right behind the block.
    assert forward and set(forward) <= {"blocks/0/2", "blocks/1/0", "blocks/1/2", "blocks/1", ""}
    modules = [module for *_, module in facts]
    backward = modules[len(forward) : -1]
    assert "blocks/0/0" in backward and any(m.startswith("blocks/1") for m in backward), "gradients of inputs"
    assert facts[-1] == ("all_gather", "full_tensor", "blocks/0/0"), "of the variable's module, as none was running"
    assert all(start >= 0 and before_end >= 0 and took > 0 for start, before_end, took in found["times"])
    by_module, by_outermost, total = found["by"]
    assert sum(by_module.values()) == sum(by_outermost.values()) == total and set(by_outermost) <= {"blocks", ""}
    lines = found["tree"].splitlines()
    assert lines[0].split() == ["module", "calls", "sent", "ms"] and lines[1].split()[:2] == ["all", str(len(facts))]
    assert [line.split()[0] for line in lines if line.startswith("    ")] == ["0", "1"], found["tree"]
    assert set(found["inside"]) <= {"", "0", "2", "blocks/0/0", "blocks/0/2", "blocks/1/0", "blocks/1/2"}
    assert {"0", "2"} & set(found["inside"]), "paths are those inside the module given"


def check_chrome(found, rank):
    events = [e for e in found["events"] if e["ph"] == "X"]
    assert len(events) == len(found["facts"]) and {e["pid"] for e in events} == {rank}
    for event, row, (kind, op, module) in zip(events, found["rows"], found["facts"], strict=True):
        assert event["cat"] == kind and event["name"].startswith(kind) and event["dur"] > 0
        assert event["args"] == {**row._asdict(), "module": module} and event["args"]["op"] == op
    names = {(e["name"], e["args"]["name"]) for e in found["events"] if e["ph"] == "M"}
    axes = {row.axis for row in found["rows"]}
    assert names == {("process_name", f"rank {rank}"), *(("thread_name", f"axis {a}") for a in axes)} and "m" in axes


def test_modules_and_times(ranks2, ranks3, tmp_path):
    for ranks in (ranks2, ranks3):
        for rank, found in enumerate(ranks(traced_modules, str(tmp_path / "trace"))):
            check_modules(found)
            check_chrome(found, rank)


def slow_gradient():
    """Its bucket is full, and sent while the rest of the backward pass runs, and waited for at the end."""
    mesh = weft.DeviceMesh((2,), ("m",), device_type="cpu")
    net = nn.Linear(512, 520)
    weft.distribute_module(net, mesh=mesh)
    x = weft.distribute_tensor(torch.ones(4096, 512, requires_grad=True), ("m", None), mesh)
    y = x * 2
    y.register_hook(lambda grad: time.sleep(0.2))
    with torch.profiler.profile() as profile, weft.trace() as trace:
        net(y).sum().backward()
        weft.full_tensor(net.weight.grad)
    seconds = [m.duration / 1e9 for row, m in zip(trace.rows, trace.moments, strict=True) if row.op == "gradient"]
    return seconds, [e.name for e in profile.events() if e.name.startswith("weft::")]


def test_a_collective_under_way_lasts_until_it_is_waited_for(ranks2):
    for seconds, names in ranks2(slow_gradient):
        assert len(seconds) == 1 and 0.2 < seconds[0] < 10
        assert names.count("weft::all_reduce m weight") == 1, names
        assert names.count("weft::wait all_reduce m weight") == 1, names


def profiled():
    net, x = blocks()
    x = weft.shard_batch(x, weft.layout_of(net.blocks[0][0].weight).device_mesh, "m")
    net(x)
    with torch.profiler.profile() as profile, weft.trace() as trace:  # of one pass: the next may gather ahead
        net(x).square().sum().backward()
        weft.full_tensor(net.blocks[0][0].weight)
    return [e.name for e in profile.events() if e.name.startswith("weft::")], trace.rows


def test_profilers_see_collectives_and_relayouts_by_name(ranks2):
    for names, rows in ranks2(profiled):
        collectives = {f"weft::{r.kind} m {r.path}" if r.path else f"weft::{r.kind} m [{r.op}]" for r in rows}
        assert collectives <= set(names), (collectives, names)
        assert "weft::all_gather m blocks/0/0/weight" in collectives
        assert "weft::relayout (m, None) -> (None, None) blocks/0/0/weight" in names
        issued = [n for n in names if n in collectives]
        assert len(issued) == len(rows)


def comm_debug_mode():
    from torch.distributed.tensor.debug import CommDebugMode

    net, x = blocks()
    told = []
    for step in (lambda: net(x).square().sum().backward(), lambda: x + x):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            with CommDebugMode():
                step()
        told.append([str(w.message) for w in caught if "weft" in str(w.message)])
    return told


def test_comm_debug_mode_says_what_to_use(ranks2):
    (seen, nothing), silent = ranks2(comm_debug_mode)
    assert len(seen) == 1 and "weft.trace()" in seen[0] and "collectives" in seen[0]
    assert nothing == [] and silent == [[], []]


def switches():
    mesh = weft.DeviceMesh((2,), ("m",), device_type="cpu")
    assert torch.ops.weft.random_mode("counter") == "counter"
    with weft.random_mode("replay"):
        assert torch.ops.weft.random_mode("replay") == "replay"
    assert torch.ops.weft.random_mode("counter") == "counter"
    with pytest.raises(ValueError, match="'dice'.*counter, replay"):
        weft.random_mode("dice")
    x = weft.distribute_tensor(torch.randn(4, 4), ("m", None), mesh)
    with weft.strict():
        with pytest.raises(NotImplementedError, match=r"\[histc\]"):
            torch.histc(x, 4)
    return weft.full_tensor(torch.histc(x, 4))


def test_switches_are_scopes(ranks2):
    one, two = ranks2(switches)
    assert torch.equal(one, two)
