"""torch.compile of what works on sharded tensors: how they come into its graphs, and out of them.

Dynamo and AOTAutograd meet a sharded tensor as `Traced` (traced.py), a wrapper around its part; the compiled program
gets the parts, and sharded tensors are made of what it returns.
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
from torch._guards import TracingContext
from torch._subclasses.fake_tensor import FakeTensorConverter
from torch.utils.weak import WeakIdKeyDictionary

from . import exporting, first_rank, traced_draws, traced_sizes, traced_views, traced_writes
from .after_import import after_import
from .arguments import needed
from .collective_order import order_collectives
from .rules import know_prims
from .tensors import is_sharded
from .traced import PART, Traced, as_traced, compiled_for, laid_out, layout_of, named, of_part, part_of, set_part

_WHY = (
    "[W067] weft: torch.compile does not record this code on sharded tensors, so it runs op by op, as without it, and "
    "so does the same code on plain tensors from then on. Leave torch.compile off, or keep it to code that gets plain "
    "tensors alone. The reason: "
)
_COMPILED_FOR = "_weft_compiled_for"
# What is compiled: whether it has sharded tensors (met), and which collectives (program); whether what was compiled
# last had sharded tensors (last).
_met = threading.local()
_told = False
_records = False
_has_recorded = False
_fakes: weakref.WeakKeyDictionary[Any, WeakIdKeyDictionary] = weakref.WeakKeyDictionary()  # of each converter


def install() -> None:
    """Hooks into torch.compile, once; sharded programs are recorded from then on where torch's release is known."""
    global _records
    exporting.install()
    converter: Any = FakeTensorConverter
    if getattr(converter, "_weft_compiling", False):
        return
    converter._weft_compiling = True
    after_import("torch._inductor.inductor_prims", know_prims)
    converter.from_real_tensor = _making_fakes(converter.from_real_tensor)
    if not _is_known():
        return
    _records = True
    # What guards and compiled programs read of a sharded tensor.
    setattr(torch.Tensor, PART, property(part_of, set_part))
    setattr(torch.Tensor, _COMPILED_FOR, property(compiled_for))
    traced_draws.install()
    after_import("torch._dynamo.variables.builder", _keep_sizes)
    after_import("torch._dynamo.convert_frame", _convert_frames)
    after_import("torch._functorch.aot_autograd", traced_views.hook)
    after_import("torch._functorch._aot_autograd.graph_compile", _order)
    after_import("torch._functorch._aot_autograd.subclass_codegen", _unwrap_inputs)
    after_import("torch._functorch._aot_autograd.autograd_cache", _keep_out_of_caches)
    after_import("torch._functorch._aot_autograd.runtime_wrappers", _at_run_time)


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


def has_recorded() -> bool:
    """Whether one was, in this process."""
    return _has_recorded


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
        _met.met = True
        source = kwargs.get("source")
        if source is not None and TracingContext.try_get() is not None:
            _guard(source)
        memo = _fakes.setdefault(self, WeakIdKeyDictionary())
        if t not in memo:
            # Sizes are numbers: another shape is another program.
            part = original(self, fake_mode, part_of(t))
            path = torch.ops.weft.path_of(t)
            fake = named(as_traced(of_part(part, layout_of(t), t.shape, t.stride())), path)
            fake.requires_grad_(t.requires_grad)
            if t.requires_grad and not t.is_leaf:
                with torch.enable_grad():
                    fake = named(fake.clone(), path)
            if isinstance(t, torch.nn.Parameter):
                fake._is_param = True
            memo[t] = fake
            traced_writes.stands_for(fake, t)
        return memo[t]

    return from_real_tensor


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
        outer, _met.met = getattr(_met, "met", False), False
        try:
            return traced_sizes.compile_with_numbers(
                lambda: original(self, frame, cache_entry, *args, **kwargs),
                frame.f_code,
                cache_entry is not None,
                lambda: _met.met,
            )
        finally:
            _met.last, _met.met = _met.met, outer

    return call


def _or_python(original: Callable[..., Any], left: Callable[[], Any]) -> Callable[..., Any]:
    """A frame with sharded tensors that cannot be compiled is left to Python, said once; not under fullgraph=True."""

    @functools.wraps(original)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        _met.last = False
        try:
            return original(self, *args, **kwargs)
        except Exception as error:
            if not _met.last or self._inner_convert._box.error_on_graph_break:
                raise
            _tell_error(error)
            return left()

    return call


def _tell_error(error: Exception) -> None:
    """Weft's own reason, where it is one; else the first 400 characters. Without what Dynamo says around it."""
    text = " ".join(str(error).split()).split(" Set TORCHDYNAMO_VERBOSE")[0] or type(error).__name__
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


