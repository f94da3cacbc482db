"""Runs the GPU checks one after the other and prints a table of them, with the date and the card.

    python tools/gpu_checks/run.py [--device cpu] [--table FILE] [check ...]

tools/gpu builds the library and calls this. Checks are the other scripts of this folder, by name, and `dispatch`: the
host's cost per op (tools/bench/dispatch.py). Exit code 1 where one fails or takes too long.
"""

import argparse
import datetime
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

import torch

HERE = Path(__file__).parent
CHECKS = {
    "one_rank": HERE / "one_rank.py",
    "redistribute": HERE / "redistribute.py",
    "random_values": HERE / "random_values.py",
    "models": HERE / "models.py",
    "torchscript": HERE / "torchscript.py",
    "pack": HERE / "pack.py",
    "overlap": HERE / "overlap.py",
    "decode": HERE / "decode.py",
    "dispatch": HERE.parent / "bench" / "dispatch.py",
}


def run(script: Path, device: str, limit: float) -> tuple[bool, list[str]]:
    """Whether the script ended well, and its lines of output, which are shown as they come."""
    lines = []
    process = subprocess.Popen(
        ["timeout", "--kill-after=5", str(limit), sys.executable, "-u", str(script), "--device", device],
        stdout=subprocess.PIPE,
        stderr=None,
        text=True,
    )
    for line in process.stdout:
        lines.append(line.rstrip())
        print(f"  {lines[-1]}", flush=True)
    code = process.wait()
    if code:
        lines.append(f"FAILED: {f'not done after {limit:.0f} s' if code in (124, 137) else f'exit code {code}'}")
        print(f"  {lines[-1]}", flush=True)
    return code == 0, lines


def card(device: str) -> str:
    if device == "cuda":
        return f"{torch.cuda.get_device_name()}, CUDA {torch.version.cuda}"
    return f"no GPU: {platform.machine()} CPU"


def table(device: str, results: list[tuple[str, bool, list[str], float]]) -> str:
    """Markdown, with the date, the card and the versions; of each check its name, its result, lines and seconds."""
    rows = [f"{datetime.date.today()}, {card(device)}, torch {torch.__version__}, {os.cpu_count()} CPU cores", ""]
    rows += ["| check | result | s |", "| --- | --- | --- |"]
    for name, good, lines, seconds in results:
        # The host's costs are a table of their own above; here its closing line.
        told = lines[-1:] if name == "dispatch" else lines
        rows.append(f"| {name}: {'passed' if good else 'FAILED'} | {'<br>'.join(told)} | {seconds:.0f} |")
    failed = [name for name, good, _, _ in results if not good]
    rows += [
        "",
        " ".join(
            [f"{len(results) - len(failed)} of {len(results)} checks passed", *(["FAILED:"] if failed else []), *failed]
        ),
    ]
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu: to try the checks themselves")
    parser.add_argument("--limit", type=float, default=240, help="seconds for one check (default 240)")
    parser.add_argument("--table", type=Path, metavar="FILE", help="writes the table there too, as Markdown")
    parser.add_argument("checks", nargs="*", metavar="check", help=f"which ones; default all: {' '.join(CHECKS)}")
    options = parser.parse_args()
    if unknown := set(options.checks) - set(CHECKS):
        parser.error(f"no such check: {' '.join(sorted(unknown))}; known: {' '.join(CHECKS)}")
    if options.device == "cuda" and not torch.cuda.is_available():
        sys.exit(f"torch {torch.__version__} sees no GPU: nothing was checked")
    # Ranks share one machine: more threads in each would only fight for its cores.
    os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", GLOO_SOCKET_IFNAME="lo", TORCH_CPP_LOG_LEVEL="ERROR")
    os.environ.update(TOKENIZERS_PARALLELISM="false", HF_HUB_OFFLINE="1")

    results: list[tuple[str, bool, list[str], float]] = []
    for name in options.checks or CHECKS:
        print(f"== {name}", flush=True)
        start = time.monotonic()
        good, lines = run(CHECKS[name], options.device, options.limit)
        results.append((name, good, lines, time.monotonic() - start))

    shown = table(options.device, results)
    print(f"\n{shown}")
    if options.table is not None:
        options.table.write_text(f"# Checks and figures of a GPU\n\n{shown}\n")
    failed = [name for name, good, _, _ in results if not good]
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
