"""The command tools/opinfo; what it does and prints: opinfo_options.py."""

import argparse
import json
import math
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from oracle import database  # noqa: E402
from oracle.exceptions import reason  # noqa: E402
from oracle.opinfo_options import parser  # noqa: E402
from oracle.opinfo_table import FINE, gathered, how, markdown, summary, verdict  # noqa: E402
from oracle.splits import report_splits  # noqa: E402
from oracle.sweep import empty_results, run_family, run_op, warm_up  # noqa: E402
from support.ranks import RankPool  # noqa: E402


def calls(
    args: argparse.Namespace, shape: tuple[int, ...], progress: str
) -> Iterator[tuple[str, str, Callable, tuple]]:
    """(op, dtype, function, its arguments)."""
    if args.family:
        for family in args.family.split(","):
            yield family, "", run_family, (family, shape, args.seed, args.draws, progress, args.only)
        return
    for dtype in args.dtype.split(","):
        for name in database.names(args.only, dtype):
            yield name, dtype, run_op, (name, dtype, shape, args.seed, args.samples, args.draws, progress)


def run(args: argparse.Namespace) -> list[dict]:
    shape = tuple(int(n) for n in args.mesh.split(",")) if args.mesh else (args.ranks,)
    table: list[dict] = []
    tmp = tempfile.TemporaryDirectory(prefix="weft-opinfo-")
    with tmp, RankPool(math.prod(shape), env={"WEFT_LOG": "debug"}) as pool:
        progress = os.path.join(tmp.name, "progress")
        pool(warm_up, args.choices, timeout=300)
        for name, dtype, fn, arguments in calls(args, shape, progress):
            begin = time.monotonic()
            try:
                result = pool(fn, *arguments, timeout=args.timeout)[0]
            except AssertionError as e:
                result = empty_results() | {"ran": 1, "failures": [broken(str(e), progress, args.verbose)]}
            parts = {name: result} if "ran" in result else result
            if any(part.get("out_of_step") for part in parts.values()):
                pool.close()
                pool(warm_up, args.choices, timeout=300)
            for op, part in parts.items():
                part.update(op=op, dtype=dtype, seconds=round(time.monotonic() - begin, 2))
                for f in part["failures"]:
                    f["reason"] = reason(op, dtype, f["kind"])
                part["verdict"] = verdict(part)
                table.append(part)
                report(part, args.verbose)
            if args.json:
                Path(args.json).write_text(json.dumps(table, indent=1))
    return table


def broken(text: str, progress: str, verbose: bool) -> dict:
    kind = "hang" if "not done after" in text.split("\n")[0] else "died"
    case = Path(f"{progress}.0").read_text() if os.path.exists(f"{progress}.0") else ""
    return {"kind": kind, "what": "", "text": text[-20000:] if verbose else text[-600:], "case": case}


def report(result: dict, verbose: bool) -> None:
    line = f"{result['op']:45s} {result['dtype']:9s} {result['verdict']:11s} {result['passed']:4d}/{result['ran']:4d}"
    print(f"{line} {how(result):9s} {result['bytes']:9d} B {result['seconds']:6.1f} s", flush=True)
    for f in result["failures"] if verbose else result["failures"][:1]:
        print(f"    {f['what']} {f['case']}\n      {f['kind']}: {f['text'][: 20000 if verbose else 300]}", flush=True)
        if f["reason"]:
            print(f"      {f['reason']}")
    if verbose:
        print("    ", {op: kind for op, (kind, _) in result["ops"].items()})


def main() -> int:
    args = parser().parse_args()
    unknown = [] if args.family else [d for d in args.dtype.split(",") if d not in database.DTYPES]
    if unknown:
        parser().error(f"--dtype {unknown[0]}: one of {', '.join(database.DTYPES)}")
    if args.splits:
        print(report_splits(args))
        return 0
    table = run(args)
    if not table:
        parser().error("no op has such a name and dtype")
    if args.gathered:
        print(gathered(table))
    if args.table:
        Path(args.table).write_text(markdown(table, f"{args.mesh or args.ranks} ranks, seed {args.seed}"))
    print(summary(table))
    return 0 if all(r["verdict"] in FINE for r in table) else 1


if __name__ == "__main__":
    sys.exit(main())
