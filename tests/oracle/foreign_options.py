"""The command line of tools/foreign_tests."""

import argparse
from pathlib import Path

DESCRIPTION = """\
Runs test files of another project, written for plain torch, with the tensors that they make sharded: what a factory of
torch gives a test (torch.randn, tensor, zeros, from_numpy and their like) is replicated or split over the ranks by one
of its dimensions, drawn by a seed; what the tests compare is compared as whole values. A test that passes plain has to
pass sharded.

  tools/foreign_tests ~/pytorch/test/test_indexing.py                         of PyTorch, of the version installed here
  tools/foreign_tests ~/pytorch/test/nn/test_pooling.py -k "not float64" --ranks 3
  tools/foreign_tests --table out.md ~/kornia/tests/geometry/test_homography.py

A line per file: how many pass plain and sharded, how many of the others Weft refuses (by code: weft.explain_error), and
what is left, each test with its error in the folder of --out. What asks for a tensor's memory (data_ptr, storage) and
for sparse, nested or quantized tensors is refused by design. After ranks that come apart, die or hang, new ones go on
with the next test."""


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="tools/foreign_tests",
        description=DESCRIPTION,
        epilog="Exit code 1 if a test that passes plain neither passes sharded nor is refused.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument("files", nargs="+", type=Path)
    p.add_argument(
        "-k", dest="names", default="", metavar="EXPRESSION", help="only tests whose names match, as pytest's"
    )
    p.add_argument("--ranks", type=int, default=2)
    p.add_argument("--seed", type=int, default=0, help="of the layouts")
    p.add_argument("--timeout", type=float, default=60, help="seconds a test may take sharded (default: %(default)s)")
    p.add_argument("--plugin", action="append", default=[], help="a module that pytest imports first; may be repeated")
    p.add_argument("--out", type=Path, default=Path("out/foreign_tests"), help="a folder (default: %(default)s)")
    p.add_argument("--table", type=Path, metavar="FILE", help="where to write a table in Markdown: a line per file")
    return p


if __name__ == "__main__":
    parser().parse_args()
