"""Pages made of the public headers' comments, and what of the headers has none."""

import dataclasses
import re
from pathlib import Path

FOLDER = Path("include") / "weft"


@dataclasses.dataclass(frozen=True)
class Item:
    """A declaration of the namespace, or several that share a comment."""

    line: int  # of the first one
    comment: str  # of the `///` lines above
    code: str

    @property
    def names(self) -> list[str]:
        """What it declares, for a heading."""
        found = []
        for part in top_level(self.code):
            kind = re.match(r"(?:enum )?(?:class|struct) (?:WEFT_API )?(\w+)", part)
            value = re.match(r"(?:using|constexpr \w+) (\w+) =", part)
            function = re.search(r"(\w+)\(", part)
            name = next((m[1] for m in (kind, value, function) if m), "")
            if name and name not in found:
                found.append(name)
        return found


def top_level(code: str) -> list[str]:
    """The declarations in a piece of code, without what is inside braces."""
    out, depth = [""], 0
    for line in code.splitlines():
        text = line.split("//")[0]
        if depth == 0:
            out[-1] += f" {text.strip()}"
        depth += text.count("{") - text.count("}")
        if depth == 0 and re.search(r"[;}]\s*$", text):
            out.append("")
    return [part.strip() for part in out if part.strip()]


def read(text: str) -> tuple[str, list[Item]]:
    """A header's own comment, and its items."""
    lines = text.splitlines()
    about = []
    for line in lines[1:]:
        if not line.startswith("//"):
            break
        about.append(line[2:].removeprefix(" "))
    items: list[Item] = []
    comment: list[str] = []
    code: list[str] = []
    start = depth = 0
    inside = False  # of namespace weft

    def end() -> None:
        if code and not re.fullmatch(r"(struct|class) \w+;", code[0]):  # declared again below
            items.append(Item(start, "\n".join(comment), "\n".join(code)))
        comment.clear()
        code.clear()

    for number, line in enumerate(lines, 1):
        if not inside:
            inside = line == "namespace weft {"
        elif depth == 0 and (not line.strip() or line.startswith("}  // namespace")):
            end()
        elif depth == 0 and line.startswith("//"):
            if code:  # the comment of the next one
                end()
            comment.append(line.lstrip("/").removeprefix(" "))
        else:
            start = start if code else number
            code.append(line)
            bare = line.split("//")[0]
            depth += bare.count("{") - bare.count("}")
    end()
    return "\n".join(about), items


def headers(root: Path) -> list[Path]:
    """All but those that only gather others, or hold a macro."""
    found = sorted((root / FOLDER).glob("*.h"))
    return [f for f in found if read(f.read_text())[1]]


def page(file: Path) -> str:
    """Markdown."""
    about, items = read(file.read_text())
    out = [f"# {file.name}", f"`#include <weft/{file.name}>`", markdown(about)]
    for item in items:
        out += [f"## {', '.join(item.names)}", markdown(item.comment), f"```cpp\n{item.code}\n```"]
    return "\n\n".join(filter(None, out)) + "\n"


def markdown(comment: str) -> str:
    """A comment's paragraphs, with the parameters as a list, and pieces of code as such."""
    lines: list[str] = []
    in_list = False
    for line in comment.splitlines():
        parameter = re.match(r"@param (\w+)\s+(.*)", line)
        if parameter:
            lines += [] if in_list or not lines else [""]
            lines.append(f"- `{parameter[1]}`: {parameter[2]}")
        elif line.startswith("  "):
            lines.append(f"{'  ' if in_list else '    '}{line.strip()}")
        else:
            lines += ["", line] if in_list and line else [line]
        in_list = bool(parameter) or in_list and line.startswith("  ")
    return "\n".join(lines)


def undocumented(root: Path) -> list[str]:
    """A line for each declaration of the namespace without a comment; a class's members are its own affair."""
    found = []
    for file in headers(root):
        for item in read(file.read_text())[1]:
            where = f"{file.relative_to(root)}:{item.line}: {', '.join(item.names)}"
            if not item.comment:
                found.append(f"{where} has no comment")
    return found
