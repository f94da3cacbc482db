"""weft plan: what a training step takes under a plan file, before it runs."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from ..layout_map import LayoutMap
from ..planning import plan
from .plans import add_step, mesh_shape, named, step_of


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "plan",
        help="memory and collectives of a training step, before it runs",
        description="Runs forward, backward and optimizer on shapes alone, in one process without the memory that they "
        "take, and prints what one rank of the mesh holds and sends: peak memory by kind and variable, collectives and "
        "bytes of a step, gathers without a rule, dimensions that do not divide, variables without a layout.",
    )
    parser.add_argument("plan", metavar="PLAN", help="a file that LayoutMap.save has written")
    add_step(parser)
    parser.add_argument("--mesh", metavar="AXIS=SIZE,…", help="instead of the plan's own mesh: data=2,model=4")
    parser.add_argument("--batch-axis", metavar="AXIS,…", help="over which the batch is split; default: data or batch")
    parser.add_argument("--rank", type=int, default=0, help="whose part is looked at (0)")
    parser.set_defaults(run=_run)


def _run(options: Namespace) -> int:
    if options.mesh is not None:
        shape = mesh_shape(options.mesh)
    else:
        mesh = LayoutMap.load(options.plan).device_mesh
        shape = dict(zip(mesh.axis_names, mesh.shape, strict=True))
    batch, step = step_of(options)
    planned = plan(
        named("MODEL", options.model),
        shape,
        options.plan,
        batch,
        **step,
        rank=options.rank,
    )
    print(planned.json() if options.json else planned)
    return 0
