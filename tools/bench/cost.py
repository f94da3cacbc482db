"""What collectives take beside what the planner takes them to take, on Gloo ranks of this machine.

    python tools/bench/cost.py [--ranks N] [--rounds N] [--repeats N]

Predicted and measured seconds for each kind and for several sizes, as redistributions issue them: of each the
collective alone is timed, as traces tell it. Each round is a program of its own, which measures costs at its start. Of
each case the median of the rounds' ratios is told, and between what they lie: a machine whose cores are shared may be
another one from a second to the next. The ratio to reach is 0.8 to 1.3.
"""

import argparse
import os
import statistics

os.environ["WEFT_COST"] = "measure"

import figures
import timing
import torch
import weft

SIZES = (8 << 10, 128 << 10, 1 << 20, 4 << 20)  # bytes that a rank holds before or after
IN_A_ROW = 2
STATES = {  # how a matrix of rows lies before and after
    "all_gather": (("x", None), None, (None, None), None),
    "all_to_all": (("x", None), None, (None, "x"), None),
    "all_reduce": ((None, None), {"x": "sum"}, (None, None), None),
    "reduce_scatter": ((None, None), {"x": "sum"}, ("x", None), None),
}


def measure(options: argparse.Namespace) -> list[tuple[str, int, float, float]]:
    mesh = weft.DeviceMesh((options.ranks,), ("x",))
    cost = weft.cost(mesh)
    moves, times = {}, {}
    for kind, (axes, pending, to_axes, to_pending) in STATES.items():
        start = weft.TensorLayout(axes, mesh, pending)
        goal = weft.TensorLayout(to_axes, mesh, to_pending)
        for size in SIZES:
            held = size * options.ranks if kind == "all_to_all" else size
            columns = 64 * options.ranks
            sizes = [held // 4 // columns, columns]
            shape = [n // options.ranks if a == "x" else n for n, a in zip(sizes, axes, strict=True)]
            x = weft.from_local(torch.ones(shape), start, sizes)
            moves[kind, size] = lambda x=x, goal=goal: weft.distribute_tensor(x, goal)
            times[kind, size] = []
    for turn in range(-2, options.repeats):
        for case, move in moves.items():
            move()  # in it ranks wait for the one that comes last
            with weft.trace() as trace:
                for _ in range(IN_A_ROW):
                    move()
            if turn >= 0:
                times[case].append(sum(m.duration for m in trace.moments) * 1e-9 / IN_A_ROW)
    return [(kind, size, cost.seconds(kind, "x", size), statistics.median(of)) for (kind, size), of in times.items()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=21, help="of each case in a round (default 21)")
    options = parser.parse_args()
    rounds = [timing.gloo_ranks(options.ranks, measure, options) for _ in range(options.rounds)]
    print(f"{'collective':16}{'bytes':>10}{'predicted us':>14}{'measured us':>13}  ratio")
    medians = []
    for rows in zip(*rounds, strict=True):
        kind, size = rows[0][:2]
        predicted, measured = [row[2] for row in rows], [row[3] for row in rows]
        ratios = [p / m for p, m in zip(predicted, measured, strict=True)]
        medians.append(statistics.median(ratios))
        us = "".join(f"{statistics.median(of) * 1e6:{w}.0f}" for of, w in ((predicted, 14), (measured, 13)))
        print(f"{kind:16}{size:>10}{us}  {timing.median_between(ratios)}")
        figures.note(f"{kind} of {size} bytes, predicted", "measured", "s", predicted, measured, headline=False)
    within = sum(0.8 <= r <= 1.3 for r in medians)
    print(f"medians: {min(medians):.2f} to {max(medians):.2f}, {within} of {len(medians)} within 0.8 to 1.3")


if __name__ == "__main__":
    main()
