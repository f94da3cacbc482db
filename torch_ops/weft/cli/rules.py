"""weft rules: how ops may be split."""

from __future__ import annotations

import difflib
import sys
from argparse import Namespace
from typing import Any

import torch


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "rules",
        help="how ops may be split",
        description="Prints the rules; docs/rules.md explains the notation. Exit code 1 where an op has none: its "
        "inputs are gathered.",
    )
    parser.add_argument("op", metavar="OP", nargs="?", help="one op: mm, add.Tensor, mylib::op; in-place ones too")
    parser.set_defaults(run=_run)


def _run(options: Namespace) -> int:
    lines = [tuple(line.split(": ", 1)) for line in torch.ops.weft.rules()]
    if options.op is not None:
        lines = [(op, text) for op, text in lines if _speaks_of(op, options.op)]
    for op, text in lines:
        print(f"{op}: {text}")
    if lines:
        return 0
    names = {line.split(": ", 1)[0].partition(".")[0] for line in torch.ops.weft.rules()}
    near = difflib.get_close_matches(_base(options.op), sorted(names), n=3)
    hint = f"; similar: {', '.join(near)}" if near else ""
    print(f"weft: no rule for {options.op}: its inputs are gathered{hint}", file=sys.stderr)
    return 1


def _speaks_of(op: str, asked: str) -> bool:
    """In-place, out= and foreach variants follow the rule of the op that they are variants of."""
    name, _, overload = op.partition(".")
    wanted, _, of = asked.removeprefix("aten::").partition(".")
    return name in (wanted, _base(asked)) and of in ("", "default", "out", overload)


def _base(asked: str) -> str:
    """The name of the op that a variant is of."""
    namespace, colons, name = asked.removeprefix("aten::").partition(".")[0].rpartition("::")
    name = name.removeprefix("_foreach_")
    return namespace + colons + (name if name.endswith("__") else name.removesuffix("_"))
