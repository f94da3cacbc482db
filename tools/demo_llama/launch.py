"""Starts train.py on four processes."""

import sys
from pathlib import Path

import options
import ranks


def main() -> int:
    options.parse()  # a mistake there is told once, not by every rank
    return ranks.launch(Path(__file__).with_name("train.py"), sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
