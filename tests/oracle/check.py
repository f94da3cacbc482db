"""One sample of an op, run plain and on sharded tensors: forward, gradient, in place and with out=."""

import random
from collections.abc import Callable
from typing import Any

import torch
import weft
from compare import Wrong, compare
from layouts import draw, lay_out, reference
from torch.utils import _pytree as pytree


class Case:
    """Tensors of one sample laid out by a seed, and the plain tensors that they stand for."""

    def __init__(self, arguments: Any, mesh: weft.DeviceMesh, seed: str, first: str | None = None) -> None:
        rng = random.Random(seed)
        leaves, self.spec = pytree.tree_flatten(arguments)
        self.layouts: list[Any] = []
        self.sharded: list[Any] = []
        self.plain: list[Any] = []
        memo: dict[int, int] = {}
        tensors = [i for i, x in enumerate(leaves) if is_plain_tensor(x)]
        forced = rng.choice(tensors) if tensors else -1  # one at least must be laid out
        for i, x in enumerate(leaves):
            if not is_plain_tensor(x):
                self._add(x, x, None)
                continue
            if id(x) in memo:
                j = memo[id(x)]
                self._add(self.sharded[j], self.plain[j], self.layouts[j])
                continue
            memo[id(x)] = i
            kinds = ("split", "pending", "replicated") if i == forced else ("split", "pending", "replicated", "plain")
            if first is not None and i == tensors[0]:
                kinds = (first,) if first != "sharded" else ("split", "pending", "replicated")
            layout = draw(rng, x, mesh, kinds)
            s = lay_out(x, layout, rng.randrange(1 << 30))
            p = reference(s)
            if x.requires_grad:
                s.requires_grad_()
                p.requires_grad_()
            self._add(s, p, layout)

    def _add(self, s: Any, p: Any, layout: Any) -> None:
        self.sharded.append(s)
        self.plain.append(p)
        self.layouts.append(layout)

    def arguments(self, sharded: bool) -> Any:
        return pytree.tree_unflatten(self.sharded if sharded else self.plain, self.spec)

    def leaves(self, sharded: bool) -> list[torch.Tensor]:
        seen: dict[int, torch.Tensor] = {}
        for x in self.sharded if sharded else self.plain:
            if isinstance(x, torch.Tensor) and x.requires_grad:
                seen.setdefault(id(x), x)
        return list(seen.values())

    def describe(self) -> str:
        out = []
        for x, layout in zip(self.plain, self.layouts, strict=True):
            if isinstance(x, torch.Tensor):
                out.append(f"{str(x.dtype)[6:]}{list(x.shape)} {describe_layout(layout)}")
            elif not callable(x):
                out.append(repr(x)[:60])
        return "; ".join(out)


def describe_layout(layout: Any) -> str:
    if layout is None:
        return "plain"
    partial = " ".join(f"{k}:{v}" for k, v in (layout.partial or {}).items())
    return f"{layout.axes}{' pending ' + partial if partial else ''}"


def is_plain_tensor(x: Any) -> bool:
    return isinstance(x, torch.Tensor) and x.layout == torch.strided and not x.is_quantized and not x.is_nested


def seeded(fn: Callable, *args: Any) -> Any:
    torch.manual_seed(17)
    return fn(*args)


def differentiable(x: Any) -> list[torch.Tensor]:
    leaves = pytree.tree_leaves(x)
    return [t for t in leaves if isinstance(t, torch.Tensor) and t.requires_grad]


def check_call(run: Callable, case: Case, post: Callable, backward: bool, mesh: Any, seed: str) -> bool:
    """Forward and, where asked for, gradients. False where the plain op itself refuses the sample."""
    try:
        want = seeded(run, case.arguments(False))
    except Exception:
        return False
    got = seeded(run, case.arguments(True))
    compare(pytree.tree_map(lambda x: x, got), want, "result")
    check_arguments(case)
    if case.leaves(False):  # composite ops go another way where no gradient is asked for
        with torch.no_grad():
            compare(seeded(run, case.arguments(True)), seeded(run, case.arguments(False)), "result without gradient")
        check_arguments(case)
    if not backward:
        return True
    want, got = post(want), post(got)
    wanted, gotten = differentiable(want), differentiable(got)
    if not wanted or not case.leaves(False):
        return True
    if len(wanted) != len(gotten):
        raise Wrong("structure", f"{len(gotten)} differentiable results, expected {len(wanted)}")
    rng = random.Random(seed + "grad")
    generator = torch.Generator().manual_seed(rng.randrange(1 << 30))
    heads = [torch.randn(w.shape, generator=generator).to(w.dtype) for w in wanted]
    if any(w.is_complex() for w in wanted):
        heads = [h * (1 + 0.5j) if h.is_complex() else h for h in heads]
    laid_out = [lay_out(h, draw(rng, h, mesh), rng.randrange(1 << 30)) for h in heads]
    plain_heads = [reference(h) for h in laid_out]
    try:
        want_grads = torch.autograd.grad(wanted, case.leaves(False), plain_heads, allow_unused=True)
    except Exception:
        return True
    got_grads = torch.autograd.grad(gotten, case.leaves(True), laid_out, allow_unused=True)
    # A gradient's strides are not part of what autograd promises.
    compare(list(got_grads), list(want_grads), "gradient", strides=False)
    return True


def check_arguments(case: Case) -> None:
    """What the op did not write is as it was, what it wrote is as the plain op wrote it."""
    with torch.no_grad():
        compare(case.sharded, case.plain, "argument after the call", strides=False)


def check_in_place(run: Callable, case: Case, keeps_layout: bool = True) -> bool:
    """`run(args)` writes its first tensor and returns it."""
    with torch.no_grad():
        plain, sharded = case.arguments(False), case.arguments(True)
        target_plain, target = first_tensor(plain), first_tensor(sharded)
        layout = weft.layout_of(target) if weft.is_sharded(target) else None
        try:
            want = seeded(run, plain)
        except Exception:
            return False
        if target_plain.shape != reference_shape(case) or not isinstance(want, torch.Tensor):
            return False
        got = seeded(run, sharded)
        compare(got, want, "in-place result", strides=False)
        compare(target, target_plain, "written tensor", strides=False)
        check_arguments(case)
        if keeps_layout and layout is not None and weft.layout_of(target) != layout and not layout.partial:
            raise Wrong("layout", f"in place: {weft.layout_of(target)}, was {layout}")
    return True


def first_tensor(arguments: Any) -> torch.Tensor:
    return next(x for x in pytree.tree_leaves(arguments) if isinstance(x, torch.Tensor))


def reference_shape(case: Case) -> torch.Size:
    return next(x.shape for x in case.plain if isinstance(x, torch.Tensor))


def check_out(run: Callable, case: Case, mesh: Any, seed: str) -> bool:
    """`run(args, out)`: out= in a layout of its own."""
    with torch.no_grad():
        try:
            want = seeded(run, case.arguments(False), None)
        except Exception:
            return False
        if not isinstance(want, torch.Tensor):
            return False
        rng = random.Random(seed + "out")
        layout = draw(rng, want, mesh, ("split", "replicated", "plain"))
        target = lay_out(torch.zeros_like(want), layout, 0)
        got = seeded(run, case.arguments(True), target)
        compare(got, want, "out= result", strides=False)
        compare(target, want, "out= tensor", strides=False)
        check_arguments(case)
    return True
