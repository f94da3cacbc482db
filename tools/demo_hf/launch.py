"""Runs train.py in one plain process, then on four ranks, then on two, which go on where the four have stopped."""

import pickle
import sys
import tempfile
from pathlib import Path

import options
import ranks


def main() -> int:
    o = options.parse()  # a mistake there is told once, not by every rank
    train = Path(__file__).with_name("train.py")
    with tempfile.TemporaryDirectory() as folder:
        arguments = [*sys.argv[1:], "--folder", folder, "--stage"]
        if failed := ranks.run_plain(train, [*arguments, "plain"]):
            return failed
        for stage, processes in (("first", 4), ("second", 2)):
            if failed := ranks.launch(train, [*arguments, stage], processes):
                return failed
        return _conclude(o, Path(folder))


def _conclude(o, folder: Path) -> int:
    import picture
    import show

    plain, first, second = (show.Run.read(folder, stage) for stage in options.STAGES)
    before, after = (pickle.loads((folder / f"{stage}.drawing").read_bytes()) for stage in ("first", "second"))
    picture.draw(o.out, plain, first, second, before, after)
    return show.summary(plain, first, second, folder, o.out)


if __name__ == "__main__":
    sys.exit(main())
