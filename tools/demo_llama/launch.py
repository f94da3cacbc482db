"""Starts train.py on four processes with torchrun; when a rank fails, shows the first error alone."""

import logging
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
        rank, first = failed.get_first_failure()
        print(f"\ntools/demo: rank {rank} failed{_cause(first)}", file=sys.stderr)
        return 1
    except (KeyboardInterrupt, SignalException):
        print("\ntools/demo: stopped", file=sys.stderr)
        return 130
    return 0


def _cause(failure) -> str:
    """What the rank left in its error file; a rank that was killed left nothing."""
    message = failure.error_file_data and failure.error_file_data.get("message")
    if not message:
        return f" ({failure.signal_name() if failure.exitcode < 0 else f'exit code {failure.exitcode}'})"
    if not isinstance(message, dict):
        return f": {message}"
    trace = message.get("extraInfo", {}).get("py_callstack", "")
    # A mistake of ours comes with its traceback, the demo's own verdict without.
    return f": {message['message']}" if "LossesPart" in message["message"] else f":\n{trace or message['message']}"


if __name__ == "__main__":
    sys.exit(main())
