"""weft.check: a right model is told as right, a wrong rule, a rank that goes its own way and errors by their place."""

import itertools
import sys
import types

import pytest
import torch
import weft
from ranks.meshes import line, mesh_of
from ranks.zoo.run import batch_of, build
from support.ranks import run_ranks
from torch import nn

HAND = {"first/weight": ("model", None), "first/bias": ("model",), "last/weight": (None, "model")}


class Net(nn.Module):
    """Columns, something, rows, dropout."""

    def __init__(self, between):
        super().__init__()
        self.first, self.between, self.last, self.drop = nn.Linear(8, 12), between, nn.Linear(12, 8), nn.Dropout(0.3)

    def forward(self, x):
        return self.drop(self.last(self.between(self.first(x))))


def check_net(between, **options):
    return weft.check(
        lambda: Net(between()), torch.linspace(-1, 1, 48).view(6, 8), weft.LayoutMap(line("model"), HAND), **options
    )


def told(found):
    """What a rank was told; the bytes that it sent are its own."""
    return {"ok": found.ok, "text": str(found), "first": found.first, "outputs": found.outputs,
            "gradients": found.gradients, "notes": found.notes, "losses": (found.loss, found.sharded_loss)}  # fmt: skip


def same_on_all(results):
    first = results[0]
    for other in results[1:]:
        assert repr(other["first"]) == repr(first["first"]) and other["ok"] == first["ok"]
    return first


# ---- right ones ----------------------------------------------------------------------------------------------------


def right():
    state = torch.get_rng_state()
    found = check_net(nn.ReLU)
    return told(found), torch.equal(state, torch.get_rng_state()), bool(found)


@pytest.mark.parametrize("world", [2, 3])
def test_a_right_model(world, request):
    results = request.getfixturevalue(f"ranks{world}")(right)
    found = same_on_all([r[0] for r in results])
    assert found["ok"] and found["first"] is None and found["notes"] == ()
    assert (found["outputs"], found["gradients"]) == (6, 4), "four layers, the net, the loss"
    assert found["losses"][0] == pytest.approx(found["losses"][1])
    assert found["text"].startswith("sharded as plain: 6 outputs of modules, 4 gradients")
    assert f"mesh (model={world}), 1 collectives" in found["text"]
    assert all(kept and true for _, kept, true in results), "the random state is put back"


def stock(name):
    mesh = mesh_of(2, 2)
    layouts = lambda m: weft.layouts.fsdp(m, mesh, "data") | weft.layouts.megatron(m, mesh, "model")  # noqa: E731
    return told(weft.check(lambda: build(name), batch_of(name), layouts))


@pytest.mark.parametrize("name", ["deepseek_v3", "gpt2", "gpt_oss", "llama", "resnet", "t5"])
def test_stock_models(ranks4, name):
    """Dropout included."""
    found = same_on_all(ranks4(stock, name, timeout=120))
    assert found["ok"] and found["gradients"] > 10 and "mesh (data=2, model=2)" in found["text"], found["text"]


def alone():
    mesh = weft.DeviceMesh((1,), ("model",), device_type="cpu")
    return weft.check(lambda: Net(nn.GELU()), torch.ones(6, 8), weft.LayoutMap(mesh, HAND)).ok


def test_in_one_process():
    assert alone()


def test_a_terminal_is_told_what_takes_long(monkeypatch, capsys):
    clock = itertools.count(0.0, 3.0)
    monkeypatch.setattr("weft.check_runs.time", types.SimpleNamespace(monotonic=lambda: next(clock)))
    alone()
    assert "weft.check" not in capsys.readouterr().err, "it is no terminal"
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    alone()
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "weft.check: 3 s, the plain step" and any("comparing gradients" in line for line in lines)


class Dies(nn.Module):
    """A chain whose numbers are rounding alone: large ones cancel, and a threshold is where they do."""

    def forward(self, x):
        total = (x.sum(-1, keepdim=True) * 1e3 + 1e4) - (x.sum(-1, keepdim=True) * 1e3 + 1e4)
        return x + ((x @ torch.ones(x.shape[-1], 1, dtype=x.dtype)) * 1e5 - x.sum(-1, keepdim=True) * 1e5) + total


def rounds():
    return told(check_net(Dies))


def test_rounding_is_told_as_such(ranks3):
    found = same_on_all(ranks3(rounds))
    assert found["ok"] and len(found["notes"]) == 1 and found["notes"][0].startswith("rounding: "), found["text"]
    assert "note: rounding: relative differences up to" in found["text"]


