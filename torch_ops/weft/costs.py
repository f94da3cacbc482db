"""What the planner takes collectives to cost."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence

import torch

from . import _library  # noqa: F401
from .arguments import needed
from .axes import Axes
from .files import file_name, write_file
from .mesh import DeviceMesh, TensorLayout
from .tensors import as_layout
from .text_table import human, table


class Cost:
    """How long collectives over a mesh's axes take, as plans are chosen by it; all ranks have the same.

        print(weft.cost(mesh))                      # a table
        weft.cost(mesh).seconds("all_gather", "data", 1 << 20)
        weft.cost(mesh).redistribution((4096, 4096), ("data", None), (None, "data"))
        weft.cost(mesh).save("cost.json")           # WEFT_COST=cost.json: later runs take it from there

    Attributes:
        source: "measured", "fixed", or the file's path.
        products_per_second: multiplications and additions of float32 that one rank is taken to compute.
        memory_bytes_per_second: that its other ops read and write.
    """

    def __init__(self, mesh: DeviceMesh) -> None:
        self._mesh = mesh
        self._text: str = torch.ops.weft.mesh_cost(mesh._object)
        known = json.loads(self._text)
        self.source: str = known["source"]
        self.products_per_second: int = known["products_per_second"]
        self.memory_bytes_per_second: int = known["memory_bytes_per_second"]
        self._axes: dict[str, dict] = known["axes"]
        self._bytes: list[int] = known["bytes"]

    def seconds(self, kind: str, axis: str, bytes: int) -> float:
        """What a collective takes. `bytes`: those that a rank holds before or after it, whichever are more.

        Raises ValueError for an unknown kind ("all_gather", "all_to_all", "all_reduce", "reduce_scatter") or axis.
        """
        return torch.ops.weft.collective_seconds(self._mesh._object, kind, axis, bytes)

    def redistribution(
        self,
        shape: Sequence[int],
        before: Axes | TensorLayout,
        after: Axes | TensorLayout,
        dtype: torch.dtype = torch.float32,
    ) -> float:
        """Seconds that a tensor of that shape needs from one layout to another: of all collectives on the way that
        `distribute_tensor` and ops take; 0 where nothing is sent.

            weft.cost(mesh).redistribution((4096, 4096), ("model", None), (None, "model"))

        Raises ValueError where a layout is not for that number of dimensions or on another mesh.
        """
        sizes = [needed(n, int, "redistribution: a size") for n in needed(shape, Sequence, "redistribution: shape")]
        layouts = [as_layout(given, self._mesh)._object for given in (before, after)]
        size = needed(dtype, torch.dtype, "redistribution: dtype").itemsize
        return torch.ops.weft.redistribution_seconds(sizes, size, *layouts)

    def save(self, path: str | os.PathLike) -> None:
        """Writes the JSON file that the environment variable WEFT_COST may name. Any rank may, or all to one path.

        Raises ValueError where it cannot be written; one that was there is as it was.
        """
        write_file(file_name(path, "Cost.save: path"), self._text.encode())

    def __str__(self) -> str:
        lines = [("axis", "collective", *(human(size) for size in self._bytes))]
        for axis, kinds in self._axes.items():
            for kind, times in kinds.items():
                if kind != "ranks":
                    lines.append((axis, kind, *(f"{ns / 1e3:.0f} us" for ns in times)))
        rate = f"{self.products_per_second / 1e9:.1f} G products a second"
        memory = f"{self.memory_bytes_per_second / 1e9:.1f} GB/s of its own memory"
        columns = tuple(range(2, 2 + len(self._bytes)))
        return f"{table(lines, right=columns)}\n{self.source}; {rate} on a rank, and {memory}"

    def __repr__(self) -> str:
        return f"Cost({self._mesh!r}, {self.source!r})"


def cost(device_mesh: DeviceMesh) -> Cost:
    """What the planner takes collectives over the mesh's axes to cost.

    20 us and 10 GB/s, whatever the machine: plans, and with them the last bits of results, are the same in every run.
    With `WEFT_COST=measure` in the environment it is measured where the mesh is first planned for, in a second at most:
    what is asked about before any op ran is measured then, so every rank has to ask. `WEFT_COST` may also be the path
    of a file of `Cost.save`.

    Raises ValueError, the same on all ranks, for such a file that cannot be read, differs between ranks or is of a mesh
    of other axes.
    """
    return Cost(needed(device_mesh, DeviceMesh, "cost: device_mesh"))
