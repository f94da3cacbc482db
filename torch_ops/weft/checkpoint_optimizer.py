"""An optimizer's state by the names of its parameters, which hold for any mesh and any order of the parameters."""

from __future__ import annotations

import collections
from typing import Any, TypeGuard

import torch

from . import checkpoint_values as values
from .mesh import TensorLayout
from .strings import listed, shown
from .tensors import layout_of

Flagged = dict[str, tuple[torch.Tensor, bool]]  # tensors by name


class Named:
    """An optimizer whose parameters have names: those in the module, else their numbers."""

    def __init__(self, optimizer: torch.optim.Optimizer, model: Any) -> None:
        self.optimizer = optimizer
        known = {}
        if isinstance(model, torch.nn.Module):
            known = {id(p): name for name, p in model.named_parameters()}
        self.parameters: dict[str, torch.Tensor] = {}
        for i, p in enumerate(p for group in optimizer.param_groups for p in group["params"]):
            name = known.get(id(p), str(i))
            if name in self.parameters:
                raise ValueError(
                    f"[W117] two of the optimizer's parameters are {shown(name)}: parameters that have no name in the "
                    "model go by their numbers, and a name is such a number; put all parameters into the model"
                )
            self.parameters[name] = p
        self.names = list(self.parameters)

    def values(self) -> dict[str, Any]:
        """The state dict, with names in place of numbers."""
        packed = self.optimizer.state_dict()
        packed["state"] = {self.names[k] if isinstance(k, int) else k: v for k, v in packed["state"].items()}
        packed["param_groups"] = [{**g, "params": [self.names[i] for i in g["params"]]} for g in packed["param_groups"]]
        return packed

    def check(self, saved: Any) -> None:
        """Raises ValueError where a checkpoint's optimizer is of another kind, or has other parameters or groups."""
        kind = saved.get("kind")  # of C++
        own = [c.__name__ for c in type(self.optimizer).__mro__ if c.__module__.startswith("torch.optim")]
        if kind is not None and kind.rpartition("::")[2] not in own[:1]:
            raise ValueError(
                f"[W113] load: the optimizer that was saved is of another kind, {shown(kind)}, not "
                f"{type(self.optimizer).__name__}"
            )
        groups = values.decode(saved["param_groups"], _Anything())
        theirs = [name for group in groups for name in group["params"]]
        missing = sorted(set(self.names) - set(theirs))
        unexpected = sorted(set(theirs) - set(self.names))
        if missing or unexpected:
            raise ValueError(
                "[W113] load: the optimizer has other parameters than the one that was saved: "
                f"{listed(missing) or 'none'} are missing in the checkpoint, {listed(unexpected) or 'none'} are in it "
                "alone (parameters go by the names in the model that is passed beside the optimizer)"
            )
        saved_groups = collections.Counter(frozenset(g["params"]) for g in groups)
        for mine in self._groups():
            saved_groups[frozenset(mine)] -= 1
            if saved_groups[frozenset(mine)] < 0:
                raise ValueError(
                    f"[W113] load: the optimizer has a parameter group of {listed(mine)}, and the checkpoint none of "
                    "just these"
                )

    def _groups(self) -> list[list[str]]:
        names = iter(self.names)
        return [[next(names) for _ in group["params"]] for group in self.optimizer.param_groups]

    def memory_for(
        self, saved: Any, likes: dict[str, tuple[torch.Tensor, bool]]
    ) -> dict[str, tuple[torch.Tensor, bool]]:
        """For each of the saved tensors one to fill, and whether it is state that is there already.

        Args:
            likes: by name, a meta tensor of its shape and dtype, and whether it was sharded.
        """
        found: Flagged = {}
        for owner, entry in saved["state"].items():
            parameter = self.parameters.get(owner)
            there = self.optimizer.state.get(parameter, {}) if parameter is not None else {}
            for key, value in entry.items() if isinstance(entry, dict) else ():
                for name in values.tensor_names(value):
                    known = there.get(key) if value == values.tensor_at(name) else None
                    like, was_sharded = likes[name]
                    if _is_like(known, like) and _on_one_mesh(known, parameter):
                        found[name] = known, True
                    else:
                        found[name] = _state_of(parameter, like, was_sharded), False
        for name, (like, _) in likes.items():  # of what belongs to no parameter, and of the groups
            found.setdefault(name, (torch.empty_like(like, device="cpu"), False))
        return found

    def restore(self, saved: Any, tensors: dict[str, torch.Tensor]) -> None:
        packed = values.decode(saved, tensors)
        # load_state_dict gives each parameter what stands at its place in the groups.
        numbers = {name: i for i, name in enumerate(self.names)}
        packed["state"] = {numbers.get(owner, owner): entry for owner, entry in packed["state"].items()}
        by_names: dict[frozenset[str], list[Any]] = {}
        for group in reversed(packed["param_groups"]):
            by_names.setdefault(frozenset(group["params"]), []).append(group)
        packed["param_groups"] = [  # an option that was not saved, as one that C++ has not, stays as it is
            {**now, **_in_order(by_names[frozenset(mine)].pop(), mine), "params": [numbers[name] for name in mine]}
            for now, mine in zip(self.optimizer.param_groups, self._groups(), strict=True)
        ]
        self.optimizer.load_state_dict(packed)


def _in_order(group: dict[str, Any], names: list[str]) -> dict[str, Any]:
    """A saved group with what it says of each parameter in the order of the names."""
    if "param_names" not in group:
        return group
    own = dict(zip(group["params"], group["param_names"], strict=True))
    return {**group, "param_names": [own[name] for name in names]}


def _is_like(known: Any, like: torch.Tensor) -> TypeGuard[torch.Tensor]:
    return isinstance(known, torch.Tensor) and known.shape == like.shape and known.dtype == like.dtype


def _on_one_mesh(state: torch.Tensor, parameter: torch.Tensor | None) -> bool:
    """Not where the parameter was laid out over another mesh since."""
    if parameter is None or not all(map(torch.ops.weft.is_sharded, (state, parameter))):
        return True
    return layout_of(state).device_mesh == layout_of(parameter).device_mesh


class _Anything(dict):
    def __missing__(self, name: str) -> None:
        return None


def _state_of(parameter: torch.Tensor | None, like: torch.Tensor, was_sharded: bool) -> torch.Tensor:
    """Memory for a parameter's state, laid out as it is; what was plain beside a sharded parameter stays plain."""
    if parameter is not None and torch.ops.weft.is_sharded(parameter):
        same = like.shape == parameter.shape
        layout = layout_of(parameter)
        if not same:
            layout = TensorLayout((None,) * like.dim(), layout.device_mesh)
        if same or was_sharded:
            return torch.ops.weft._empty(like.shape, layout._object, dtype=like.dtype, device=parameter.device)
    device = parameter.device if parameter is not None and like.dim() > 0 else torch.device("cpu")
    return torch.empty_like(like, device=device)
