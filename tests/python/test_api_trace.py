"""The trace: each collective with its op, kind, axis, bytes and the variable it came from."""

import pytest
import torch
import weft
from torch import nn


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
        assert outer.total_bytes == sum(outer.by_kind().values()) == sum(outer.by_op().values())
        assert outer.count("all_gather") == outer.count(op="full_tensor") == outer.count(axis="m") - 1 == 1
        assert outer.by_path() == {"a/weight": outer.total_bytes}


def test_alone_there_is_nothing_to_trace():
    with weft.trace() as trace:
        (torch.ones(2) + 1).sum()
    assert trace.rows == [] and trace.total_bytes == 0 and "no collectives" in str(trace)


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
