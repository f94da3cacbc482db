"""weft search: layouts of a model found by search, before it runs."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from ..searching import search
from ..strings import shown
from .plans import add_step, mesh_shape, named, step_of

_UNITS = {"KiB": 10, "MiB": 20, "GiB": 30, "TiB": 40}


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "search",
        help="the layout with the quickest training step that fits into memory",
        description="Looks at many layouts of a model on a mesh, on shapes alone in one process without the memory "
        "that they take, and prints the one whose training step is the quickest by the costs of collectives, "
        "arithmetic and memory, its figures and the next best.",
    )
    add_step(parser)
    parser.add_argument(
        "--mesh",
        metavar="AXIS=SIZE,…",
        required=True,
        help="data=2,model=4; or a number of ranks, of which all meshes of two axes are tried",
    )
    parser.add_argument("--memory", metavar="SIZE", help="that a rank has, such as 80GiB; default: no limit")
    parser.add_argument("--batch-axis", metavar="AXIS,…", help="over which the batch is split; default: it is chosen")
    tries = "layouts that are looked at, at most, beside those that a search begins with (100)"
    parser.add_argument("--tries", type=int, default=100, help=tries)
    parser.add_argument("--save", metavar="PLAN", help="a plan file to write, for weft lint, report and plan")
    parser.set_defaults(run=_run)


def _run(options: Namespace) -> int:
    batch, step = step_of(options)
    found = search(
        named("MODEL", options.model),
        int(options.mesh) if options.mesh.isdecimal() else mesh_shape(options.mesh),
        batch,
        memory=_bytes(options.memory) if options.memory else None,
        **step,
        tries=options.tries,
    )
    print(found.json() if options.json else found)
    if options.save:  # after it is told, as the file may be refused
        found.save(options.save)
    return 0


def _bytes(text: str) -> int:
    """Raises ValueError where the text is not of the form 80GiB."""
    number, unit = text.rstrip("KMGTiB"), text[len(text.rstrip("KMGTiB")) :]
    try:
        return int(float(number) * 2 ** (_UNITS[unit] if unit else 0))
    except (KeyError, ValueError, OverflowError):
        raise ValueError(f"[W151] --memory: {shown(text)} is not of the form 80GiB or 512MiB") from None
