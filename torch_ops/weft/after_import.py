"""Changes to other libraries, made once these are imported."""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any


def after_import(name: str, then: Callable[[ModuleType], None]) -> None:
    """Calls `then` with the module, now or once it is imported."""
    module = sys.modules.get(name)
    if module is not None:
        then(module)
    else:
        sys.meta_path.insert(0, _AfterImport(name, then))


def replace_everywhere(function: Any, replacement: Any, package: str = "") -> None:
    """Wherever a module, of that package, has it under its own name, as `from module import name` leaves it there."""
    name = function.__name__
    for module_name, module in list(sys.modules.items()):
        if module_name.startswith(package) and getattr(module, "__dict__", {}).get(name) is function:
            setattr(module, name, replacement)


class _AfterImport(importlib.abc.MetaPathFinder):
    """Calls `then` with the module once it is imported."""

    def __init__(self, name: str, then: Callable[[ModuleType], None]) -> None:
        self._name, self._then = name, then

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != self._name:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is None or spec.loader is None:
            return spec
        execute = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            execute(module)
            self._then(module)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec
