"""PyTorch's own OpInfo samples, and those of extra.py, on sharded tensors against the plain op.

    python tests/oracle/opinfo.py --ranks 2                 every op, float32
    python tests/oracle/opinfo.py --ranks 3 --only add,mm --dtype float32,int64 --seed 1 --json out.json
    python tests/oracle/opinfo.py --family losses,norms     families of extra.py instead

Prints a line per op: verdict, checks passed, how its aten ops ran (ruled, composite, gathered), the first failure. A
rank that dies or hangs costs one op, not the run.
"""

import argparse
import collections
import fnmatch
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]

from support.ranks import RankPool  # noqa: E402
from sweep import DTYPES, full_name, run_family, run_op, warm_up  # noqa: E402

GRAVITY = ("hang", "died", "value", "shape", "dtype", "structure", "layout", "stride", "flags", "raised")


def op_names(only: str | None, dtype: str) -> list[str]:
    from torch.testing._internal.common_methods_invocations import op_db

    names = [full_name(op) for op in op_db if DTYPES[dtype] in op.supported_dtypes("cpu")]
    if only:
        patterns = only.split(",")
        names = [n for n in names if any(n == p or fnmatch.fnmatch(n, p) for p in patterns)]
    return list(dict.fromkeys(names))


def verdict(result: dict) -> str:
    kinds = {f["kind"] for f in result["failures"]}
    for kind in GRAVITY:
        if kind in kinds:
            return kind
    return "pass" if result["passed"] else "nothing ran"


def how(result: dict) -> str:
    kinds = set(result["ops"].values())
    return "gathered" if "gathered" in kinds else "composite" if "composite" in kinds else "ruled" if kinds else "-"


def calls(
    args: argparse.Namespace, shape: tuple[int, ...], progress: str
) -> Iterator[tuple[str, str, Callable, tuple]]:
    """(op, dtype, function, its arguments)."""
    if args.family:
        for family in args.family.split(","):
            yield family, "", run_family, (family, shape, args.seed, args.draws, progress, args.only)
        return
    for dtype in args.dtype.split(","):
        for name in op_names(args.only, dtype):
            yield name, dtype, run_op, (name, dtype, shape, args.seed, args.samples, args.draws, progress)


def run(args: argparse.Namespace) -> list[dict]:
    shape = tuple(int(n) for n in args.mesh.split(",")) if args.mesh else (args.ranks,)
    table: list[dict] = []
    tmp = tempfile.TemporaryDirectory(prefix="weft-opinfo-")
    with tmp, RankPool(args.ranks, env={"WEFT_LOG": "debug"}) as pool:
        progress = os.path.join(tmp.name, "progress")
        pool(warm_up, timeout=300)
        for name, dtype, fn, arguments in calls(args, shape, progress):
            begin = time.monotonic()
            try:
                result = pool(fn, *arguments, timeout=args.timeout)[0]
            except AssertionError as e:
                result = {"ran": 1, "passed": 0, "failures": [broken(str(e), progress, args.verbose)], "ops": {}}
            for op, part in {name: result}.items() if "ran" in result else result.items():
                part.update(op=op, dtype=dtype, seconds=round(time.monotonic() - begin, 2), verdict=verdict(part))
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
    line = f"{result['op']:45s} {result['dtype']:9s} {result['verdict']:12s} {result['passed']:3d}/{result['ran']:3d}"
    print(f"{line} {how(result):9s} {result['seconds']:6.1f}s", flush=True)
    for f in result["failures"] if verbose else result["failures"][:1]:
        print(f"    {f['what']} {f['case']}\n      {f['kind']}: {f['text'][: 20000 if verbose else 300]}", flush=True)
    if verbose:
        print("    ", result["ops"])


def summary(table: list[dict]) -> str:
    verdicts = collections.Counter(r["verdict"] for r in table)
    ways = collections.Counter(how(r) for r in table)
    ran, passed = sum(r["ran"] for r in table), sum(r["passed"] for r in table)
    return (
        f"{len(table)} ops: {', '.join(f'{v} {k}' for k, v in verdicts.most_common())}; "
        f"{', '.join(f'{v} {k}' for k, v in ways.most_common())}; {passed} of {ran} checks"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--mesh", help="shape, as 2,2; default: one axis of all ranks")
    parser.add_argument("--only", help="names or patterns of ops, by commas; of a family's samples: a part of the name")
    parser.add_argument("--family", help="of extra.py, by commas")
    parser.add_argument("--dtype", default="float32", help="by commas")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--samples", type=int, default=8, help="per op, taken evenly from all of them")
    parser.add_argument("--draws", type=int, default=2, help="layouts per sample")
    parser.add_argument("--timeout", type=float, default=240, help="seconds per op")
    parser.add_argument("--json", help="where to write all results")
    parser.add_argument("--verbose", action="store_true", help="every failure")
    args = parser.parse_args()
    table = run(args)
    print(summary(table))
    return 1 if any(r["verdict"] in GRAVITY[:6] for r in table) else 0


if __name__ == "__main__":
    sys.exit(main())
