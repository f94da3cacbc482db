"""Random programs of which one rank runs another: an error on all ranks, or the right values on all.

A program is 20 steps on four square matrices; each rank computes what its own steps give unsharded beside. At one place
one rank skips a step, swaps it with the next, takes it twice, or has another number, dtype, size, reduction, layout or
operand in it. Both programs end by reading all four, and one more sum that all ranks have a part in.
"""

import itertools
import random
import re
from collections import Counter
from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
import weft
from support.forks import Forks, RankEnd

LENGTH, SIZE = 20, 12  # rows for three ranks and for four
NAMES = "abcd"
NUMBERS = (0.25, 0.5, 0.75, 1.25)
CHOICES = {
    "x": NAMES,
    "y": NAMES,
    "number": NUMBERS,
    "dtype": ("torch.float32", "torch.float64"),
    "size": (4, 6, 9, 12),
    "dim": (0, 1),
    "reduction": ("sum", "mean", "amax", "amin"),
    "layout": (("a", None), (None, "a"), (None, None)),
}
STEPS = (
    "{x} = torch.tanh({x} @ {y})",
    "{x} = torch.tanh({x}[:, :{size}] @ {y}[:{size}])",
    "{x} = ({x} + {y}.t()) * {number}",
    "{x} = {x} + torch.full((12,), {number})",
    "{x}.mul_({number})",
    "{x}[:, :{size}].add_({y}[:, :{size}], alpha={number})",
    "{x}[{dim}] = {number}",
    "{x} = {x} - {x}.{reduction}({dim}, keepdim=True)",
    "{x} = torch.tanh({x}.to({dtype})).double()",
    "{x} = {x}.view(3, 4, 12).transpose(0, 1).reshape(12, 12).clone()",
    "{x} = lay({x}, {layout})",
    "{x} = {x} + zeros_by_dropout({x}, {number})",
    "{x} = torch.tanh(gradient({x}, {y}))",
    "show(full({x}))",
    "show({x}.{reduction}({dim}).sum().item())",
)
CLEAR = "different collectives|must be the same on all ranks|out of step|not come to collective"
Step = tuple[str, dict]


def text(step: Step) -> str:
    return step[0].format(**step[1])


def drawn(rng: random.Random) -> list[Step]:
    return [(rng.choice(STEPS), {k: rng.choice(v) for k, v in CHOICES.items()}) for _ in range(LENGTH)]


def changed(rng: random.Random, steps: list[Step]) -> tuple[list[str], str]:
    """Another program that differs in one step, and how."""
    at = rng.randrange(LENGTH - 1)
    (template, values), how = steps[at], rng.choice(("skip", "swap", "repeat", "change", "change", "change"))
    lines = [text(s) for s in steps]
    if how == "skip":
        del lines[at]
    elif how == "swap":
        lines[at : at + 2] = lines[at + 1], lines[at]
    elif how == "repeat":
        lines.insert(at, lines[at])
    else:
        name = rng.choice(re.findall(r"{(\w+)}", template) or ["x"])
        other = rng.choice([v for v in CHOICES[name] if v != values[name]])
        lines[at] = text((template, {**values, name: other}))
        how = f"change {name}"
    return lines, f"{how} at {at}"


def zeros_by_dropout(x: torch.Tensor, p: float) -> torch.Tensor:
    """Zeros, whatever is drawn."""
    kept = F.dropout(torch.ones_like(x), min(p, 0.75)) > 0
    return (kept & ~kept).double()


def gradient(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    leaf = y.detach().clone().requires_grad_()
    torch.tanh(x.detach() @ leaf).sum().backward()
    return leaf.grad


def shown(lines: list[str], make: Callable, lay: Callable, full: Callable, show: Callable) -> None:
    """Runs a program; each value that the user would see goes to `show`."""
    torch.manual_seed(0)
    names = {"torch": torch, "lay": lay, "full": full, "show": show}
    names |= {"zeros_by_dropout": zeros_by_dropout, "gradient": gradient}
    generator = torch.Generator().manual_seed(1)
    for i, name in enumerate(NAMES):
        names[name] = make(torch.randn(SIZE, SIZE, generator=generator, dtype=torch.float64), i)
    for line in [*lines, *(f"show(full({name}))" for name in NAMES)]:
        exec(line, names)


def program(tell: Callable, seed: int, faulty: bool) -> None:
    rng = random.Random(seed)
    steps = drawn(rng)
    usual, (other, how) = [text(s) for s in steps], changed(rng, steps)
    odd = rng.randrange(weft.world_size())
    lines = other if faulty and weft.rank() == odd else usual
    tell("program", f"seed {seed}, rank {odd}: {how}")
    wanted: list = []
    shown(lines, lambda t, i: t, lambda t, layout: t.clone(), torch.Tensor.clone, wanted.append)
    mesh = weft.DeviceMesh((weft.world_size(),), ("a",), device_type="cpu")
    layouts = CHOICES["layout"]
    expected = iter(wanted)

    def check(got: torch.Tensor | float) -> None:
        want = next(expected)
        got, want = torch.as_tensor(got), torch.as_tensor(want)
        if got.shape != want.shape or not torch.allclose(got.double(), want.double(), rtol=1e-3, atol=1e-4):
            tell("wrong", f"{got.flatten()[:4].tolist()}, not {want.flatten()[:4].tolist()}")

    def lay(t: torch.Tensor, layout: tuple) -> torch.Tensor:
        return weft.distribute_tensor(t, layout, mesh)

    shown(lines, lambda t, i: lay(t, layouts[i % 3]), lay, weft.full_tensor, check)
    lay(torch.ones(SIZE), ("a",)).sum().item()


def outcome(ends: list[RankEnd]) -> str:
    """`error` on all ranks or `right` on all; else what went wrong."""
    if any(end.hung for end in ends):
        return "HANG"
    if any(end.exit for end in ends):
        return "ABORT"
    if any(end.of("wrong") for end in ends):
        return "WRONG"
    raised = [e.data[0] for end in ends for e in end.of("raised")]
    if not raised:
        return "right"
    if len(raised) < len(ends):
        return "ERROR ON SOME"
    return "error" if all(re.search(CLEAR, r) for r in raised) else "UNCLEAR"


def run(forks: Forks, seed: int, faulty: bool = True) -> tuple[str, str]:
    """The outcome, and the program with what the ranks told where it is a failure."""
    ends = forks(3 + seed % 2, program, seed, faulty)
    found = outcome(ends)
    told = itertools.chain.from_iterable(end.events for end in ends)
    words = [f"  {e.kind}: {e.data[0]}" for e in told if e.data] + [e.output[-2000:] for e in ends if e.hung or e.exit]
    return found, "" if found in ("error", "right") else "\n".join(words)


def run_all(forks: Forks, seeds: Iterable[int], progress: Callable = lambda *_: None) -> tuple[Counter, list[str]]:
    """How often each outcome came, and the failures."""
    counts, failures = Counter(), []
    for seed in seeds:
        found, words = run(forks, seed)
        counts[found] += 1
        failures += [f"{found}\n{words}"] if words else []
        progress(seed, found, words)
    return counts, failures
