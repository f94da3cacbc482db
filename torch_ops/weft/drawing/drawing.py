"""weft.draw."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Sequence
from types import NoneType
from typing import Any

import torch

from ..arguments import needed
from ..files import file_name, write_file
from ..in_step import by_first_rank
from ..layout_map import LayoutMap
from ..maps import map_of
from ..mesh import DeviceMesh
from ..tensors import is_sharded, layout_of, path_of
from . import text
from .held import shown
from .layers import Group, Layer, layers_of
from .picture import WIDTH, Picture, Section, kind_of


class Drawing:
    """Which rank holds which part of what.

    print(drawing)                  # characters
    rich.print(drawing)             # the same in colours
    drawing.save("parts.svg")       # a picture; notebooks show one by themselves
    """

    def __init__(self, layers: Sequence[Layer], mesh: DeviceMesh) -> None:
        self._layers, self._mesh = layers, mesh

    def _lines(self) -> list[text.Line]:
        width = shutil.get_terminal_size((120, 24)).columns
        heading: text.Line = [(f"who holds which part of what on {self._mesh}, by ranks", "bold")]
        return [heading, [], *text.lines_of(self._layers, width)]

    def __str__(self) -> str:
        return text.plain(self._lines())

    __repr__ = __str__

    def __rich__(self) -> Any:
        from rich.text import Text

        lines = [Text.assemble(*(piece for piece in line if piece[0])) for line in self._lines()]
        return Text("\n").join(lines)

    def save(self, path: str | os.PathLike) -> None:
        """Writes a picture, as the file's name says: .png, .svg, .pdf, or what else matplotlib writes. Any rank may.

        Raises:
            ValueError: matplotlib writes no such kind; or the file cannot be written, and one that was there is as it
                was.
            ImportError: matplotlib is not installed; says how to.
        """
        named = file_name(path, "draw: path")
        kind, picture = kind_of(named), io.BytesIO()
        self.picture().save(picture, format=kind)
        write_file(named, picture.getvalue())

    def picture(self, heading: str = "Who holds which part\nof what", width: float = WIDTH) -> Picture:
        """The picture for a figure of one's own: it has a size in points (1/72 inch), and `paint(figure)`.

        Args:
            width: of lines, in points; a variable may be wider.
        """
        return Picture(heading, [Section("", "", self._layers)], self._mesh, width)

    def _repr_svg_(self) -> str:
        file = io.StringIO()
        self.picture().save(file, format="svg")
        return file.getvalue()


def draw(
    what: torch.nn.Module | torch.Tensor,
    path: str | os.PathLike | None = None,
    *,
    layout_map: LayoutMap | None = None,
) -> Drawing:
    """Which rank holds which part of a tensor, or of a module's variables; repeated modules are drawn once.

    Without a path nothing moves, so that one rank alone may call it.

    Args:
        what: a sharded tensor; or a module, distributed or not.
        path: a file to write the picture to: .png, .svg, .pdf, or what else matplotlib writes. Every rank calls it
            then, and the first one writes; one rank alone calls `draw(what).save(path)`.
        layout_map: for variables that are not sharded yet: how they would be; default: the one the module was
            distributed by, else the active one.

    Returns:
        What prints as text.

    Raises:
        ValueError: a plain tensor, or a module with one and no map; what the map's look-ups raise; a kind of picture
            that matplotlib does not write, or a file that cannot be written, on all ranks alike.
        ImportError: a picture is asked for, and matplotlib is not installed; says how to.
    """
    needed(layout_map, (LayoutMap, NoneType), "draw: layout_map")
    if path is not None:
        needed(path, (str, os.PathLike), "draw: path")
    if isinstance(what, torch.nn.Module):
        layers = layers_of(what, map_of(what, layout_map))
        meshes = [v.layout.device_mesh for layer in layers for group in layer.groups for v in group.variables]
        if not meshes:
            raise ValueError(f"[W038] draw: {type(what).__name__} has no variables")
        mesh = meshes[0]
    elif is_sharded(what):
        layout = layout_of(what)
        mesh = layout.device_mesh
        one = shown(path_of(what).rpartition("/")[2] or "tensor", what.shape, layout)
        layers = [Layer(path_of(what).rpartition("/")[0] or "a tensor", "", [Group("", [one])])]
    else:
        raise ValueError(f"[W038] draw: a sharded tensor or a module is needed, got {_named(what)}")
    drawing = Drawing(layers, mesh)
    if path is not None:
        if mesh.simulated_rank is not None:  # which one rank may look at alone
            drawing.save(path)
        else:
            by_first_rank("draw to a file, which every rank calls alike", lambda: drawing.save(path))
    return drawing


def _named(what: Any) -> str:
    return "a plain tensor, which every rank holds whole" if isinstance(what, torch.Tensor) else type(what).__name__
