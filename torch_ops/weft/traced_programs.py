"""Compiled programs on sharded tensors: what AOTAutograd makes of a traced one.

A program gets the parts of what it is given, and sharded tensors are made of what it returns.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch
from torch.fx import Graph, Node

from . import traced_draws, traced_views, traced_writes
from .after_import import after_import
from .collective_order import order_collectives
from .known_to_dynamo import left_alone
from .tensors import is_sharded
from .traced import PART, Traced, laid_out, part_of

# Of what is compiled: whether it has sharded tensors (.met), and which collectives (.program).
compiled = threading.local()
_has_recorded = False


def install() -> None:
    """Hooks into AOTAutograd, once."""
    after_import("torch._functorch.aot_autograd", traced_views.hook)
    after_import("torch._functorch._aot_autograd.graph_compile", _order)
    after_import("torch._functorch._aot_autograd.subclass_codegen", _unwrap_inputs)
    after_import("torch._functorch._aot_autograd.autograd_cache", _keep_out_of_caches)
    after_import("torch._functorch._aot_autograd.runtime_wrappers", _at_run_time)


def has_recorded() -> bool:
    """Whether a program on sharded tensors was compiled in this process."""
    return _has_recorded


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


def _order(graph_compile: ModuleType) -> None:
    """The collectives of each graph are ordered before a backend compiles it, and its draws keep their order."""

    def ordering(compiler: Callable[..., Any], met: bool) -> Callable[..., Any]:
        @torch.compiler.disable  # a backward pass is compiled as its program runs, which Dynamo may be watching
        @functools.wraps(compiler)
        def compile_graph(module: Any, *args: Any, **kwargs: Any) -> Any:
            global _has_recorded
            _has_recorded = _has_recorded or met
            compiled.program = order_collectives(module)
            with traced_draws.as_op_by_op(module.graph, met):
                run = compiler(module, *args, **kwargs)
            return _below_autograd(run) if met and getattr(run, "_boxed_call", False) else run

        return compile_graph

    for name in ("aot_stage2_autograd", "aot_stage2_inference"):
        original = vars(graph_compile)[name]

        @functools.wraps(original)
        def stage(state: Any, capture: Any, partition: Any, *compilers: Any, original: Any = original) -> Any:
            met = getattr(compiled, "met", False)
            if met:
                _keep_in_forward(capture.graph_module.graph)
            with traced_draws.as_op_by_op(capture.graph_module.graph, met):
                return original(state, capture, partition, *(ordering(c, met) for c in compilers))

        vars(graph_compile)[name] = stage


def _keep_in_forward(graph: Graph) -> None:
    """What forward draws and moves backward does not draw and move again. (It would where it has all that this needs:
    such ops are never left out as unused.) Forward moves as well what backward moves that needs no gradient, which else
    would go by the sizes of a rank's parts."""
    of_gradients: set[Node] = set()
    moved: set[Node] = set()
    for node in graph.nodes:
        if (node.op == "placeholder" and "tangents" in node.name) or not of_gradients.isdisjoint(node.all_input_nodes):
            of_gradients.add(node)
        moves = getattr(node.target, "namespace", "") == "_c10d_functional" and node not in of_gradients
        draws = traced_draws.begins_draw(node) and not _is_backward(node)
        if (moves or draws) and "recompute" not in node.meta:
            if _is_backward(node):
                moved.add(node)
            node.meta["partitioner_tag"] = "must_be_in_forward"
    if moved:
        _to_forward(graph, moved, of_gradients)


def _to_forward(graph: Graph, moved: set[Node], of_gradients: set[Node]) -> None:
    """Nodes, and what they need, to before all that needs a gradient: partitioners take a graph as it is ordered."""
    needed = set(moved)
    for node in reversed(graph.nodes):
        if node in needed:
            needed.update(n for n in node.all_input_nodes if _is_backward(n))
    begin = next((n for n in graph.nodes if n in of_gradients and n.op != "placeholder"), graph.output_node())
    is_past = False
    for node in list(graph.nodes):
        is_past = is_past or node is begin
        if node not in needed:
            continue
        if is_past:
            begin.prepend(node)
        node.meta["partitioner_tag"] = "must_be_in_forward" if node in moved else "is_forward"
    # One of them takes forward to end with the last node that has just that tag.
    end = next(node for node in reversed(graph.nodes) if node in moved)  # waits for what moves
    with graph.inserting_after(end):
        last = graph.call_function(torch.ops.aten.alias.default, (end,))
    last.meta = {**end.meta, "partitioner_tag": "is_forward"}
    end.replace_all_uses_with(last, lambda user: user is not last)


def _is_backward(node: Node) -> bool:
    return node.meta.get("partitioner_tag") == "is_backward"


def _below_autograd(program: Callable[..., Any]) -> Callable[..., Any]:
    """Gradients are AOTAutograd's matter: without this, functional collectives pass through autograd in Python.

    Where a program fails on one rank alone, the others are told, as by an op.
    """

    @left_alone
    def run(given: list[Any]) -> Any:
        try:
            with torch._C._AutoDispatchBelowAutograd():
                return program(given)
        except Exception as e:
            torch.ops.weft.report_failure("a compiled program", f"{type(e).__name__}: {e}")
            raise

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
        run, program = original(compiled_fn, metas, *args, **kwargs), getattr(compiled, "program", 0)
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

    @left_alone
    def process_runtime_tangent(x: Any, meta: Any, *args: Any, **kwargs: Any) -> Any:
        expected = getattr(meta, "original_subclass_type", None)
        if not isinstance(x, torch.Tensor) or isinstance(x, torch._subclasses.FakeTensor):
            return original(x, meta, *args, **kwargs)
        if expected is Traced:
            torch.ops.weft._begin_backward(x)
            layout = meta.meta.layout
            form = meta.attrs[PART].memory_format
            return x, [wrappers.coerce_to_expected_memory_format(part_of(laid_out(x, layout)), form)]
        if is_sharded(x) and type(x) is not Traced:  # of a plain result
            x = torch.ops.weft.full_tensor(x)
        return original(x, meta, *args, **kwargs)

    cls.process_runtime_tangent = staticmethod(process_runtime_tangent)
