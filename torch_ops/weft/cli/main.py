"""The command line of `python -m weft`."""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Sequence

from .. import __version__
from .._library import cmake_prefix_path, library_path, torch_version_built_for
from . import doctor, dry_run, explain, plans, rules, search

_COMMANDS = [plans.add_lint, plans.add_report, dry_run.add, search.add, rules.add, explain.add, doctor.add]


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0, 1 where something is wrong with what was looked at, 2 where it cannot be looked at."""
    parser = argparse.ArgumentParser(
        prog="python -m weft", description="Looks at layouts, rules and this installation, in one process."
    )
    parser.add_argument("--version", action="version", version=_version(), help="print versions, and exit")
    parser.add_argument(
        "--cmake-prefix-path", action="store_true", help="print where CMake's find_package(weft) finds the C++ library"
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for add in _COMMANDS:
        add(commands)
    options = parser.parse_args(arguments)
    try:
        if options.cmake_prefix_path:
            print(cmake_prefix_path())
            return 0
        if not hasattr(options, "run"):
            parser.print_help()
            return 2
        return options.run(options)
    except (OSError, ImportError, ValueError) as error:
        print(f"weft: {error}", file=sys.stderr)
        return 2
    except Exception:  # of a program's own functions, whose lines it shows
        traceback.print_exc()
        return 2


def _version() -> str:
    return f"weft {__version__}, built for torch {torch_version_built_for(library_path()) or 'of an unknown version'}"