# ---- wrong rules ---------------------------------------------------------------------------------------------------


def center(x):
    return x - x.mean(-1, keepdim=True)


def define():
    """Ops of this test, with rules that are not true of them: each row's mean needs the whole row."""
    if hasattr(torch.ops.weft_check, "center"):
        return

    @torch.library.custom_op("weft_check::center", mutates_args=())
    def op(x: torch.Tensor) -> torch.Tensor:
        return center(x)

    @torch.library.custom_op("weft_check::double", mutates_args=())
    def double(x: torch.Tensor) -> torch.Tensor:
        return x * 2

    @torch.library.custom_op("weft_check::double_backward", mutates_args=())
    def double_backward(g: torch.Tensor) -> torch.Tensor:
        return g * 2 + 0 * g.sum() + (g.shape[-1] != 12)  # of a part it gives another value

    for made in (op, double, double_backward):
        made.register_fake(torch.empty_like)
    op.register_autograd(lambda ctx, g: center(g))
    double.register_autograd(lambda ctx, g: double_backward(g))
    for name in ("center", "double", "double_backward"):
        weft.register_rule(f"weft_check::{name}", "m n -> m n")


class Centered(nn.Module):
    def forward(self, x):
        return torch.ops.weft_check.center(x)


class Doubled(nn.Module):
    def forward(self, x):
        return torch.ops.weft_check.double(x)


class Nested(nn.Module):
    """Right modules beside the wrong one, in the same parent."""

    def __init__(self):
        super().__init__()
        self.before, self.wrong, self.after = nn.GELU(), Centered(), nn.Tanh()

    def forward(self, x):
        return self.after(self.wrong(self.before(x) + 1) * 2)


def wrong_rule(name):
    define()
    return told(check_net({"forward": Centered, "backward": Doubled, "nested": Nested}[name]))


@pytest.mark.parametrize("world", [2, 3])
@pytest.mark.parametrize(
    ("name", "op", "module"),
    [
        ("forward", "weft_check::center", "between (Centered)"),
        ("nested", "weft_check::center", "between.wrong (Centered)"),
        ("backward", "weft_check::double_backward (backward of weft_check::double)", "between (Doubled)"),
    ],
)
def test_a_wrong_rule_is_named(world, request, name, op, module):
    found = same_on_all(request.getfixturevalue(f"ranks{world}")(wrong_rule, name))
    first = found["first"]
    assert not found["ok"] and first.kind == ("backward" if name == "backward" else "forward"), found["text"]
    assert (first.op, first.module, first.operands) == (op, module, "(None, model)"), found["text"]
    assert first.largest > 0.01 and "places by up to" in first.text
    assert first.variables == (("first.bias",) if name == "backward" else ())
    assert found["text"].startswith("sharded is not as plain") and f"[{op}] in {module}" in found["text"]


def wrong_weight():
    """The module's own op is wrong: the weight is named."""
    define()

    class Direct(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.linspace(0, 1, 24).view(2, 12))

        def forward(self, x):
            return x + torch.ops.weft_check.center(self.weight).sum(0)

    layouts = weft.LayoutMap(line("model"), {**HAND, "between/weight": (None, "model")})
    return told(weft.check(lambda: Net(Direct()), torch.ones(6, 8), layouts))


def test_the_variable_is_named(ranks2):
    first = same_on_all(ranks2(wrong_weight))["first"]
    assert (first.op, first.variables) == ("weft_check::center", ("between/weight",)), first


# ---- ranks that go their own way -----------------------------------------------------------------------------------


class OfRank(nn.Module):
    def forward(self, x):
        return x * (1 + weft.rank())


class OfRankSharded(nn.Module):
    def forward(self, x):
        return x * (1 + weft.rank()) if weft.is_sharded(x) else x


class AnotherOp(nn.Module):
    def forward(self, x):
        return x.exp() if weft.is_sharded(x) and weft.rank() == 1 else x


class Asks(nn.Module):
    def forward(self, x):
        if weft.is_sharded(x) and weft.rank() == 1:
            x.sum().item()
        return x


class Raises(nn.Module):
    def __init__(self, ranks=None):
        super().__init__()
        self.ranks = ranks

    def forward(self, x):
        if weft.is_sharded(x) and (self.ranks is None or weft.rank() in self.ranks):
            raise KeyError("no such thing")
        return x


class RaisesOnOne(Raises):
    def __init__(self):
        super().__init__([1])


def own_way(cls):
    return told(check_net(globals()[cls]))


