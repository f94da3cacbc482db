"""One sample of an op, run plain and on sharded tensors: forward, gradient, in place and with out=."""

import copy
import random
from collections.abc import Callable
from typing import Any

import torch
import weft
from oracle.compare import Wrong, compare
from oracle.layouts import draw, lay_out, reference
from torch.utils import _pytree as pytree


class Case:
    """Tensors of one sample laid out by a seed, and the plain tensors that they stand for."""

    def __init__(self, arguments: Any, mesh: weft.DeviceMesh, seed: str, first: str | None = None) -> None:
        rng = random.Random(seed)
        leaves, self.spec = pytree.tree_flatten(arguments)
        self.layouts: list[Any] = []
        self.sharded: list[Any] = []
        self.plain: list[Any] = []
        self.bytes = 0  # that this rank sent in the calls under test
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

    def call(self, run: Callable, *rest: Any) -> Any:
        """`run` on the sharded arguments."""
        return self.traced(seeded, run, self.arguments(True), *rest)

    def traced(self, fn: Callable, *args: Any, **keywords: Any) -> Any:
        trace = weft.trace()
        try:
            with trace:
                return fn(*args, **keywords)
        finally:
            self.bytes += trace.total_bytes

    def leaves(self, sharded: bool) -> list[torch.Tensor]:
        seen: dict[int, torch.Tensor] = {}
        for x in self.sharded if sharded else self.plain:
            if isinstance(x, torch.Tensor) and x.requires_grad:
                seen.setdefault(id(x), x)
        return list(seen.values())

    def exact(self) -> "Case":
        """The plain arguments in double precision."""
        out = copy.copy(self)
        wide: dict[int, Any] = {}
        for x in self.plain:
            wide.setdefault(id(x), widened(x))
        out.plain = [wide[id(x)] for x in self.plain]
        return out

    def describe(self) -> str:
        out = []
        for x, layout in zip(self.plain, self.layouts, strict=True):
            if isinstance(x, torch.Tensor):
                out.append(f"{str(x.dtype)[6:]}{list(x.shape)} {describe_layout(layout)}")
            elif not callable(x):
                out.append(repr(x)[:60])
        return "; ".join(out)


def widened(x: Any) -> Any:
    if not isinstance(x, torch.Tensor) or not (x.is_floating_point() or x.is_complex()):
        return x
    wide = torch.complex128 if x.is_complex() else torch.float64
    return x.detach().to(wide).requires_grad_(x.requires_grad)


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
    got = case.call(run)
    exact = case.exact()

    def truth() -> Any:
        return seeded(run, exact.arguments(False))

    compare(pytree.tree_map(lambda x: x, got), want, "result", truth=truth)
    check_arguments(case)
    if case.leaves(False):  # composite ops go another way where no gradient is asked for
        with torch.no_grad():
            compare(case.call(run), seeded(run, case.arguments(False)), "result without gradient", truth=truth)
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
    got_grads = case.traced(torch.autograd.grad, gotten, case.leaves(True), laid_out, allow_unused=True)

    def true_gradients() -> Any:
        wide = [widened(h) for h in plain_heads]
        return torch.autograd.grad(differentiable(post(truth())), exact.leaves(False), wide, allow_unused=True)

    # A gradient's strides are not part of what autograd promises.
    compare(list(got_grads), list(want_grads), "gradient", strides=False, truth=true_gradients)
    return True


def check_arguments(case: Case) -> None:
    """What the op did not write is as it was, what it wrote is as the plain op wrote it."""
    with torch.no_grad():
        compare(case.sharded, case.plain, "argument after the call", strides=False)


def check_in_place(run: Callable, case: Case, keeps_layout: bool = True) -> bool:
    """`run(args)` writes its first tensor, or list of tensors, and returns it."""
    with torch.no_grad():
        layouts = [weft.layout_of(x) if weft.is_sharded(x) else None for x in case.sharded]
        target = first_tensor(case.arguments(False))
        try:
            want = seeded(run, case.arguments(False))
        except Exception:
            return False
        if target.shape != reference_shape(case):
            return False
        got = case.call(run)
        compare(got, want, "in-place result", strides=False)
        check_arguments(case)
        for x, layout in zip(case.sharded, layouts, strict=True):
            if keeps_layout and layout is not None and weft.layout_of(x) != layout and not layout.partial:
                raise Wrong("layout", f"in place: {weft.layout_of(x)}, was {layout}")
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
            exact = case.exact()
        except Exception:
            return False
        if not isinstance(want, torch.Tensor):
            return False
        rng = random.Random(seed + "out")
        layout = draw(rng, want, mesh, ("split", "replicated", "plain"))
        target = lay_out(torch.zeros_like(want), layout, 0)
        got = case.call(run, target)

        def truth() -> Any:
            return seeded(run, exact.arguments(False), None)

        compare(got, want, "out= result", strides=False, truth=truth)
        compare(target, want, "out= tensor", strides=False, truth=truth)
        check_arguments(case)
    return True


def check_refused(run: Callable, case: Case) -> bool:
    """What cannot be done on shards is refused, in words that say how to go on; what changes nothing may be done."""
    try:
        want = seeded(run, case.arguments(False))
    except Exception:
        return False
    try:
        got = case.call(run)
    except (NotImplementedError, ValueError) as e:
        if "weft." not in str(e):
            raise Wrong("raised", f"the message does not say how to go on: {e}") from e
        return True
    compare(got, want, "what should have been refused")
    return True
