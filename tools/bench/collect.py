"""Runs the benchmarks one after the other and writes docs/results/figures.md, its chart and the README's table.

    tools/bench/all [--only REGEX] [--readme]

In at most 20 minutes on two quiet cores; each benchmark alone, at more length, is a script of its own with `--help`.
Figures of a run are kept in docs/results/figures.json, from which --readme makes the documents anew without measuring.
A benchmark that fails keeps its figures of before, is named at the end, and makes the exit code 1.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import figures
import show_figures
from tqdm import tqdm

ROOT = Path(__file__).resolve().parent.parent.parent
RESULTS = ROOT / "docs" / "results"
TIMEOUT = 900  # seconds of one benchmark, several times what it takes on a quiet machine
# What runs, with the options of a run that is one of many, and what it is about.
BENCHMARKS = {
    "dispatch": ((), "What an op costs above plain torch, 4x4 tensors, one rank"),
    "miss": (("--ranks", "8", "--shapes", "10000"), "The first call of a new shape, meshes of eight ranks"),
    "relayout": ((), "The host's work of laying a tensor out anew"),
    "first_step": ((), "The first step of a program"),
    "optimizer": ((), "Optimizers and clipping on 100 parameters of 64x64, one rank"),
    "guard": ((), "What it costs that ranks which part are found out"),
    "megatron_block": ((), "A Llama block, forward and backward, two ranks"),
    "data_parallel": (("--rounds", "12"), "Train steps with a split batch, Llama of 4 layers, 2 sequences a rank"),
    "compile": (("--models", "64x32"), "Steps of a compiled Llama of 2 layers, beside the same op by op"),
    "scale": (("--ranks", "64", "16384"), "What a rank of a large mesh takes beside one of 64, without the others"),
    "cost": ((), "What collectives take beside what the planner takes them to take"),
    "checkpoint": (("--megabytes", "256", "--repeats", "9"), "Checkpoints, saved by four ranks and loaded by two"),
    "keras_step": (("--rounds", "12"), "A Keras train step under ModelParallel, a mesh of one process"),
    "keras_data_parallel": (("--rounds", "12", "--steps", "15"), "Keras's DataParallel, two ranks"),
}


def run(name: str, arguments: tuple[str, ...]) -> tuple[list[dict[str, Any]], str]:
    """The benchmark's figures, and what went wrong."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "figures")
        command = [sys.executable, str(ROOT / "tools" / "bench" / f"{name}.py"), *arguments]
        try:
            done = subprocess.run(
                command, env=os.environ | {figures.FILE: path}, capture_output=True, text=True, timeout=TIMEOUT
            )
        except subprocess.TimeoutExpired:
            return [], f"took more than {TIMEOUT} s"
        found = [dataclasses.asdict(figure) for figure in figures.read(path)]
        if done.returncode:
            return [], f"exit code {done.returncode}\n{(done.stdout + done.stderr)[-2000:]}"
        return found, "" if found else "no figures"


def machine() -> str:
    import torch

    processor = platform.processor() or platform.machine()
    with open("/proc/cpuinfo") as file:
        for line in file:
            if line.startswith("model name"):
                processor = line.split(":", 1)[1].strip()
                break
    cores = len(os.sched_getaffinity(0))
    return f"{processor}, {cores} cores; torch {torch.__version__}, Python {platform.python_version()}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", metavar="REGEX", help=f"which of {', '.join(BENCHMARKS)}")
    parser.add_argument("--readme", action="store_true", help="measure nothing: the documents from figures.json")
    options = parser.parse_args()
    store = RESULTS / "figures.json"
    kept: dict[str, Any] = json.loads(store.read_text()) if store.exists() else {}
    names = [] if options.readme else [name for name in BENCHMARKS if re.search(options.only, name)]
    failed = {}
    bar = tqdm(names, unit="benchmark")
    for name in bar:
        bar.set_description(name)
        arguments, title = BENCHMARKS[name]
        load, start = os.getloadavg()[0], time.monotonic()
        found, fault = run(name, arguments)
        if fault:
            failed[name] = fault
            continue
        kept[name] = {
            "title": title,
            "command": " ".join(("tools/bench/" + name + ".py", *arguments)),
            "machine": machine(),
            "date": datetime.date.today().isoformat(),
            "load": round(load, 1),
            "seconds": round(time.monotonic() - start),
            "figures": found,
        }
    kept = {name: kept[name] for name in BENCHMARKS if name in kept}
    store.write_text(json.dumps(kept, indent=1) + "\n")
    show_figures.write(kept, RESULTS / "figures.md", RESULTS / "figures.svg", ROOT / "README.md")
    for name, fault in failed.items():
        print(f"{name}: {fault}", file=sys.stderr)
    print(f"wrote {RESULTS / 'figures.md'}, its chart, and the table of README.md")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
