"""Gives random inputs to everything that Weft reads from outside; see --help of tools/fuzz.

A target is a generator function: target(rng) yields a function of no arguments with the input as its `args`; run()
calls it. It returns whether the input was taken, or lets Weft's refusal out; an AssertionError is a fault of Weft's.
Targets run in child processes, which write each input down before it is used: so a crash, and a hang, can be told.
"""

import argparse
import dataclasses
import functools
import importlib
import mmap
import multiprocessing
import os
import random
import re
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

LONGEST_MESSAGE = 2000
CPU_SECONDS, SECONDS = 2.0, 30.0  # for one input: of the processor, which others use too; and of the clock
LARGEST_NOTE = 1 << 20
REFUSALS = (ValueError, NotImplementedError, RuntimeError)
# Words of the C++ library, and of checks that are not meant for users: Weft did not refuse, something below it gave up.
LEAKS = re.compile(
    r"INTERNAL ASSERT|_M_\w+|basic_string|^sto[a-z]+$|bad_(alloc|variant|optional|cast)|^std::|regex_error"
)

ROOT = Path(__file__).resolve().parents[2]
COSTS = {"log_levels": 300, "store": 500}  # an input is worth so many of the others': it needs processes
# The first is about what Weft reads as it is loaded, so nothing that loads it may come before.
TARGETS = {
    **dict.fromkeys(("log_levels", "store"), "fuzz_worlds"),
    **dict.fromkeys(("rules", "patterns", "plans", "addresses", "meshes", "layouts"), "fuzz_targets"),
    "checkpoints": "fuzz_checkpoints",
}
Input = functools.partial  # a check of one input, and the input
Target = Callable[[random.Random], Iterator[Input]]


@dataclasses.dataclass
class Outcome:
    """What came of a target. `fault`: what was wrong with the last input; empty where nothing was."""

    taken: int = 0
    refused: int = 0
    fault: str = ""
    last: str = ""  # input

    @property
    def inputs(self) -> int:
        return self.taken + self.refused


def run(target: Target, seed: int, seconds: float, inputs: int = 1 << 62) -> Outcome:
    """Until the time is over, or there were so many inputs, or one shows a fault."""
    with tempfile.TemporaryFile() as file:
        file.truncate(LARGEST_NOTE)
        with mmap.mmap(file.fileno(), LARGEST_NOTE) as note:
            context = multiprocessing.get_context("fork")
            here, there = context.Pipe(duplex=False)
            child = context.Process(target=_work, args=(target, seed, seconds, inputs, note, there))
            child.start()
            there.close()
            try:
                outcome = here.recv()
            except EOFError:
                child.join()
                outcome = Outcome(fault=_end(child.exitcode))
            child.join()
            outcome.last = note[:].split(b"\0", 1)[0].decode()
            return outcome


def _end(code: int | None) -> str:
    if code is None or code >= 0:
        return f"the process ended with code {code}"
    name = signal.Signals(-code).name
    return {
        "SIGPROF": f"took more than {CPU_SECONDS} s of the processor's time",
        "SIGALRM": f"took more than {SECONDS} s",
    }.get(name, f"the process was ended by {name}")


def _work(target: Target, seed: int, seconds: float, inputs: int, note: mmap.mmap, reply) -> None:
    for number in (signal.SIGPROF, signal.SIGALRM):
        signal.signal(number, signal.SIG_DFL)
    outcome, end = Outcome(), time.monotonic() + seconds
    for call in target(random.Random(seed)):
        if outcome.inputs >= inputs or time.monotonic() > end:
            break
        text = repr(call.args)[: LARGEST_NOTE - 1].encode(errors="backslashreplace")
        note[: len(text) + 1] = text + b"\0"
        signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)  # their signals end the process
        signal.setitimer(signal.ITIMER_REAL, SECONDS)
        try:
            taken = call()
        except Exception as e:
            outcome.fault = wrong_refusal(e)
            taken = False
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        if outcome.fault:
            break
        outcome.taken += taken
        outcome.refused += not taken
    reply.send(outcome)
    reply.close()
    os._exit(0)


def wrong_refusal(error: Exception) -> str:
    """What a user could not make use of; empty where it is fine."""
    text = str(error)
    if isinstance(error, UnicodeError) or type(error) not in REFUSALS:
        return "".join(traceback.format_exception(error))
    if not text.strip():
        return f"{type(error).__name__} without a message"
    if len(text) > LONGEST_MESSAGE:
        return f"{type(error).__name__} with a message of {len(text)} characters: {text[:200]}..."
    if LEAKS.search(text):
        return f"no message of Weft's: {type(error).__name__}: {text}"
    return ""


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="tools/fuzz", description=HELP, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60, help="for each target (default 60)")
    parser.add_argument("--inputs", type=int, default=1 << 62, help="for each target at the most; fewer of processes")
    parser.add_argument("--only", default="", metavar="REGEX", help="targets whose names it is found in")
    parser.add_argument("--seed", type=int, help="of the random numbers (default: of the clock, and printed)")
    parser.add_argument("--list", action="store_true", help="the targets' names")
    args = parser.parse_args()
    names = [name for name in TARGETS if re.search(args.only, name)]
    if args.list or not names:
        print(*(names or [f"tools/fuzz: no target is called {args.only}; there are:", *TARGETS]), sep="\n")
        return 0 if names else 2
    seed = time.time_ns() % 1_000_000 if args.seed is None else args.seed
    sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "faults"), str(ROOT / "torch_ops")]
    print(f"seed {seed}, {len(names)} targets of {args.seconds:g} s")
    faults = 0
    for number, name in enumerate(names, 1):
        print(f"[{number}/{len(names)}] {name:<12}", end=" ", flush=True)
        target = getattr(importlib.import_module(TARGETS[name]), name)
        outcome = run(target, seed, args.seconds, args.inputs // COSTS.get(name, 1))
        print(f"{outcome.inputs:>8} inputs, {outcome.taken} taken, {outcome.refused} refused")
        if outcome.fault:
            faults += 1
            print(f"FAULT with seed {seed} and the input\n    {outcome.last}\n{outcome.fault}")
    return 1 if faults else 0


HELP = """Random inputs for everything that Weft reads from outside: rules, path patterns, plan files, environment
variables, meshes and layouts, checkpoints, and its keys in the job's store.

Each input must be taken, or refused with a message that a user can make use of, within two seconds. A crash, a hang, or
an input that is taken but not told again as it was given, ends the target: the input is printed as Python text with the
seed, and the exit code is 1."""

if __name__ == "__main__":
    sys.exit(main())
