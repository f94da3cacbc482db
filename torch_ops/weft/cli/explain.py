"""weft explain: what an error means."""

from __future__ import annotations

import re
from argparse import Namespace
from typing import Any

from ..errors import explain_error


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "explain",
        help="what an error or a warning means, and what to do",
        description="Prints the cause of a kind of error or warning and the way out.",
    )
    parser.add_argument("message", metavar="CODE", help="W041, or the whole text of the error, which begins with it")
    parser.set_defaults(run=_run)


def _run(options: Namespace) -> int:
    code = re.fullmatch(r"[Ww]?([0-9]{1,3})", options.message)
    print(explain_error(f"W{code[1]:0>3}" if code else options.message))
    return 0