@pytest.mark.parametrize(
    ("world", "cls"),
    [(2, "OfRank"), (2, "OfRankSharded"), (3, "OfRankSharded"), (2, "AnotherOp"), (2, "Asks"), (2, "Raises"),
     (2, "RaisesOnOne"), (3, "RaisesOnOne")],
)  # fmt: skip
def test_a_module_that_differs_between_ranks_is_named(world, cls):
    found = same_on_all(run_ranks(world, own_way, [cls], timeout=60))
    first = found["first"]
    assert not found["ok"] and first.kind == ("ranks" if cls == "OfRank" else "error"), found["text"]
    assert first.module == f"between ({cls})", found["text"]
    words = {
        "OfRank": "the plain step differs between ranks: output of between (OfRank) is 72 elements",
        "OfRankSharded": "the output of between (OfRankSharded) is not as plain on every rank",
        "AnotherOp": "the output of between (AnotherOp) is not as plain on every rank",
        "Asks": "ranks ask for different collectives",
        "Raises": "raised on rank 0 what the plain one does not: KeyError: 'no such thing'",
        "RaisesOnOne": "raised on rank 1 what the plain one does not: KeyError: 'no such thing'",
    }
    assert words[cls] in first.text, first.text


def other_values(where):
    def make():
        net = Net(nn.ReLU())
        if where == "model":
            with torch.no_grad():
                net.last.bias += weft.rank()
        return net

    batch = torch.ones(6, 8) * (1 + weft.rank() * (where == "batch"))
    return told(weft.check(make, batch, weft.LayoutMap(line("model"), HAND)))


@pytest.mark.parametrize(
    ("where", "words"), [("model", "variable of last.bias"), ("batch", "output of first (Linear)")]
)
def test_models_and_batches_that_differ(ranks2, where, words):
    first = same_on_all(ranks2(other_values, where))["first"]
    assert first.kind == "ranks" and words in first.text and "rank 1" in first.text, first


# ---- misuse --------------------------------------------------------------------------------------------------------


def misuse():
    layouts, batch = weft.LayoutMap(line("model"), HAND), torch.ones(6, 8)
    plain = lambda: Net(nn.ReLU())  # noqa: E731
    numbers = iter(range(100))

    def another():
        net = plain()
        with torch.no_grad():
            net.last.bias += next(numbers)
        return net

    def on_rank_1():
        if weft.rank() == 1:
            raise KeyError("here alone")
        return plain()

    with torch.device("meta"):
        meta = plain()
    calls = {
        "a module": lambda: weft.check(plain(), batch, layouts),
        "no layouts": lambda: weft.check(plain, batch, {"a": ("model",)}),
        "no map": lambda: weft.check(plain, batch, lambda m: {}),
        "no model": lambda: weft.check(lambda: 3, batch, layouts),
        "meta": lambda: weft.check(lambda: meta, batch, layouts),
        "another": lambda: weft.check(another, batch, layouts),
        "tolerance": lambda: weft.check(plain, batch, layouts, tolerance=0.0),
        "sharded": lambda: weft.check(plain, weft.distribute_tensor(batch, ("model", None), line("model")), layouts),
        "does not fit": lambda: weft.check(
            plain, batch, weft.LayoutMap(line("model"), {"first/bias": ("model", None)})
        ),
        "plain raises": lambda: weft.check(plain, torch.ones(6, 7), layouts),
        "plain raises on one": lambda: weft.check(on_rank_1, batch, layouts),
    }
    found = {}
    for name, call in calls.items():
        try:
            found[name] = str(call())
        except Exception as e:
            found[name] = f"{type(e).__name__}: {e}"
    return found, check_net(nn.ReLU).ok


def test_misuse_is_an_error_on_all_ranks(ranks2):
    words = {
        "a module": "ValueError: [W038] check: pass a function that makes the model",
        "no layouts": "ValueError: [W038] check: layouts must be a LayoutMap or a function of the model",
        "no map": "ValueError: [W038] check: layouts(model) must give a LayoutMap, not dict",
        "no model": "ValueError: [W038] check: model_fn must give a torch.nn.Module, not int",
        "meta": "ValueError: [W054] check: first.weight is on the meta device",
        "another": "ValueError: [W150] check: model_fn gives last.bias another value when it is called again",
        "tolerance": "ValueError: [W039] check: tolerance must be above 0, not 0.0",
        "sharded": "ValueError: [W035] check: the batch must be plain",
        "does not fit": "ValueError: [W028] LayoutMap: path 'first.bias' has shape [12]",
        "plain raises": "RuntimeError: addmm: mat1 and mat2 shapes cannot be multiplied",
    }
    for rank, (found, ok) in enumerate(ranks2(misuse)):
        for name, text in words.items():
            assert found[name].startswith(text), (name, found[name])
        mine = (
            "KeyError: 'here alone'"
            if rank == 1
            else "RuntimeError: [W094] check: rank 1 raised KeyError: 'here alone'"
        )
        assert found["plain raises on one"] == mine
        assert ok, "and the ranks are in step after all that"


