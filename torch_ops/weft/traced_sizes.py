"""Sizes in compiled programs: numbers wherever sharded tensors are, so that another size is another program.

Dynamo makes a symbol of a size that has varied. Code in which it has met sharded tensors it compiles with numbers, and
anew where it found out too late. What a program asks to be a symbol by itself is refused by its name.
"""

from __future__ import annotations

import contextlib
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from types import CodeType, ModuleType
from typing import Any

import torch
from torch.utils import _pytree as pytree

_NUMBERS = (
    "where sharded tensors are, sizes are numbers in compiled programs, and another size is another program. Leave "
    "out mark_dynamic and dynamic=True there: torch.compile compiles such code anew for each size by itself"
)
_with_sharded: weakref.WeakSet[CodeType] = weakref.WeakSet()
_found = threading.local()  # a symbol, while a frame is compiled


def compile_with_numbers(compile_frame: Callable[[], Any], code: CodeType, again: bool, met: Callable[[], bool]) -> Any:
    """Compiles a frame, without symbols where its code is known to see sharded tensors.

    Args:
        again: the code was compiled before, so that sizes may have varied.
        met: whether the frame had sharded tensors.
    """
    _found.symbol = False
    if code in _with_sharded:
        with _numbers():
            return compile_frame()
    try:
        compiled = compile_frame()
        if not (met() and _found.symbol):
            return compiled
    except Exception:
        if not met() or not (again or _found.symbol):
            raise
    finally:
        if met():
            _with_sharded.add(code)
    with _numbers():
        return compile_frame()


def _numbers() -> contextlib.AbstractContextManager[Any]:
    return torch._dynamo.config.patch(automatic_dynamic_shapes=False)


def refuse_symbols(args: Sequence[Any], kwargs: Any) -> None:
    """What an op on sharded tensors is given beside them has sizes, and is made, of numbers.

    Raises:
        NotImplementedError: it does not.
    """
    for symbol in _symbols(pytree.arg_tree_leaves(*args, **kwargs)):
        _found.symbol = True
        raise NotImplementedError(f"[W067] weft: {_name(symbol)} is a symbol; {_NUMBERS}")


def _symbols(leaves: Sequence[Any]) -> Iterator[torch.SymInt]:
    for leaf in leaves:
        sizes = leaf.shape if isinstance(leaf, torch.Tensor) else (leaf,)
        yield from (n for n in sizes if isinstance(n, torch.SymInt))


def _name(symbol: torch.SymInt) -> str:
    """As the program has it: x.size()[0]."""
    node: Any = symbol.node
    sources = node.shape_env.var_to_sources
    for part in sorted(node.expr.free_symbols, key=str):
        for source in sources.get(part, ()):
            return _as_written(source)
    return str(symbol)


def _as_written(source: Any) -> str:
    """What a frame calls it, without Dynamo's look-up among the locals."""
    return source.name.replace("L['", "").replace("']", "", 1)


def keep_sizes(
    builder: ModuleType, is_sharded: Callable[[Any], bool], part_of: Callable[[Any], Any], part: str
) -> None:
    """No size of a sharded tensor becomes a symbol."""
    original = builder._automatic_dynamic

    def automatic_dynamic(e: Any, tx: Any, source: Any, static_shapes: bool, *args: Any, **kwargs: Any) -> Any:
        if not is_sharded(e):
            return original(e, tx, source, static_shapes, *args, **kwargs)
        from torch._dynamo.source import AttrSource
        from torch.fx.experimental.symbolic_shapes import SubclassSymbolicContext

        _refuse_marks(e, source, static_shapes)
        outer = original(e, tx, source, True, *args, **kwargs)
        inner = original(part_of(e), tx, AttrSource(source, part), True)
        return SubclassSymbolicContext(
            dynamic_sizes=outer.dynamic_sizes,
            dynamic_strides=outer.dynamic_strides,
            constraint_sizes=outer.constraint_sizes,
            constraint_strides=outer.constraint_strides,
            view_base_context=outer.view_base_context,
            tensor_source=outer.tensor_source,
            shape_env_to_source_to_symbol_cache=outer.shape_env_to_source_to_symbol_cache,
            inner_contexts={part: inner},
        )

    vars(builder)["_automatic_dynamic"] = automatic_dynamic


def _refuse_marks(tensor: torch.Tensor, source: Any, static_shapes: bool) -> None:
    marks = ("_dynamo_dynamic_indices", "_dynamo_unbacked_indices", "_dynamo_strict_unbacked_indices")
    marked = sorted({i for mark in marks for i in getattr(tensor, mark, ())})
    name = _as_written(source)
    if marked:
        raise NotImplementedError(f"[W067] weft: size {marked[0]} of {name} is marked as a symbol; {_NUMBERS}")
    if not static_shapes and not torch._dynamo.config.assume_static_by_default:
        raise NotImplementedError(f"[W067] weft: the sizes of {name} are to be symbols (dynamic=True); {_NUMBERS}")
