"""LayoutMap: patterns over variable paths -> layouts, with Keras's rules."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from .arguments import needed
from .axes import Axes, axes_tuple
from .files import file_name
from .handle import Handle
from .mesh import DeviceMesh, TensorLayout
from .strings import checked, shown

if TYPE_CHECKING:
    from .layouts.plan import Plan


class LayoutMatch(NamedTuple):
    """The entry that a path found."""

    pattern: str
    axes: tuple  # for the variable's own dimensions
    spelling: str  # the spelling of the path that matched: ".../kernel" for a Linear's ".../weight"


class LayoutMap(Handle, MutableMapping):
    """Ordered entries pattern -> axes over one mesh.

    Keras's rules: an exact key wins; else every pattern is tried against the whole path (full match), and more than one
    match is an error; none means that the variable is replicated. A path finds the same entry in "/" and in "." form
    ("layers/0/weight", "layers.0.weight"), and a leaf by both frameworks' names (kernel, weight) where the type of
    its module is known. Patterns are RE2's: no look-around, no backreferences.

        layouts = weft.LayoutMap(mesh)
        layouts[r"layers/.*/q_proj/weight"] = ("model", None)

    `weft.layouts` makes maps for a whole model; `one | other` gives each variable the axes of both.

    Args:
        device_mesh: the mesh that the entries' axes belong to.
        entries: patterns and axes to begin with.
    """

    _plan: Plan | None = None  # of a map that weft.layouts made

    def __init__(self, device_mesh: DeviceMesh, entries: Mapping[str, Axes | TensorLayout] | None = None) -> None:
        if not isinstance(device_mesh, DeviceMesh):
            raise ValueError(f"[W038] LayoutMap: a weft.DeviceMesh is needed, got {type(device_mesh).__name__}")
        self._object = torch.classes.weft.LayoutMap(device_mesh._object)
        for pattern, axes in needed(entries or {}, Mapping, "LayoutMap: entries").items():
            self[pattern] = axes

    @property
    def device_mesh(self) -> DeviceMesh:
        """The mesh that the entries' axes belong to."""
        return DeviceMesh._wrap(self._object.mesh())

    def __setitem__(self, pattern: str, axes: Axes | TensorLayout) -> None:
        """An entry; one that weft.layouts made with that text, or for that very path, gives way to it.

        Raises:
            ValueError: naming the pattern: a duplicate, no valid expression, an axis unknown or used twice.
        """
        pattern = checked(pattern, "LayoutMap: pattern")
        if isinstance(axes, TensorLayout):
            if axes.device_mesh != self.device_mesh:
                raise ValueError(
                    f"[W031] LayoutMap: the layout of {shown(pattern)} is on {axes.device_mesh}, the map on "
                    f"{self.device_mesh}"
                )
            axes = axes.axes
        axes = axes_tuple(axes, f"LayoutMap: pattern {shown(pattern)}")
        made = self._plan.given_way(pattern) if self._plan is not None else None
        if made is not None and made in self:
            TensorLayout(axes, self.device_mesh)  # raises before anything is changed
            self._object.erase(made)
        self._object.insert(pattern, axes)

    def __getitem__(self, path: str) -> TensorLayout | None:
        """The layout that a path's entry names; None where no entry matches.

        Raises:
            ValueError: several entries match; names them all.
        """
        match = self.lookup(path)
        return TensorLayout(match.axes, self.device_mesh) if match else None

    def get(self, path: str, default: Any = None) -> Any:
        """The same as `layouts[path]`, with another value where no entry matches."""
        found = self[path]
        return default if found is None else found

    def __delitem__(self, pattern: str) -> None:
        self._object.erase(checked(pattern, "LayoutMap: pattern"))

    def __contains__(self, pattern: object) -> bool:
        try:
            return self._object.contains(checked(pattern, "LayoutMap: pattern"))
        except ValueError:
            return False

    def __iter__(self) -> Iterator[str]:
        return iter(self._object.patterns())

    def __len__(self) -> int:
        return len(self._object.patterns())

    def rules(self) -> list[tuple[str, tuple]]:
        """(pattern, axes) in the order of insertion."""
        return [(p, tuple(self._object.axes(p))) for p in self]

    def items(self) -> list[tuple[str, tuple]]:  # type: ignore[override]
        """The same as `rules()`."""
        return self.rules()

    def lookup(self, path: str, module_type: str = "") -> LayoutMatch | None:
        """The entry for a variable's path; None where none matches.

        Args:
            path: in "/" or "." form.
            module_type: of the module that owns the variable ("Linear", "Dense"), for the other framework's leaf names.
        """
        found = self._object.lookup(*_names(path, module_type))
        return LayoutMatch(*found) if found else None

    def layout_for(self, path: str, shape: Sequence[int], module_type: str = "") -> TensorLayout:
        """The layout of a variable of that shape; replicated where no entry matches.

        Raises:
            ValueError: several entries match, or the entry names another number of dimensions.
        """
        path, module_type = _names(path, module_type)
        return TensorLayout._wrap(self._object.layout_for(path, list(shape), module_type))

    def matching(self, path: str, module_type: str = "") -> list[str]:
        """The patterns of all entries that match."""
        return self._object.matching(*_names(path, module_type))

    def to_json(self) -> str:
        """A plan file's text: mesh and rules."""
        return self._object.to_json()

    @classmethod
    def from_json(cls, text: str, device_mesh: DeviceMesh | None = None) -> LayoutMap:
        """Reads `to_json`'s text; a mesh that is given takes the place of the text's own.

        Raises:
            ValueError: with line and column.
        """
        mesh = device_mesh._object if device_mesh else None
        return cls._wrap(torch.classes.weft.LayoutMap.from_json(checked(text, "LayoutMap: a plan"), mesh, "layout map"))

    def save(self, file: str | os.PathLike) -> None:
        """Writes a plan file, replacing one that is there in one step.

        Raises:
            ValueError: it cannot be written; one that was there is as it was.
        """
        self._object.save(file_name(file, "LayoutMap: file"))

    @classmethod
    def load(cls, file: str | os.PathLike, device_mesh: DeviceMesh | None = None) -> LayoutMap:
        """Reads a plan file."""
        mesh = device_mesh._object if device_mesh else None
        return cls._wrap(torch.classes.weft.LayoutMap.load(file_name(file, "LayoutMap: file"), mesh))

    def __or__(self, other: LayoutMap) -> LayoutMap:
        """Each variable with the axes of both maps: `fsdp(...) | megatron(...)`.

        Where both split one dimension, the left map's axes are the outer ones, but those of `layouts.fsdp` always the
        inner. A map of `weft.layouts` knows its model, and the result is then made for that model, path by path; maps
        written by hand are joined entry by entry, entries of the same text as one, and a path that two others of them
        match stays refused where it is looked up.

        Raises:
            ValueError: the maps are on different meshes; or, naming the path and both layouts, an axis splits
                different dimensions of a variable, or the layouts are for different numbers of dimensions.
        """
        if not isinstance(other, LayoutMap):
            return NotImplemented
        from .layouts.union import union

        return union(self, other)

    def __deepcopy__(self, memo: dict) -> LayoutMap:
        copied = LayoutMap(self.device_mesh, dict(self.rules()))
        copied._plan = self._plan.copy() if self._plan is not None else None
        return copied

    __copy__ = lambda self: self.__deepcopy__({})  # noqa: E731

    def __reduce__(self) -> tuple:
        return LayoutMap.from_json, (self.to_json(),)

    def __repr__(self) -> str:
        rules = self.rules()
        width = max((len(p) for p, _ in rules), default=0)
        lines = [f"  {p:<{width}} -> {axes}" for p, axes in rules]
        notes = self._plan.notes_shown() if self._plan is not None else []
        return "\n".join([f"LayoutMap on {self.device_mesh}, {len(rules)} entries", *lines, *notes])


def _names(path: Any, module_type: Any) -> tuple[str, str]:
    return checked(path, "LayoutMap: path"), checked(module_type, "LayoutMap: module type")