def options():
    batch = {"x": torch.linspace(-1, 1, 48).view(6, 8)}
    layouts = weft.LayoutMap(line("model"), HAND)
    seen = []

    def loss(output, batch):
        seen.append((weft.is_sharded(output), weft.is_sharded(batch["x"]), output.dtype))
        return (output - batch["x"]).square().sum()

    split = weft.check(lambda: Net(nn.ReLU()), batch, layouts, batch_axis="model", loss=loss, dtype=torch.float64)
    narrow = weft.check(lambda: Net(nn.ReLU()), (batch["x"],), layouts, dtype=torch.bfloat16)
    strict = weft.check(lambda: Net(nn.ReLU()), batch, layouts, tolerance=1e-12, dtype=torch.float64)
    return told(split), seen, told(narrow), told(strict)


def test_options(ranks2):
    for split, seen, narrow, strict in ranks2(options):
        assert split["ok"] and narrow["ok"] and strict["ok"], (split, narrow, strict)
        assert seen == [(False, False, torch.float64), (True, True, torch.float64)]


# ---- steps of other ops -------------------------------------------------------------------------------------------


class Winding(nn.Module):
    """Right, by more ops where its input is sharded."""

    def forward(self, x):
        if weft.is_sharded(x):
            return ((x * 3) * 2 - x * 5) * 1.5
        return x * 1.5


class Between(nn.Module):
    def __init__(self, wrong, before):
        super().__init__()
        self.parts = nn.ModuleList([Winding(), wrong(), Winding()] if before else [wrong(), Winding(), Winding()])

    def forward(self, x):
        for part in self.parts:
            x = part(x) * 2
        return x


class WindingItself(nn.Module):
    """The wrong op is not the first of the ops that the plain step has not."""

    def __init__(self, wrong):
        super().__init__()
        self.wrong, self.generator = wrong, torch.Generator().manual_seed(3)

    def forward(self, x):
        x = x * torch.bernoulli(torch.full_like(x, 0.5), generator=self.generator)
        y = x * 2
        y = y * 1 * 1 if weft.is_sharded(y) else y
        op = torch.ops.weft_check.center if self.wrong == "forward" else torch.ops.weft_check.double
        return op(y * 3)


WRONG = {"forward": Centered, "backward": Doubled, "nothing": nn.ReLU}
WHERE = {
    "before": lambda wrong: Between(WRONG[wrong], True),
    "after": lambda wrong: Between(WRONG[wrong], False),
    "itself": WindingItself,
}


def winding(wrong, where):
    define()
    return told(check_net(lambda: WHERE[where](wrong)))


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("wrong", ["forward", "backward"])
def test_more_ops_where_sharded(ranks2, wrong, where):
    """Neither they nor what comes after them is blamed."""
    found = same_on_all(ranks2(winding, wrong, where))
    op = "center" if wrong == "forward" else "double_backward (backward of weft_check::double)"
    kind = WRONG[wrong].__name__
    module = {"before": f"between.parts.1 ({kind})", "after": f"between.parts.0 ({kind})"}
    first = found["first"]
    assert first.op == f"weft_check::{op}" and not found["ok"], found["text"]
    assert first.module == module.get(where, "between (WindingItself)"), found["text"]


def test_right_by_more_ops(ranks2):
    assert same_on_all(ranks2(winding, "nothing", "before"))["ok"]


class OtherNumber(nn.Module):
    """Each op is right by itself."""

    def forward(self, x):
        return x * (3 if weft.is_sharded(x) else 2)


class OtherOps(nn.Module):
    def forward(self, x):
        return x * 2 * 3 if weft.is_sharded(x) else x * 2


@pytest.mark.parametrize(("cls", "op"), [("OtherNumber", "aten::mul.Tensor"), ("OtherOps", "")])
def test_a_module_that_does_otherwise_where_sharded(ranks2, cls, op):
    """The op is named where the plain step has its like."""
    first = same_on_all(ranks2(own_way, cls))["first"]
    assert (first.kind, first.module, first.op) == ("forward", f"between ({cls})", op), first
