"""Starts a program on several processes with torchrun; when a rank fails, shows the first error alone."""

import logging
import signal
import subprocess
import sys
from pathlib import Path


class LossesPart(RuntimeError):
    """A sharded model's loss is not the plain model's: the demo's own verdict, which needs no traceback."""


def launch(script: Path, arguments: list[str], ranks: int = 4) -> int:
    """Runs the script on that many ranks. Returns the exit code: 0, 1 when a rank failed, 130 when stopped."""
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import main as torchrun

    logging.disable(logging.ERROR)  # torchrun's own account of a failure, which is long
    try:
        torchrun(["--standalone", f"--nproc-per-node={ranks}", str(script), *arguments])
    except ChildFailedError as failed:
        rank, first = _first(failed)
        print(f"\ntools/demo: rank {rank} failed{_cause(first)}", file=sys.stderr)
        return 1
    except (KeyboardInterrupt, SignalException):
        print("\ntools/demo: stopped", file=sys.stderr)
        return 130
    return 0


def run_plain(script: Path, arguments: list[str]) -> int:
    """Runs the script in one process of its own. Returns the exit code as `launch` does."""
    try:
        plain = subprocess.run([sys.executable, str(script), *arguments])
    except KeyboardInterrupt:
        print("\ntools/demo: stopped", file=sys.stderr)
        return 130
    if plain.returncode:
        print("\ntools/demo: the plain process failed", file=sys.stderr)
        return 1
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
    if LossesPart.__name__ in message["message"]:
        return f": {message['message']}"
    return f":\n{message['extraInfo']['py_callstack']}"
