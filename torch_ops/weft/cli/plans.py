"""weft lint, weft report: what a plan file does with a model."""

from __future__ import annotations

import importlib
import sys
from argparse import Namespace
from typing import Any

import torch

from ..drawing import draw
from ..layout_map import LayoutMap
from ..mesh import DeviceMesh
from ..notes import told
from ..reporting import Report, report
from ..strings import shown

_HARMLESS = ("uneven",)  # kinds of notes that are no mistakes


def add_lint(commands: Any) -> None:
    parser = commands.add_parser(
        "lint",
        help="what is wrong with a plan file for a model",
        description="Looks for patterns that match nothing or too much, layouts that do not fit, and large variables "
        "without one. Exit code 1 where something was found.",
    )
    _add_arguments(parser)
    parser.set_defaults(run=_lint)


def add_report(commands: Any) -> None:
    parser = commands.add_parser(
        "report",
        help="what each variable of a model gets from a plan file",
        description="Prints which patterns give which layouts to which variables, and how many bytes a rank holds.",
    )
    _add_arguments(parser)
    parser.add_argument("--details", action="store_true", help="a row for each variable")
    parser.add_argument(
        "--draw", nargs="?", const="", metavar="FILE", help="who holds which part: as text, or a picture"
    )
    parser.set_defaults(run=_report)


def _add_arguments(parser: Any) -> None:
    parser.add_argument("plan", metavar="PLAN", help="a file that LayoutMap.save has written")
    parser.add_argument(
        "model",
        metavar="MODEL",
        help="module:name of a torch.nn.Module, or of a function without arguments that makes one, called on the meta "
        "device; modules are also looked for in the current folder",
    )
    parser.add_argument("--mesh", metavar="AXIS=SIZE,…", help="instead of the plan's own mesh: data=2,model=4")
    parser.add_argument("--real", action="store_true", help="make the model with memory, not on the meta device")


def _lint(options: Namespace) -> int:
    wrong = _wrong(_look(options)[2])
    for text in wrong:
        print(text)
    print(f"{options.plan}: {len(wrong)} thing{'' if len(wrong) == 1 else 's'} to look at")
    return 1 if wrong else 0


def _wrong(found: Report) -> list[str]:
    return [text for kind, text in told(found.notes) if kind not in _HARMLESS]


def _report(options: Namespace) -> int:
    model, layouts, found = _look(options)
    _print(found.details if options.details else found)
    if options.draw is not None:
        drawing = draw(model, options.draw or None, layout_map=layouts)
        print()
        if options.draw:
            print(f"wrote {options.draw}")
        else:
            _print(drawing)
    return 0


def _print(what: Any) -> None:
    """Prints the report, in colours where there are a terminal and rich."""
    if sys.stdout.isatty() and not isinstance(what, str):
        try:
            from rich import print as print_coloured
        except ImportError:
            pass
        else:
            print_coloured(what)
            return
    print(what)


def _look(options: Namespace) -> tuple[torch.nn.Module, LayoutMap, Report]:
    layouts = LayoutMap.load(options.plan, _mesh(options.mesh))
    model = _model(options.model, "cpu" if options.real else "meta")
    return model, layouts, report(model, layouts)


def _mesh(text: str | None) -> DeviceMesh | None:
    if text is None:
        return None
    shape = mesh_shape(text)
    return DeviceMesh(list(shape.values()), list(shape))


def mesh_shape(text: str) -> dict[str, int]:
    """Ranks by axis from "data=2,model=4". Raises ValueError where the text is not of that form."""
    axes = [part.partition("=")[::2] for part in text.split(",")]
    if not all(name and size.isdecimal() for name, size in axes) or len(dict(axes)) < len(axes):
        raise ValueError(f"[W151] --mesh: {shown(text)} is not of the form data=2,model=4")
    return {name: int(size) for name, size in axes}


def _model(place: str, device: str) -> torch.nn.Module:
    found = named("MODEL", place)
    if not isinstance(found, torch.nn.Module) and callable(found):
        with torch.device(device):
            found = found()
    if not isinstance(found, torch.nn.Module):
        raise ValueError(f"[W038] MODEL: {place} gives a {type(found).__name__}, not a torch.nn.Module")
    return found


def add_step(parser: Any) -> None:
    """The model, and what a training step is made of beside it."""
    parser.add_argument(
        "model", metavar="MODEL", help="module:name of a function without arguments that makes the model"
    )
    parser.add_argument(
        "inputs",
        metavar="INPUTS",
        help="module:name of a whole batch, or of a function without arguments that makes one",
    )
    parser.add_argument("--optimizer", metavar="NAME", help="module:name of it, such as torch.optim:AdamW")
    parser.add_argument("--json", action="store_true", help="all of it as JSON, sizes in bytes")


def step_of(options: Namespace) -> tuple[Any, dict[str, Any]]:
    """The batch, and the arguments `optimizer` and `batch_axis` as `weft.plan` and `weft.search` take them."""
    batch = named("INPUTS", options.inputs)
    return batch() if callable(batch) else batch, {
        "optimizer": named("--optimizer", options.optimizer) if options.optimizer else None,
        "batch_axis": tuple(options.batch_axis.split(",")) if options.batch_axis else None,
    }


def named(what: str, place: str) -> Any:
    """What `module:name` names; modules are also looked for in the current folder.

    Raises:
        ValueError: the text is not of that form, or the module has no such name.
        ImportError: there is no such module.
    """
    module_name, _, name = place.partition(":")
    if not module_name or module_name.startswith(".") or not name:
        raise ValueError(
            f"[W151] {what}: {shown(place)} is not of the form module:name, such as my_package.models:make"
        )
    sys.path.insert(0, "")
    try:
        found: Any = importlib.import_module(module_name)
    finally:
        sys.path.remove("")
    for part in name.split("."):
        if not hasattr(found, part):
            raise ValueError(f"[W151] {what}: {module_name} has no {name}")
        found = getattr(found, part)
    return found
