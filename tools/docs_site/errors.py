"""The page of errors and warnings, made of their table and the texts in the sources; what has no right code."""

import ast
import builtins
import dataclasses
import itertools
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import literals

TABLE = Path("csrc") / "base" / "error_table.cpp"
MARK = re.compile(r"\[(W\d{3})\] ")
WARNING = "warning"
ANY = "Exception"  # the types of a kind that passes on other errors

TYPES = {
    "TORCH_CHECK": "RuntimeError",
    "TORCH_CHECK_VALUE": "ValueError",
    "TORCH_CHECK_INDEX": "IndexError",
    "TORCH_CHECK_TYPE": "TypeError",
    "TORCH_CHECK_NOT_IMPLEMENTED": "NotImplementedError",
    "TORCH_WARN": WARNING,
    "warn_once": WARNING,
    "log": WARNING,
}
RAISES = re.compile(r"(?<![\w:.])(TORCH_CHECK\w*|TORCH_WARN\w*|C10_THROW\w*|throw [\w:]+|warn_once|log)\(")
BEFORE = {"TORCH_WARN": 0, "TORCH_CHECK_WITH": 2}  # arguments that come before the text; else 1

NOT_USERS = (Path("csrc") / "comm" / "loopback",)  # ranks as threads, of the tests alone
# Texts that got their codes where they were made.
PASSED_ON = {
    ("csrc/comm/lockstep/error_types.cpp", "text"),
    ("csrc/comm/lockstep/error_types.cpp", "std::move(text)"),
    ("csrc/module/variables.cpp", "text"),
    ("torch_ops/process_ops.cpp", "error"),
    ("torch_ops/weft/first_rank.py", "text"),
    ("torch_ops/weft/module.py", "text"),
}


@dataclasses.dataclass(frozen=True)
class Kind:
    """A row of the table."""

    code: str
    types: tuple[str, ...]
    title: str
    cause: str
    remedy: str


@dataclasses.dataclass(frozen=True)
class Use:
    """A place where a text is made."""

    place: str  # file:line
    code: str  # empty: it has none
    type: str  # empty: not known there
    text: str  # with … for what differs


def kinds(root: Path) -> list[Kind]:
    rows = re.findall(r"\{((?:\s*\"(?:[^\"\\]|\\.)*\"[\s,]*)+)\}", (root / TABLE).read_text())
    fields = [[literals.joined(field) for field in literals.arguments(row)] for row in rows]
    return [Kind(code, tuple(types.split(", ")), *rest) for code, types, *rest in fields]


def uses(root: Path) -> list[Use]:
    found = []
    for folder in ("csrc", "torch_ops", "include"):
        for file in sorted((root / folder).rglob("*")):
            path = file.relative_to(root)
            if path == TABLE or any(path.is_relative_to(f) for f in NOT_USERS):
                continue
            if file.suffix in (".cpp", ".h", ".cu", ".cuh"):
                found += in_cpp(str(path), file.read_text())
            elif file.suffix == ".py":
                found += in_python(str(path), file.read_text())
    return found


def in_cpp(path: str, source: str) -> Iterator[Use]:
    source = literals.without_comments(source)
    seen = set()  # where codes are written that belong to a raise
    for match in RAISES.finditer(source):
        name, start = match[1], match.end()
        end = literals.closing(source, start)
        parts = literals.arguments(source[start:end])
        if name == "log" and parts[0] not in ("LogLevel::warning", "LogLevel::error") or re.match("const ", parts[-1]):
            continue  # for developers, or a declaration
        text = parts[-1:] if name.startswith("throw") else parts[BEFORE.get(name, 1) :]
        if not text or (path, text[0]) in PASSED_ON:
            continue
        code, shown = of_cpp(text)
        seen |= {start + m.start() for m in re.finditer(r"\bW\d{3}\b", source[start:end])}
        line = source.count("\n", 0, match.start()) + 1
        yield Use(f"{path}:{line}", code, TYPES.get(name, ""), shown)
    for match in re.finditer(r'(?:"\[(?=W\d{3}\] )|\bcoded\("(?=W\d{3}"))', source):
        if match.end() not in seen:
            start = match.start() if match[0] == '"[' else match.start() + len("coded(")
            end = literals.closing(source, start)
            text = literals.arguments(source[start:end])
            code, shown = of_cpp(text if match[0] == '"[' else [f"coded({source[start:end]})"])
            yield Use(f"{path}:{source.count(chr(10), 0, start) + 1}", code, "", shown)