def _keep_out_of_caches(cache: ModuleType) -> None:
    """Keeps programs with sharded tensors out of AOTAutograd's cache, whose keys tell shapes and no layouts."""
    cls = cache.AOTAutogradCachePickler
    original = cls._reduce_tensor

    @functools.wraps(original)
    def reduce_tensor(self: Any, t: torch.Tensor) -> Any:
        if is_sharded(t):
            raise cache.BypassAOTAutogradCache("sharded tensors are not in the cache's keys")
        return original(self, t)

    cls._reduce_tensor = reduce_tensor


def _keep_sizes(builder: ModuleType) -> None:
    traced_sizes.keep_sizes(builder, _is_real, part_of, PART)


def _order(graph_compile: ModuleType) -> None:
    """The collectives of each graph are ordered before a backend compiles it, and its draws keep their order."""

    def ordering(compiler: Callable[..., Any], met: bool) -> Callable[..., Any]:
        @functools.wraps(compiler)
        def compile_graph(module: Any, *args: Any, **kwargs: Any) -> Any:
            global _has_recorded
            _has_recorded = _has_recorded or met
            _met.program = order_collectives(module)
            with traced_draws.as_op_by_op(module.graph, met):
                compiled = compiler(module, *args, **kwargs)
            return _below_autograd(compiled) if met and getattr(compiled, "_boxed_call", False) else compiled

        return compile_graph

    for name in ("aot_stage2_autograd", "aot_stage2_inference"):
        original = vars(graph_compile)[name]

        @functools.wraps(original)
        def stage(state: Any, capture: Any, partition: Any, *compilers: Any, original: Any = original) -> Any:
            graph, met = capture.graph_module.graph, getattr(_met, "met", False)
            traced_draws.keep_in_forward(graph)
            with traced_draws.as_op_by_op(graph, met):
                return original(state, capture, partition, *(ordering(c, met) for c in compilers))

        vars(graph_compile)[name] = stage


def _below_autograd(compiled: Callable[..., Any]) -> Callable[..., Any]:
    """Gradients are AOTAutograd's matter: without this, functional collectives pass through autograd in Python."""

    def run(given: list[Any]) -> Any:
        with torch._C._AutoDispatchBelowAutograd():
            return compiled(given)

    run._boxed_call = True  # type: ignore[attr-defined]
    return run


def _unwrap_inputs(codegen: ModuleType) -> None:
    """What a compiled program is given of a sharded tensor is its part."""
    original = codegen.codegen_subclass_wrapper

    @functools.wraps(original)
    def codegen_subclass_wrapper(compiled_fn: Any, inp_metas: list[Any], *args: Any, **kwargs: Any) -> Any:
        from torch._functorch._aot_autograd.schemas import PlainTensorMeta

        ours = [
            i
            for i, meta in enumerate(inp_metas)
            if getattr(meta, "original_subclass_type", None) is Traced
            or type(getattr(meta, "original_subclass", None)) is Traced
        ]
        metas = list(inp_metas)
        for i in ours:
            metas[i] = PlainTensorMeta(metas[i].flat_tensor_start_idx)
        run, program = original(compiled_fn, metas, *args, **kwargs), getattr(_met, "program", 0)
        enter, written = torch.ops.weft._enter.default, traced_writes.of(len(inp_metas), ours) if ours else []

        def unwrapped(given: list[Any]) -> Any:
            for i, part in zip(ours, enter([given[i] for i in ours], program, written), strict=True):
                given[i] = part
            return run(given)

        return unwrapped if ours else run

    vars(codegen)["codegen_subclass_wrapper"] = codegen_subclass_wrapper


def _at_run_time(wrappers: ModuleType) -> None:
    traced_views.make_again(wrappers)
    _lay_out_tangents(wrappers)


def _lay_out_tangents(wrappers: ModuleType) -> None:
    """Gradients that come into a compiled backward pass are brought to the layouts it was compiled for."""
    cls = wrappers.AOTDispatchAutograd
    original = cls.process_runtime_tangent

    def process_runtime_tangent(x: Any, meta: Any, *args: Any, **kwargs: Any) -> Any:
        expected = getattr(meta, "original_subclass_type", None)
        if not isinstance(x, torch.Tensor) or isinstance(x, torch._subclasses.FakeTensor):
            return original(x, meta, *args, **kwargs)
        if expected is Traced:
            layout = meta.meta.layout
            form = meta.attrs[PART].memory_format
            return x, [wrappers.coerce_to_expected_memory_format(part_of(laid_out(x, layout)), form)]
        if _is_real(x):  # of a plain result
            x = torch.ops.weft.full_tensor(x)
        return original(x, meta, *args, **kwargs)

    cls.process_runtime_tangent = staticmethod(process_runtime_tangent)
