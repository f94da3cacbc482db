"""torch.compile of what works on sharded tensors: how they come into its graphs, and out of them.

Dynamo and AOTAutograd meet a sharded tensor as `Traced` (traced.py), a wrapper around its part. What AOTAutograd does
then is in traced_programs.py.
"""

from __future__ import annotations

import functools
import threading
import warnings
import weakref
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch._functorch.pyfunctorch import temporarily_clear_interpreter_stack
from torch._guards import TracingContext
from torch._subclasses.fake_tensor import FakeTensorConverter
from torch.utils.weak import WeakIdKeyDictionary

from . import (
    exporting,
    first_rank,
    known_to_dynamo,
    trace_modules,
    traced_code,
    traced_draws,
    traced_hops,
    traced_programs,
    traced_sizes,
    traced_writes,
)
from .after_import import after_import
from .arguments import needed
from .tensors import is_sharded
from .traced import (
    PART,
    Traced,
    as_traced,
    compiled_for,
    layout_of,
    named,
    of_part,
    part_of,
    path_of,
    set_part,
)
from .traced_programs import compiled

_WHY = (
    "[W067] weft: torch.compile does not record this code on sharded tensors, so it runs op by op, as without it, and "
    "so does the same code on plain tensors from then on. Leave torch.compile off, or keep it to code that gets plain "
    "tensors alone. The reason: "
)
_COMPILED_FOR = "_weft_compiled_for"
_last = threading.local()  # .met: whether the frame that was compiled last had sharded tensors
_told = False
_records = False
_fakes: weakref.WeakKeyDictionary[Any, WeakIdKeyDictionary] = weakref.WeakKeyDictionary()  # of each converter


def install() -> None:
    """Hooks into torch.compile, once; sharded programs are recorded from then on where torch's release is known."""
    global _records
    exporting.install()
    converter: Any = FakeTensorConverter
    if getattr(converter, "_weft_compiling", False):
        return
    converter._weft_compiling = True
    known_to_dynamo.install(is_sharded, lambda recorded: type(recorded) is Traced)
    converter.from_real_tensor = _making_fakes(converter.from_real_tensor)
    if not _is_known():
        return
    _records = True
    # What guards and compiled programs read of a sharded tensor.
    setattr(torch.Tensor, PART, property(part_of, set_part))
    setattr(torch.Tensor, _COMPILED_FOR, property(compiled_for))
    traced_draws.install()
    after_import("torch._dynamo.variables.builder", _build_variables)
    after_import("torch._dynamo.convert_frame", _convert_frames)
    after_import("torch._dynamo.output_graph", _tell_code)
    traced_hops.install()
    traced_programs.install()


def _is_known() -> bool:
    """Whether this torch has what the hooks are made for, told without importing it."""
    return (Path(torch.__file__).parent / "_functorch/_aot_autograd/subclass_codegen.py").exists()


def compile_graphs(on: bool = True) -> bool:
    """Whether torch.compile records sharded programs, with their collectives as c10d's functional ops.

    It does, from torch 2.15 on. Switched off, and with torch before that, what touches sharded tensors runs op by op
    under torch.compile. What works is in docs/results/compile.md; what cannot be recorded runs op by op, said once.
    Random values are those of the same code op by op. Every rank calls this alike, before it compiles, and compiles the
    same programs at the same points: the ranks compare each one's collectives then.

    Returns:
        The setting before.

    Raises:
        NotImplementedError: torch is older than 2.15.
        ValueError: `on` is no bool.
    """
    global _records
    needed(on, (bool, int), "compile_graphs: on")
    if on and not _is_known():
        raise NotImplementedError(f"[W067] weft.compile_graphs needs torch 2.15, this is {torch.__version__}")
    before, _records = _records, bool(on)
    return before


def records() -> bool:
    """Whether sharded programs are recorded."""
    return _records


def _why_off() -> str:
    if _is_known():
        return "weft.compile_graphs(False) was called"
    return f"that needs torch 2.15, this is {torch.__version__}"


def _skip_frame() -> None:
    """Leaves a frame that is being traced to Python, with a warning the first time.

    Raises:
        NotImplementedError: the caller insists on a graph (fullgraph=True).
    """
    from torch._dynamo.symbolic_convert import InstructionTranslator

    if getattr(InstructionTranslator.current_tx(), "one_graph", False):
        raise NotImplementedError(_WHY + _why_off())
    _tell(_why_off())
    raise torch._dynamo.exc.SkipFrame(_WHY + _why_off())


def _is_real(tensor: Any) -> bool:
    return is_sharded(tensor) and type(tensor) is not Traced


