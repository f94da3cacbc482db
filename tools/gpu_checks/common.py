"""What the checks share. Each is a script that prints rows "what: figure" and ends with another code than 0 where
something is wrong; run.py makes the table of them."""

import argparse
import sys
from pathlib import Path

import torch

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "tools" / "bench"), str(ROOT / "tests")]

import figures  # noqa: E402  (found by the line above)
import timing  # noqa: E402

__all__ = ["device_option", "exact", "figures", "relative", "require", "row", "timing"]


def device_option(doc: str | None) -> str:
    """Reads the command line of a check: --device, where its tensors are."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="where tensors are (default cuda)")
    return parser.parse_args().device


def exact() -> None:
    """Same arithmetic for full tensors and their parts: no TF32, which rounds by the kernel that a size gets."""
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False


def row(what: str, figure: object) -> None:
    print(f"{what}: {figure}", flush=True)


def relative(got: torch.Tensor, want: torch.Tensor) -> float:
    """Norm of the difference by the norm of what was wanted."""
    return ((got.double() - want.double()).norm() / want.double().norm().clamp_min(1e-12)).item()


def require(holds: bool, what: str) -> None:
    if not holds:
        raise AssertionError(what)
