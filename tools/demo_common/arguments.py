"""Types of command-line options."""

import argparse
from collections.abc import Callable


def at_least(least: int) -> Callable[[str], int]:
    """A whole number that is not less."""

    def number(text: str) -> int:
        if int(text) < least:
            raise argparse.ArgumentTypeError(f"{text} is less than {least}")
        return int(text)

    return number


def check_width(parser: argparse.ArgumentParser, hidden: int, heads: int) -> None:
    """Of a model: ends the process with a message where twice its heads do not divide it."""
    if hidden % (2 * heads):
        parser.error(f"--hidden {hidden} is not a multiple of {2 * heads}")