def of_cpp(parts: list[str]) -> tuple[str, str]:
    """Code and text of what makes up a message."""
    flat = list(literals.flattened(parts))
    coded = re.match(r'coded\("(W\d{3})",\s*(.*)\)$', parts[0], re.DOTALL)
    if coded:
        return coded[1], of_cpp([coded[2]])[1]
    return split("".join(literals.joined(p) if p.startswith('"') else "…" for p in flat))


def in_python(path: str, source: str) -> Iterator[Use]:
    tree = ast.parse(source)
    assigned = {
        node.targets[0].id: node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }
    for node in sorted(ast.walk(tree), key=lambda n: getattr(n, "lineno", 0)):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            call, type_ = node.exc, ast.unparse(node.exc.func)
            # Others are caught inside of the package, or Python's own protocol.
            if not hasattr(builtins, type_) or type_ == "AttributeError":
                continue
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("warnings.warn", "first_rank.warn"):
            call, type_ = node, WARNING
        else:
            continue
        if (path, ast.unparse(call.args[0])) not in PASSED_ON:
            code, text = of_python(call.args[0], assigned)
            yield Use(f"{path}:{node.lineno}", code, type_, text)


def of_python(node: ast.expr, assigned: dict[str, ast.expr]) -> tuple[str, str]:
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "coded":
        return ast.literal_eval(node.args[0]), of_python(node.args[1], assigned)[1]
    return split(shown_python(node, assigned))


def shown_python(node: ast.expr, assigned: dict[str, ast.expr]) -> str:
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(shown_python(v, {}) for v in node.values)
    if isinstance(node, ast.BinOp):
        return shown_python(node.left, assigned) + shown_python(node.right, assigned)
    if isinstance(node, ast.Name) and node.id in assigned:
        return shown_python(assigned[node.id], {})
    return "…"


def split(text: str) -> tuple[str, str]:
    text = re.sub("…+", "…", text)
    mark = MARK.match(text)
    return (mark[1], text[mark.end() :]) if mark else ("", text)


def problems(root: Path) -> list[str]:
    """A line for each: a text without a code of the table or of another type; a code without a text or out of order."""
    known = kinds(root)
    found = []
    for before, kind in itertools.pairwise(known):
        if kind.code <= before.code:
            found.append(f"{TABLE}: {kind.code} comes after {before.code}")
    by_code = {kind.code: kind for kind in known}
    used = uses(root)
    for use in used:
        kind = by_code.get(use.code)
        if kind is None:
            found.append(f"{use.place}: {use.code or 'no code'}: {use.text[:80]}")
        elif use.type and use.type not in kind.types and kind.types != (ANY,):
            found.append(f"{use.place}: {use.code} is {' or '.join(kind.types)}, not {use.type}: {use.text[:80]}")
    codes = {use.code for use in used}
    return found + [f"{TABLE}: nothing has the code {kind.code}" for kind in known if kind.code not in codes]


def page(root: Path) -> str:
    """Markdown."""
    texts = defaultdict(list)
    for use in uses(root):
        if use.text.strip("… ") and use.text not in texts[use.code]:
            texts[use.code].append(use.text)
    out = [
        "# Errors and warnings",
        "Each text begins with the code of its kind, the same from Python, C++ and TorchScript, and on all ranks. An "
        "error that holds another one's text has the code of that one. `python -m weft explain W041`, or "
        "`weft.explain_error`, says in a shell what stands here.",
    ]
    for kind in kinds(root):
        types = " or ".join(t if t == WARNING else f"`{t}`" for t in kind.types)
        out += [f"## {kind.code}", f"**{kind.title[0].upper()}{kind.title[1:]}** ({types}).", kind.cause]
        out += [f"What to do: {kind.remedy}", "\n".join(f"- {as_code(text)}" for text in texts[kind.code])]
    return "\n\n".join(filter(None, out)) + "\n"


def as_code(text: str) -> str:
    text = " ".join(text.split())
    return f"`` {text} ``" if "`" in text else f"`{text}`"
