"""Pieces of C++: arguments of a call, and the strings that are written among them."""

import re
from collections.abc import Iterator

STRING = r'R"(\w*)\((?:.|\n)*?\)\1"|"(?:[^"\\\n]|\\.)*"'
STRING_ALONE = r'"(?:[^"\\\n]|\\.)*"'
# A quote between digits parts thousands.
TOKEN = re.compile(
    rf"(?P<comment>//[^\n]*|/\*(?:.|\n)*?\*/)|{STRING}|(?<![0-9a-fA-F])'(?:[^'\\\n]|\\.)+'|(?P<other>.|\n)"
)
ESCAPES = {"n": "\n", "t": "\t", "0": "\0"}


def without_comments(source: str) -> str:
    """The source with blanks in the place of comments, so that its length and lines stay."""
    return TOKEN.sub(lambda m: re.sub(r"[^\n]", " ", m[0]) if m["comment"] else m[0], source)


def closing(source: str, start: int) -> int:
    """Where the bracket closes that was opened before `start`."""
    depth = 0
    for match in TOKEN.finditer(source, start):
        if match["other"] and match[0] in "([{":
            depth += 1
        elif match["other"] and match[0] in ")]}":
            depth -= 1
            if depth < 0:
                return match.start()
    return len(source)


def arguments(source: str) -> list[str]:
    """What the commas part that stand in no brackets."""
    out, depth = [""], 0
    for match in TOKEN.finditer(source):
        depth += bool(match["other"]) * ((match[0] in "([{") - (match[0] in ")]}"))
        if match["other"] and match[0] == "," and depth == 0:
            out.append("")
        else:
            out[-1] += match[0]
    return [part.strip() for part in out if part.strip()]


def flattened(parts: list[str]) -> Iterator[str]:
    """The pieces of a text: strings that are written, and what else is put between them."""
    for part in parts:
        call = re.match(r"c10::str\(", part)
        if call and closing(part, call.end()) == len(part) - 1:
            yield from flattened(arguments(part[call.end() : -1]))
        elif written := re.match(rf"(?:{STRING_ALONE}\s*)+", part):
            yield written[0]
            if written.end() < len(part):  # "text" + what follows
                yield part[written.end() :]
        else:
            yield part


def joined(strings: str) -> str:
    """The text of strings written one after the other."""
    out = ""
    for match in re.finditer(STRING, strings):
        if match[0].startswith("R"):
            out += match[0][3 + len(match[1]) : -2 - len(match[1])]
        else:
            out += re.sub(r"\\(.)", lambda m: ESCAPES.get(m[1], m[1]), match[0][1:-1])
    return out
