"""The reference page of torch.ops.weft and torch.classes.weft, made from where they are registered, and what of them
has no documentation."""

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path

FOLDER = "torch_ops"
CLASS = "__torch__.torch.classes.weft."


@dataclasses.dataclass(frozen=True)
class Op:
    where: str  # file and line
    schema: str
    comment: str  # of the `//` lines above

    @property
    def name(self) -> str:
        return self.schema.split("(")[0]


@dataclasses.dataclass(frozen=True)
class Class:
    name: str
    arguments: list[str]  # of its constructor
    methods: list[str]


def ops(root: Path) -> list[Op]:
    """All that are registered, by name; a leading underscore says that an op is the package's own."""
    found = []
    for file in sorted((root / FOLDER).glob("*.cpp")):
        text = file.read_text()
        definition = r'^((?: *//.*\n)*) *(?:m\.)?def\(((?:\s*(?:"[^"]*"|WEFT_CLASS))+)\s*[,)]'
        for match in re.finditer(definition, text, re.MULTILINE):
            schema = "".join(piece or CLASS for piece in re.findall(r'"([^"]*)"|WEFT_CLASS', match[2]))
            line = text[: match.start(2)].count("\n") + 1
            comment = " ".join(part.strip().removeprefix("//").strip() for part in match[1].splitlines())
            found.append(Op(f"{file.relative_to(root)}:{line}", schema, comment))
    return sorted(found, key=lambda op: op.name)


def classes(root: Path) -> list[Class]:
    found = []
    for file in sorted((root / FOLDER).glob("*.cpp")):
        for part in re.split(r"torch::class_<", file.read_text())[1:]:
            name = re.match(r'\w+>\("weft", "(\w+)"\)', part)
            if name:
                init = re.search(r"torch::init\(\[\].*?\n\s+\{(.*?)\}\)\)?\n", part, re.DOTALL)
                arguments = re.findall(r'torch::arg\("(\w+)"\)', init[1]) if init else []
                methods = re.findall(r'\.def(?:_static)?\("(\w+)"', part)
                found.append(Class(name[1], arguments, [m for m in methods if not m.startswith("__")]))
    return sorted(found, key=lambda one: one.name)


def described(op: Op, python: list[str]) -> str:
    """An op's own comment, and the function of the Python package that does the same; empty: it has neither."""
    return " ".join(filter(None, [op.comment, same(op.name, python)]))


def same(name: str, python: list[str]) -> str:
    return f"As [`weft.{name}`](python.md#weft.{name})." if name in python else ""


def public(root: Path) -> Iterator[Op]:
    return (op for op in ops(root) if not op.name.startswith("_"))


def undocumented(root: Path, python: list[str]) -> list[str]:
    """A line for each public op without a comment that is none of Python's names either."""
    return [f"{op.where}: torch.ops.weft.{op.name} has no comment" for op in public(root) if not described(op, python)]


def page(root: Path, python: list[str]) -> str:
    """Markdown."""
    out = [
        "# TorchScript",
        "What `torch.ops.load_library` brings: the ops of `torch.ops.weft`, with their schemas, and the classes of "
        "`torch.classes.weft`. [The guide](../guide/torchscript.md) shows how they are used.",
        "## torch.ops.weft",
    ]
    for op in public(root):
        out += [f"### {op.name}", f"```text\n{op.schema.replace(CLASS, '')}\n```", described(op, python)]
    out.append("## torch.classes.weft")
    for one in classes(root):
        out += [
            f"### {one.name}",
            f"`{one.name}({', '.join(one.arguments)})`" if one.arguments else "",
            same(one.name, python),
            "Methods: " + ", ".join(f"`{name}`" for name in one.methods) + ".",
        ]
    return "\n\n".join(filter(None, out)) + "\n"
