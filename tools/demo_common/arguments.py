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
    """Ends the process with a message where twice a model's heads do not divide its width."""
    if hidden % (2 * heads):
        parser.error(f"--hidden {hidden} is not a multiple of {2 * heads}")
