"""Trains in one plain process, then on four ranks beside its losses."""

import importlib.util
import sys
import tempfile
from pathlib import Path

import options
import ranks


def main() -> int:
    options.parse()  # a mistake there is told once, not by every rank
    if importlib.util.find_spec("keras") is None:
        print("tools/demo: this Keras needs Python 3.11 or newer", file=sys.stderr)
        return 1
    train = Path(__file__).with_name("train.py")
    with tempfile.TemporaryDirectory() as folder:
        losses = f"{folder}/plain.json"
        if failed := ranks.run_plain(train, [*sys.argv[1:], "--write-plain", losses]):
            return failed
        return ranks.launch(train, [*sys.argv[1:], "--read-plain", losses])


if __name__ == "__main__":
    sys.exit(main())
