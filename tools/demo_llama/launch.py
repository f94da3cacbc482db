"""Starts train.py on four processes with torchrun; when a rank fails, shows the first error alone."""

import logging
import signal
import sys
from pathlib import Path

import options

RANKS = 4


def main() -> int:
    options.parse()  # a mistake there is told once, not by every rank

    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import main as torchrun

    logging.disable(logging.ERROR)  # torchrun's own account of a failure, which is long
    train = str(Path(__file__).with_name("train.py"))
    try:
        torchrun(["--standalone", f"--nproc-per-node={RANKS}", train, *sys.argv[1:]])
    except ChildFailedError as failed:
        rank, first = _first(failed)
        print(f"\ntools/demo: rank {rank} failed{_cause(first)}", file=sys.stderr)
        return 1
    except (KeyboardInterrupt, SignalException):
        print("\ntools/demo: stopped", file=sys.stderr)
        return 130
    return 0


def _first(failed) -> tuple:
    """The rank that failed first. A killed one left no time, but it is why the others lost their connections."""
    for rank, failure in failed.failures.items():
        if failure.exitcode < 0 and failure.exitcode != -signal.SIGTERM:  # with that one torchrun ends the others
            return rank, failure
    return failed.get_first_failure()


def _cause(failure) -> str:
    """What the rank left in its error file; a rank that was killed left none."""
    message = failure.error_file_data.get("message")
    if not isinstance(message, dict):
        return f": {failure.message}"
    if "LossesPart" in message["message"]:  # the demo's own verdict needs no traceback
        return f": {message['message']}"
    return f":\n{message['extraInfo']['py_callstack']}"


if __name__ == "__main__":
    sys.exit(main())
