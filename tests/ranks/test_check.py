"""weft.check: a right model is told as right, a wrong rule, a rank that goes its own way and errors by their place."""

import itertools
import sys
import types

import pytest
import torch
import weft
from ranks.checked import HAND, Centered, Doubled, Net, check_net, define, same_on_all, told
from ranks.meshes import line, mesh_of
from ranks.zoo.run import batch_of, build
from torch import nn

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


# ---- misuse --------------------------------------------------------------------------------------------------------


class Chunks(nn.Module):
    """Gives its output bit by bit."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))

    def forward(self, x):
        yield from x.split(1)


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
        "scripted": lambda: weft.check(lambda: torch.jit.script(plain()), batch, layouts),
        "no tensors": lambda: weft.check(Chunks, batch, weft.LayoutMap(line("model"))),
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
        "scripted": "ValueError: [W038] check: the model is scripted",
        "no tensors": "ValueError: [W038] check: no module of the model gives a tensor",
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
