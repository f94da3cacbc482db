"""A training step that is watched: what its modules, or the ops of one of them, give (checking.check)."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, NamedTuple

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from .tensors import is_sharded, layout_of, map_tensors, path_of, tensors_in, value_of

_NO_VALUE = ("aten::detach", "aten::alias", "aten::empty", "aten::new_empty", "aten::empty_like", "aten::empty_strided")


class Call(NamedTuple):
    """One call of a module; the first is the step itself."""

    path: str
    kind: str
    time: int  # how many calls of that module were before

    def __str__(self) -> str:
        return f"{self.path} ({self.kind})" if self.path else "the step itself"


class Value(NamedTuple):
    """What a module or an op gave."""

    call: Call
    key: tuple  # which of its values: the same in the plain and in the sharded step
    op: str  # empty: the module's output
    operands: str
    variables: tuple[str, ...]
    tensor: torch.Tensor  # a copy, as later ops may write to it
    alone: torch.Tensor | None  # what the op gives for full operands, as in one process


@dataclasses.dataclass
class Step:
    """Forward, loss and backward of one model, with what was asked for of it.

    Args:
        ops_of: the call whose own ops are kept instead of the modules' outputs; None: those of no call.
        backward_ops: keep the ops of the backward pass too.
    """

    model: torch.nn.Module
    ops_of: Call | None = None
    backward_ops: bool = False
    calls: list[Call] = dataclasses.field(default_factory=list)
    values: list[Value] = dataclasses.field(default_factory=list)
    ran: list[tuple[Call, str]] = dataclasses.field(default_factory=list)  # ops of the forward pass, where watched
    loss: torch.Tensor | None = None

    @property
    def watches_ops(self) -> bool:
        """Whether ops are watched, in place of what modules give."""
        return self.ops_of is not None or self.backward_ops

    def run(self, batch: Any, loss: Callable[[Any, Any], Any] | None, backward: bool = True) -> None:
        self.open: list[int] = []
        self.times: Counter[str] = Counter()
        with self.hooks():
            self.enter("", "")
            with _Ops(self) if self.watches_ops else nullcontext():
                output = called(self.model, batch)
                total = loss(output, batch) if loss is not None else loss_of(output)
                self.loss = total.detach() if total is not None else None
                if not self.watches_ops and total is not None:
                    self.keep(self.calls[0], (), total)
                if backward and total is not None and total.requires_grad:
                    self.open = []  # what runs now belongs to no call that is open
                    total.backward()

    def running(self) -> str:
        """The innermost call that has not ended; empty in the backward pass."""
        return str(self.calls[self.open[-1]]) if self.open else ""

    def enter(self, path: str, kind: str) -> None:
        self.open.append(len(self.calls))
        self.calls.append(Call(path, kind, self.times[path]))
        self.times[path] += 1

    def keep(
        self, call: Call, key: tuple, output: Any, op: str = "", operands: Sequence[torch.Tensor] = (), alone: Any = ()
    ) -> None:
        tensors = tensors_in(output)
        if not tensors:
            return
        expected = tensors_in(alone)
        named = tuple(dict.fromkeys(p for t in operands if (p := path_of(t))))
        layouts = ", ".join(str(layout_of(t)) if is_sharded(t) else f"plain {tuple(t.shape)}" for t in operands)
        with torch.no_grad():
            for i, t in enumerate(tensors):
                want = expected[i] if len(expected) == len(tensors) else None
                self.values.append(Value(call, (*key, i), op, layouts, named, t.detach().clone(), want))

    @contextmanager
    def hooks(self) -> Iterator[None]:
        handles = []
        for path, module in self.model.named_modules():
            kind = type(module).__name__

            def before(m: Any, args: Any, path: str = path or "the model", kind: str = kind) -> None:
                self.enter(path, kind)

            def after(m: Any, args: Any, output: Any) -> None:
                call = self.calls[self.open.pop()]
                if not self.watches_ops:
                    self.keep(call, (), output)

            handles += [module.register_forward_pre_hook(before), module.register_forward_hook(after)]
        try:
            yield
        finally:
            for h in handles:
                h.remove()


class _Ops(TorchDispatchMode):
    """Keeps what ops give. An op of the backward pass belongs to the op of the forward pass whose gradient it makes."""

    def __init__(self, step: Step) -> None:
        super().__init__()
        self.step, self.counts, self.made_by = step, Counter[tuple](), dict[int, tuple]()

    def __torch_dispatch__(self, op: Any, types: Any, args: Any = (), kwargs: Mapping | None = None) -> Any:
        node: torch.autograd.graph.Node | None = torch._C._current_autograd_node()
        name, step, kwargs = op.name(), self.step, kwargs or {}
        if node is None:
            call = step.calls[step.open[-1] if step.open else 0]
            if step.open:
                step.ran.append((call, name))
            key, label = self.numbered((call, name)), name
            self.made_by.setdefault(torch.autograd._get_sequence_nr() - 1, key)
            watched = step.ops_of == call
        else:
            forward = self.made_by.get(node._sequence_nr())
            watched = step.backward_ops and forward is not None
            if forward is not None:
                call, key, label = forward[0], self.numbered((*forward, name)), f"{name} (backward of {forward[1]})"
        if not watched or name.startswith(_NO_VALUE):
            return op(*args, **kwargs)
        operands = tensors_in((args, kwargs))
        alone = on_full(op, args, kwargs) if any(map(is_sharded, operands)) else ()
        out = op(*args, **kwargs)
        step.keep(call, key, out, label, operands, alone)
        return out

    def numbered(self, key: tuple) -> tuple:
        self.counts[key] += 1
        return (*key, self.counts[key])


def on_full(op: Any, args: Any, kwargs: Mapping) -> Any:
    """What the op gives for copies of the full operands, drawing what it will draw of the sharded ones; nothing where
    it cannot be called so. A collective."""
    own = lambda x: x.clone_state() if isinstance(x, torch.Generator) else x  # noqa: E731
    with torch.no_grad():
        args, kwargs = map_tensors((args, dict(kwargs)), lambda t: value_of(t.detach().clone()))
        args, kwargs = [own(a) for a in args], {k: own(v) for k, v in kwargs.items()}
        with torch.random.fork_rng(enabled=torch.Tag.nondeterministic_seeded in op.tags):
            try:
                return op(*args, **kwargs)
            except Exception:  # as of a view that the memory of the copies does not allow
                return ()


def called(model: torch.nn.Module, batch: Any) -> Any:
    """The model of the batch: a mapping as keywords, a tuple or list as arguments, anything else as the only one."""
    if isinstance(batch, Mapping):
        return model(**batch)
    return model(*batch) if isinstance(batch, (tuple, list)) else model(batch)


def loss_of(output: Any) -> torch.Tensor | None:
    """The output's own loss, or itself if it is one number, else the mean square of all fractions in it."""
    own = output.get("loss") if isinstance(output, Mapping) else getattr(output, "loss", None)
    if isinstance(own, torch.Tensor):
        return own
    if isinstance(output, torch.Tensor) and output.numel() == 1 and output.is_floating_point():
        return output.sum()
    found = tensors_in(output)
    squares = [t.float().square().mean() if t.dtype.itemsize < 4 else t.square().mean() for t in found if fraction(t)]
    return sum(squares[1:], squares[0]) if squares else None


def fraction(t: torch.Tensor) -> bool:
    return t.is_floating_point() and t.requires_grad