def _making_fakes(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def from_real_tensor(self: Any, fake_mode: Any, t: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        if not _is_real(t):
            return original(self, fake_mode, t, *args, **kwargs)
        if torch.compiler.is_exporting():
            raise exporting.refused("a tensor that it uses")
        if not _records:
            if TracingContext.try_get() is not None:
                _skip_frame()
            return original(self, fake_mode, t, *args, **kwargs)
        compiled.met = True
        source = kwargs.get("source")
        if source is not None and TracingContext.try_get() is not None:
            _guard(source)
        memo = _fakes.setdefault(self, WeakIdKeyDictionary())
        if t not in memo:
            with temporarily_clear_interpreter_stack():  # transforms of torch.func are not about it
                memo[t] = _fake(t, original(self, fake_mode, part_of(t)))
            traced_writes.stands_for(memo[t], t)
        return memo[t]

    return from_real_tensor


def _fake(t: torch.Tensor, part: torch.Tensor) -> torch.Tensor:
    """Stands for `t` while a frame is recorded; sizes are numbers: another shape is another program."""
    path = path_of(t)
    fake = named(as_traced(of_part(part, layout_of(t), t.shape, t.stride())), path)
    if t.requires_grad:
        fake.requires_grad_()
        if not t.is_leaf:
            with torch.enable_grad():
                fake = named(fake.clone(), path)
    if isinstance(t, torch.nn.Parameter):
        fake._is_param = True
    return fake


def _guard(source: Any) -> None:
    from torch._dynamo.guards import GuardBuilder, install_guard
    from torch._dynamo.source import AttrSource

    install_guard(AttrSource(source, _COMPILED_FOR).make_guard(GuardBuilder.EQUALS_MATCH))


def _convert_frames(convert_frame: ModuleType) -> None:
    """What is done with frames that have sharded tensors."""
    numbers, or_python = convert_frame.ConvertFrameAssert, convert_frame.ConvertFrame
    numbers.__call__ = _with_numbers(numbers.__call__)
    or_python.__call__ = _or_python(or_python.__call__, convert_frame.ConvertFrameReturn)


def _with_numbers(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def call(self: Any, frame: Any, cache_entry: Any, *args: Any, **kwargs: Any) -> Any:
        if _records:
            trace_modules.stop_watching()
        outer, compiled.met = getattr(compiled, "met", False), False
        try:
            return traced_sizes.compile_with_numbers(
                lambda: original(self, frame, cache_entry, *args, **kwargs),
                frame.f_code,
                cache_entry is not None,
                lambda: compiled.met,
            )
        finally:
            _last.met, compiled.met = compiled.met, outer

    return call


def _or_python(original: Callable[..., Any], left: Callable[[], Any]) -> Callable[..., Any]:
    """A frame with sharded tensors that cannot be compiled is left to Python, said once; not under fullgraph=True."""

    @functools.wraps(original)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        _last.met = False
        try:
            return original(self, *args, **kwargs)
        except Exception as error:
            if not _last.met or self._inner_convert._box.error_on_graph_break:
                raise
            _tell_error(error)
            return left()

    return call


def _tell_error(error: Exception) -> None:
    """Weft's own reason, where it is one; else the first 400 characters. Without what Dynamo says around it."""
    text = " ".join(str(error).split()) or type(error).__name__
    for around in (" from user code: ", " Set TORCHDYNAMO_VERBOSE"):
        text = text.split(around)[0]
    own = text.rpartition("[W067] weft: ")
    if own[1] or isinstance(error, torch._dynamo.exc.Unsupported):  # the code's, so every rank's
        _tell(own[2] or text[:400])
    else:  # of a compiler or of what it wrote, perhaps on this rank alone
        _tell(f"(rank {torch.ops.weft.rank()}) {text[:400]}", warnings.warn)


def _tell(reason: str, warn: Callable[..., None] = first_rank.warn) -> None:
    global _told
    if not _told:
        _told = True
        warn(_WHY + reason, stacklevel=3)


def _tell_code(output_graph: ModuleType) -> None:
    traced_code.tell(output_graph, lambda: getattr(compiled, "met", False))


def _build_variables(builder: ModuleType) -> None:
    traced_sizes.keep_sizes(builder, _meets, part_of, PART)
    _keep_types(builder)


def _meets(tensor: Any) -> bool:
    """Whether the frame that is recorded has this tensor, and that it is sharded."""
    meets = _records and _is_real(tensor)
    if meets:
        compiled.met = True
    return meets


def _keep_types(builder: ModuleType) -> None:
    """Code that asks for the type of a sharded tensor is told that of the real one."""
    original = builder.get_specialized_props

    @functools.wraps(original)
    def get_specialized_props(cls: Any, tx: Any, example_value: Any, *args: Any) -> Any:
        props = original(cls, tx, example_value, *args)
        if type(example_value) is Traced:
            props["class_type"] = torch.nn.Parameter if isinstance(example_value, torch.nn.Parameter) else torch.Tensor
        return props

    vars(builder)["get_specialized_props"] = get_specialized_props
