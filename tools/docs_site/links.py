"""Links of the repository's documents that lead nowhere."""

import re
from pathlib import Path


def anchors(text: str) -> set[str]:
    """The anchors of a document's headings, as GitHub and mkdocs make them."""
    found = set()
    for heading in re.findall(r"^#+ (.*)", without_code(text), re.MULTILINE):
        found.add(re.sub(r"[\s]+", "-", re.sub(r"[^\w\s-]", "", heading.strip().lower())))
    return found


def without_code(text: str) -> str:
    return re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)


def documents(root: Path) -> list[Path]:
    folders = [root, *(root / name for name in ("docs", "tests", "tools", "examples"))]
    return [file for f in folders for file in sorted(f.glob("*.md") if f == root else f.rglob("*.md"))]


def broken(root: Path) -> list[str]:
    """A line for each: a file that is not there, or a heading that a document has not."""
    found = []
    for file in documents(root):
        text = without_code(file.read_text())
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            if re.match(r"\w+:", target):
                continue
            path, _, anchor = target.partition("#")
            there = (file.parent / path).resolve() if path else file
            if not there.exists():
                found.append(f"{file.relative_to(root)}: no such file: {target}")
            elif anchor and there.suffix == ".md" and anchor not in anchors(there.read_text()):
                found.append(f"{file.relative_to(root)}: no such heading: {target}")
    return found
