"""The public names of the Python package, and which of them have no documentation."""

import ast
from collections.abc import Iterator
from pathlib import Path

MODULES = ("weft", "weft.layouts", "weft.hf", "weft.keras")  # what a user imports
Definition = ast.FunctionDef | ast.ClassDef


def file_of(root: Path, module: str) -> Path:
    path = root / "torch_ops" / Path(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def exported(root: Path, module: str) -> list[str]:
    """The module's __all__."""
    for node in ast.parse(file_of(root, module).read_text()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return ast.literal_eval(node.value)
    raise ValueError(f"{module} has no __all__")


def definition(root: Path, module: str, name: str) -> tuple[Path, ast.Module | Definition]:
    """Where a module's name is defined: a function, a class, or a module."""
    file = file_of(root, module)
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, Definition) and node.name == name:
            return file, node
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
                    return definition(root, ".".join(filter(None, (package, node.module))), alias.name)
    inside = file_of(root, f"{module}.{name}")
    return inside, ast.parse(inside.read_text())


def members(node: ast.ClassDef) -> Iterator[ast.FunctionDef]:
    """The public methods and properties that a class defines itself."""
    for member in node.body:
        if isinstance(member, ast.FunctionDef) and not member.name.startswith("_"):
            yield member


def undocumented(root: Path) -> list[str]:
    """A line for each public name without a docstring."""
    found = []
    for module in MODULES:
        for name in exported(root, module):
            file, node = definition(root, module, name)
            nodes = {f"{module}.{name}": node}
            if isinstance(node, ast.ClassDef):
                nodes |= {f"{module}.{name}.{m.name}": m for m in members(node)}
            for full, one in nodes.items():
                if not ast.get_docstring(one):
                    found.append(f"{file.relative_to(root)}:{getattr(one, 'lineno', 1)}: {full} has no docstring")
    return found


def not_shown(root: Path, site: Path) -> list[str]:
    """A line for each public name that the site's reference has no place for."""
    text = "".join(page.read_text() for page in (site / "reference").rglob("*.html"))
    wanted = [f"{module}.{name}" for module in MODULES for name in exported(root, module)]
    return [f"{name} is not in the reference" for name in wanted if f'id="{name}"' not in text]
