"""The code blocks of the documents, and the programs that tests make of them."""

import dataclasses
import re
import textwrap
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# What users read. The documents for developers show output and pieces of files that tests of their own hold.
GUIDE = sorted(str(p.relative_to(ROOT)) for p in (ROOT / "docs" / "guide").glob("*.md"))
DOCUMENTS = ("README.md", "docs/index.md", *GUIDE)
CODE = ("python", "cpp", "cmake")  # run; "text" is what a program prints, a block without a language anything else


@dataclasses.dataclass(frozen=True)
class Block:
    """A fenced block of a document."""

    file: str
    section: str  # the heading that it stands under
    line: int  # of its first line, from 1
    language: str
    text: str


def blocks_of(file: str) -> list[Block]:
    """All of a document's blocks, in order."""
    found: list[Block] = []
    section, inside = "", None
    for number, line in enumerate((ROOT / file).read_text().splitlines(), 1):
        fence = re.match(r"\s*```\s*(\w*)\s*$", line)
        if inside is not None:
            if fence:
                text = textwrap.dedent("\n".join(inside[2])) + "\n"
                found.append(Block(file, section, inside[0], inside[1], text))
                inside = None
            else:
                inside[2].append(line)
        elif fence:
            inside = (number + 1, fence[1], [])
        elif heading := re.match(r"#+ (.*)", line):
            section = heading[1].strip()
    assert inside is None, f"{file}:{inside[0]}: a block without an end" if inside else ""
    return found


@dataclasses.dataclass(frozen=True)
class Program:
    """Blocks of one language that are run as one program, in their order."""

    file: str
    section: str = ""  # those under this heading alone; empty: all of the document
    language: str = "python"
    ranks: int = 2
    before: str = ""  # what the blocks leave open

    @property
    def name(self) -> str:
        """The name of its test, and of the file that it is written to."""
        where = f"{Path(self.file).stem}-{self.section}-{self.language}".lower()
        return re.sub(r"\W+", "_", where).strip("_")

    def has(self, block: Block) -> bool:
        return block.file == self.file and self.section in ("", block.section) and block.language == self.language

    def blocks(self) -> list[Block]:
        return [b for b in blocks_of(self.file) if self.has(b)]

    def source(self) -> str:
        """The program's text, with each line where it stands in the document as far as what comes before lets it."""
        lines = textwrap.dedent(self.before).splitlines()
        for block in self.blocks():
            lines += [""] * (block.line - 1 - len(lines))
            lines += block.text.splitlines()
        return "\n".join(lines) + "\n"

    def outputs(self) -> list[Block]:
        """The blocks of what it prints."""
        return [b for b in blocks_of(self.file) if b.language == "text" and self.section in ("", b.section)]


def is_printed(shown: str, output: str) -> bool:
    """Whether a program printed what a document shows, in which … stands for anything."""
    words = [".*?".join(map(re.escape, word.split("…"))) for word in shown.split()]
    return re.search(r"\s+".join(words), output, re.DOTALL) is not None
