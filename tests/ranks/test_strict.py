"""What a program wants to be refused, or told, of the parts that its ops gather or send."""

import ctypes

import pytest
import torch
import weft
from support.cases import same
from torch import nn


def megatron_block():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 12), nn.GELU(), nn.Linear(12, 6), nn.LayerNorm(6)).double()


MEGATRON = {"0/weight": ("m", None), "0/bias": ("m",), "2/weight": (None, "m")}


def asked_for_or_needed(mesh):
    """Sums, slices and what the program asks for itself."""
    torch.manual_seed(1)
    x, plain = torch.randn(5, 6, dtype=torch.float64), megatron_block()
    model = weft.distribute_module(megatron_block(), MEGATRON, mesh=mesh)
    with weft.strict():
        loss = model(x).square().mean()
        loss.backward()
        loss.item()
        split = weft.distribute_tensor(x, ("m", None), mesh)
        same(weft.distribute_tensor(split, (None, "m"), mesh), x)
        same(weft.full_tensor(split), x)
        str(split)
        same(split + x, 2 * x)  # a plain operand is sliced
        same(split.sum(0) * 2, 2 * x.sum(0))
        same(split.softmax(0), x.softmax(0))
    plain(x).square().mean().backward()
    for p, q in zip(model.parameters(), plain.parameters(), strict=True):
        same(p.grad, q.grad)


def planned_otherwise(mesh):
    """A small table is gathered where that is cheaper than its masked lookup, and not where that is refused."""
    table, chosen = torch.randn(5, 6, dtype=torch.float64), torch.randint(0, 5, (7, 9))
    rows = weft.distribute_tensor(table, ("m", None), mesh).requires_grad_()
    lookups = [
        lambda t: torch.nn.functional.embedding(chosen, t),
        lambda t: t[chosen - 5],
        lambda t: t.index_select(0, chosen[0]),
    ]
    for lookup in lookups:
        with weft.trace() as cheap:
            lookup(rows)
        with weft.strict():
            with weft.trace() as strict:
                found = lookup(rows)
            same(found, lookup(table))
        with weft.trace() as after:
            lookup(rows)
        gathers = [[row.kind for row in trace.rows].count("all_gather") for trace in (cheap, strict, after)]
        assert gathers == [1, 0, 1], gathers


def refused(mesh):
    torch.manual_seed(1)
    x = torch.randn(5, 6, dtype=torch.float64)
    rows, columns = (weft.distribute_tensor(x, axes, mesh) for axes in (("m", None), (None, "m")))
    linear = weft.distribute_module(nn.Linear(6, 4).double(), {"weight": ("m", None)}, mesh=mesh)
    written, texts = weft.distribute_tensor(x.clone(), ("m", None), mesh), []
    calls = [
        lambda: linear(rows),
        lambda: rows.sort(0),
        lambda: rows[torch.tensor([1, 2]), torch.tensor([3, 0])],
        lambda: rows[rows > 0],
        lambda: written.add_(columns),
        lambda: torch.histc(rows, 4),
    ]
    with weft.strict(), pytest.raises(RuntimeError, match="^mm: mat1 and mat2 shapes cannot be multiplied"):
        rows @ columns  # a mistake that plain torch refuses, too
    with weft.strict():
        for call in calls:
            with pytest.raises(NotImplementedError) as error:
                call()
            texts.append(str(error.value).splitlines()[0])
    same(written, x)
    for call in calls:  # nothing is refused that was, nor was anything left half done
        call()
    same(written, 2 * x)
    return texts


def allowed(mesh):
    x = weft.distribute_tensor(torch.ones(5, 6), ("m", None), mesh)
    model = weft.distribute_module(nn.Linear(6, 4), {"weight": ("m", None)}, mesh=mesh)
    table = weft.distribute_module(nn.Embedding(4, 6), {"weight": ("m", None)}, mesh=mesh)
    chosen = torch.arange(40) % 4
    with weft.strict(), weft.trace() as masked:
        table(chosen)
    with weft.strict(allow="weight"), weft.trace() as gathered:
        table(chosen)
    assert (masked.count("all_gather"), gathered.count("all_gather")) == (0, 1)
    with weft.strict(allow=".*weight"):
        model(x).sum().backward()
        with weft.strict(allow=["bias", "nothing"]), pytest.raises(NotImplementedError, match="weight f32"):
            model(x)
        model(x)
        with weft.strict(False):
            torch.histc(x, 4)
    torch.histc(x, 4)
    same(model.weight.grad, torch.full((4, 6), 5.0))
    with pytest.raises(ValueError, match="pattern"):
        weft.strict(allow="(")


def told(mesh):
    """The warnings of this rank."""
    x = weft.distribute_tensor(torch.ones(5, 6), ("m", None), mesh)
    messages = []
    sink = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_int64, ctypes.c_char_p)(lambda *args: messages.append(args[2]))
    set_log_sink = ctypes.CDLL(weft.library_path()).weft_set_log_sink
    set_log_sink(sink)
    try:
        with weft.warn_relayout(121):
            x.sort(0)  # 120 bytes
        with weft.warn_relayout(120):
            x.sort(0)
            x.sort(0)
            (x * 2).sum(0).sum().item()
        x.argsort(0)
    finally:
        set_log_sink(None)
    with pytest.raises(ValueError, match="-1 bytes"):
        weft.warn_relayout(-1)
    return [message.decode() for message in messages]


def stale_after_refusal(mesh):
    """A view that strict mode refused to renew after a write to its root is renewed once it may be."""
    x = torch.arange(16.0).view(8, 2)
    root = weft.distribute_tensor(x, ("m", None), mesh)
    view = root[1:7]
    root.mul_(10)
    with weft.strict(), pytest.raises(NotImplementedError, match="W062"):
        view + 0
    torch.testing.assert_close(weft.full_tensor(view + 0), 10 * x[1:7])


def every(n):
    mesh = weft.DeviceMesh((n,), ("m",), device_type="cpu")
    asked_for_or_needed(mesh)
    planned_otherwise(mesh)
    allowed(mesh)
    stale_after_refusal(mesh)
    return refused(mesh), told(mesh)


@pytest.mark.parametrize("ranks", [2, 3])
def test_strict(request, ranks):
    for rank, (texts, warnings) in enumerate(request.getfixturevalue(f"ranks{ranks}")(every, ranks)):
        linear, sort, index, mask, add, histc = texts
        assert linear.startswith("[W062] [addmm] weight f64[6, 4@m] has to be laid out anew as f64[6, 4] (")
        assert "an operand f64[5@m, 6] has to be laid out anew as f64[5, 6] (240 bytes" in sort
        assert "[index.Tensor]" in index and "[index.Tensor] an operand b8[5@m, 6]" in mask
        assert "[add_.Tensor]" in add and "f64[5, 6@m] has to be laid out anew as f64[5@m, 6]" in add
        assert "[histc] it has no rule" in histc
        assert all("weft.strict(allow=...)" in text for text in texts[:-1])
        told_once = "[W072] [sort] an operand f32[5@m, 6] has to be laid out anew as f32[5, 6] (120 bytes on each rank"
        assert [w.startswith(told_once) for w in warnings] == ([True] if rank == 0 else [])
