"""The command line of tools/opinfo."""

import argparse

DTYPES = ("float32", "int64", "bool", "complex64", "bfloat16")

DESCRIPTION = """\
Runs every op of PyTorch's own test data (OpInfo and foreach) on sharded tensors and compares it with the plain op:
results with and without gradients, gradients, in-place and out= variants. Each tensor argument is replicated, split,
a pending sum or plain, drawn by a seed; random ops must draw the values of the plain op.

  tools/opinfo                                        every op in every dtype class, on two ranks
  tools/opinfo --ranks 3 --only add,'linalg.*' --dtype float32,int64 --seed 1 --json out.json
  tools/opinfo --gathered                             which aten ops have no rule that fits, and who calls them
  tools/opinfo --splits                               which splits need no communication, and where Weft makes some
  tools/opinfo --family losses,norms                  samples of tests/oracle/extra.py instead

A line per op and dtype: verdict, checks passed, how its aten ops ran (ruled, composite: as other ops on the shards,
gathered: at least one of them once), bytes that rank 0 sent meanwhile, and the first failure. A rank that dies or hangs
costs one op, not the run. Verdicts: pass; exception (all failures are listed with a reason in tests/oracle/
exceptions.py); no tensors (the op takes none); nothing ran (the plain op refuses); value, shape, stride, dtype,
structure, layout, flags (wrong); raised; hang; died."""


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="tools/opinfo",
        description=DESCRIPTION,
        epilog="Exit code 1 if anything but pass, exception, no tensors and nothing ran is among the verdicts.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument("--ranks", type=int, default=2)
    p.add_argument("--mesh", help="shape, as 2,2, in place of --ranks")
    p.add_argument("--only", help="names or patterns of ops, by commas; of a family's samples: a part of the name")
    p.add_argument("--family", help="of tests/oracle/extra.py, by commas")
    p.add_argument("--dtype", default=",".join(DTYPES), help="by commas (default: %(default)s)")
    p.add_argument("--seed", type=int, default=0, help="of the layouts")
    p.add_argument("--choices", type=int, default=0, metavar="SEED", help="draw plans from all that the rules allow")
    p.add_argument("--samples", type=int, help="at most, per op, taken evenly from all of them (default: all)")
    p.add_argument("--draws", type=int, default=2, help="layouts per sample (default: %(default)s)")
    p.add_argument("--timeout", type=float, default=240, help="seconds per op (default: %(default)s)")
    p.add_argument("--json", metavar="FILE", help="where to write all results")
    p.add_argument("--table", metavar="FILE", help="where to write a table in Markdown: a line per op")
    p.add_argument("--gathered", action="store_true", help="at the end, a list of the aten ops that were gathered")
    p.add_argument("--splits", action="store_true", help="only that, with at most --samples (6) of an op, in float32")
    p.add_argument("--verbose", action="store_true", help="every failure, and how each aten op ran")
    return p


if __name__ == "__main__":
    parser().parse_args()
