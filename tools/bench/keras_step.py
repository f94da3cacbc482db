"""A Keras train step under ModelParallel on a mesh of one process beside plain Keras.

    python tools/bench/keras_step.py [--rounds N] [--steps N] [--only TEXT] [--profile]

Milliseconds per train_on_batch (median of the rounds) and the median of the rounds' ratios. The last columns are the
next Keras: its own ModelParallel, over DTensor, beside its own plain step, where tools/setup found that release. Each
candidate is a process of its own, and they take their turns: only one runs at a time. Target: Weft's ratio at most 1.3.
"""

import argparse
import functools
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import figures
import keras_models as km
import timing

TARGET = 1.3
NIGHTLY = Path(sys.prefix) / "keras-nightly"
WORKLOADS = {
    "20 x Dense(64), SGD": km.Workload(km.dense(20, 64), km.numbers(32, 64), km.sgd),
    "20 x Dense(64), Adam": km.Workload(km.dense(20, 64), km.numbers(32, 64), km.adam),
    "transformer, Adam": km.Workload(km.transformer, km.tokens(8), km.adam, "classes"),
    "conv net, Adam": km.Workload(km.conv_net, km.images(32), km.adam, "classes"),
}
RULES = {
    r".*(dense|up|head)[^/]*/kernel": (None, "model"),
    r".*down[^/]*/kernel": ("model", None),
    r".*attention[^/]*/(query|key|value)/kernel": (None, "model", None),
    r".*attention[^/]*/attention_output/kernel": ("model", None, None),
    r".*conv[^/]*/kernel": (None, None, None, "model"),
    r".*tokens/embeddings": ("model", None),
}


class Candidate:
    """A process that trains one way: plain, with Weft, or with Keras's own ModelParallel."""

    def __init__(self, way: str, nightly: bool = False) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
        if nightly:
            environment["PYTHONPATH"] = os.pathsep.join([str(NIGHTLY), *filter(None, [os.environ.get("PYTHONPATH")])])
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--worker", way],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL if nightly else None,  # it warns of each thing that it does not do
            text=True,
        )

    def __call__(self, **request: Any) -> Any:
        """The worker's answer. Raises RuntimeError with what it says when it fails."""
        print(json.dumps(request), file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"a candidate ended with exit code {self._process.wait()}")
        answer = json.loads(answer)
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer["value"]

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait()


def work(way: str) -> None:
    """Answers the requests on stdin: {"prepare": workload}, {"steps": n}, {"profile": n}."""
    import torch

    torch.set_num_threads(1)
    if way != "plain":
        distribute(way)
    answers, sys.stdout = sys.stdout, sys.stderr  # whatever Keras prints is no answer
    model, batch = None, None
    for line in sys.stdin:
        request = json.loads(line)
        try:
            value: Any = None
            if "prepare" in request:
                workload = WORKLOADS[request["prepare"]]
                model, batch = workload.compiled(), workload.batch()
                steps(model, batch, 5)
            elif "profile" in request:
                value = profile(model, batch, request["profile"])
            else:
                value = steps(model, batch, request["steps"])
            answer = {"value": value}
        except Exception as e:
            answer = {"error": f"{type(e).__name__}: {str(e).splitlines()[0]}"}
        print(json.dumps(answer), file=answers, flush=True)


def distribute(way: str) -> None:
    """ModelParallel over one process, by Weft or by Keras itself."""
    import keras

    if way == "weft":
        import weft.keras

        weft.keras.enable()
        keras.distribution.initialize()
    else:
        keras.distribution.initialize("127.0.0.1:0", 1, 0)
    mesh = keras.distribution.DeviceMesh((1, 1), ["batch", "model"], ["cpu:0"])
    layouts = keras.distribution.LayoutMap(mesh)
    for pattern, axes in RULES.items():
        layouts[pattern] = axes
    keras.distribution.set_distribution(keras.distribution.ModelParallel(layout_map=layouts, batch_dim_name="batch"))


def steps(model: Any, batch: tuple, number: int) -> float:
    """Milliseconds per step."""
    return timing.per_call(lambda: model.train_on_batch(*batch), number) / 1e3


def profile(model: Any, batch: tuple, number: int) -> str:
    import cProfile
    import io
    import pstats

    profiler = cProfile.Profile()
    profiler.runcall(steps, model, batch, number)
    text = io.StringIO()
    pstats.Stats(profiler, stream=text).sort_stats("tottime").print_stats(25)
    return text.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30, help="in each of which all take their turn (default 30)")
    parser.add_argument("--steps", type=int, default=10, help="in a turn (default 10)")
    parser.add_argument("--only", default="", help="the workloads whose names have this in them")
    parser.add_argument("--profile", action="store_true", help="print where plain and Weft's steps spend their time")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        return work(options.worker)

    candidates = {"plain": Candidate("plain"), "weft": Candidate("weft")}
    if NIGHTLY.is_dir():
        candidates |= {"next plain": Candidate("plain", nightly=True), "next own": Candidate("dtensor", nightly=True)}
    print(
        f"{'ms per step':24s}" + "".join(f"{who:>12s}" for who in candidates) + f"{'weft/plain':>13s}{'own/plain':>12s}"
    )
    for name in WORKLOADS:
        if options.only in name:
            measure(name, candidates, options)
    for candidate in candidates.values():
        candidate.close()


def measure(name: str, candidates: dict[str, Candidate], options: argparse.Namespace) -> None:
    """Prints one line."""
    running, failed = {}, []
    for who, candidate in candidates.items():
        try:
            candidate(prepare=name)
            running[who] = candidate
        except RuntimeError as e:
            failed.append(f"  {who} does not run it: {e}")
    turns = {who: functools.partial(candidate, steps=options.steps) for who, candidate in running.items()}
    ms = timing.in_turns(turns, options.rounds)
    if "weft" in ms and "plain" in ms:
        figures.note(f"{name}, ModelParallel on one process", "plain Keras", "ms", ms["weft"], ms["plain"], goal=1.3)
    line = f"{name:24s}"
    for who in candidates:
        line += f"{statistics.median(ms[who]):12.2f}" if who in ms else f"{'-':>12s}"
    for over, under, width in (("weft", "plain", 13), ("next own", "next plain", 12)):
        if over in ms and under in ms:
            ratio = statistics.median(a / b for a, b in zip(ms[over], ms[under], strict=True))
            line += f"{ratio:{width}.2f}"
        else:
            line += f"{'-':>{width}s}"
    print(line + "".join(f"\n{fault}" for fault in failed), flush=True)
    if options.profile:
        for who in ("plain", "weft"):
            print(f"--- {who}\n{running[who](profile=20)}")


if __name__ == "__main__":
    main()
