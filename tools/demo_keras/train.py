"""Trains stock Keras models, sharded by variable paths over a 2 x 2 mesh, or in one plain process.

Run it with tools/demo --keras, which starts one plain process of it and then four ranks. What Weft needs is in
`distribute`; the models and `fit` are those of the plain process.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import options
import show
import torch
from models import WORKLOADS, Workload, keras, np
from ranks import LossesPart
from show import History
from torch.distributed.elastic.multiprocessing.errors import record
from weft.text_table import human

TOLERANCE = 1e-4  # of the losses, at every step


class Steps(keras.callbacks.Callback):
    """Loss and time of each step, of its own batch rather than of the epoch so far; told to `on_step`."""

    def __init__(self, on_step: Callable[[float, float], None]) -> None:
        super().__init__()
        self._on_step = on_step

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self.model.reset_metrics()
        self._start = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self._on_step(float(logs["loss"]), time.perf_counter() - self._start)


def build(workload: Workload, o: Any) -> Any:
    keras.utils.set_random_seed(o.seed)
    model = workload.model()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    # A gradient that is nearly zero is mostly rounding, and Adam divides it by its own size: hence the large epsilon.
    model.compile(optimizer=keras.optimizers.AdamW(2e-3, epsilon=1e-5), loss=loss)
    return model


def fit(model: Any, workload: Workload, o: Any, on_step: Callable[[float, float], None]) -> str:
    """Trains it, and returns what it can do then."""
    random = np.random.default_rng(o.seed)
    x, y = workload.data(random, o.rows)
    model.fit(x, y, batch_size=o.batch, epochs=o.epochs, verbose=0, callbacks=[Steps(on_step)])
    return workload.ability(model, random)


def steps_of(o: Any) -> int:
    return -(-o.rows // o.batch) * o.epochs


def plain(o: Any) -> None:
    """One process, as if there were no Weft; leaves what it found in a file."""
    view, found = show.View(on=True), {}
    for workload in WORKLOADS:
        history = History()
        view.title(f"{workload.name}, in one plain process")
        with view.training(steps_of(o)):

            def on_step(loss: float, seconds: float, history: History = history) -> None:
                history.add(loss, seconds)
                view.step(history)

            history.ability = fit(build(workload, o), workload, o, on_step)
        found[workload.name] = vars(history)
    Path(o.write_plain).write_text(json.dumps(found))


def distribute(workload: Workload) -> None:
    """All that it takes: from here on Keras's models are sharded."""
    mesh = keras.distribution.DeviceMesh((2, 2), ["batch", "model"])
    layouts = keras.distribution.LayoutMap(mesh)
    for pattern, axes in workload.rules.items():
        layouts[pattern] = axes
    keras.distribution.set_distribution(keras.distribution.ModelParallel(layout_map=layouts, batch_dim_name="batch"))


def sharded(o: Any) -> None:
    """One of four ranks; rank 0 prints, and compares each loss with the plain process's."""
    import weft.keras
    from structure import layers_of
    from weft.drawing.picture import Picture, Section

    weft.keras.enable()
    keras.distribution.initialize()
    first = weft.rank() == 0
    view, results, sections = show.View(on=first), [], []
    found = json.loads(Path(o.read_plain).read_text())
    for workload in WORKLOADS:
        expected, history = History(**found[workload.name]), History()
        view.title(f"{workload.name}, on four processes")
        distribute(workload)
        # Random values are those of one process: each rank draws all of them and keeps its part.
        with weft.random_mode("replay"):
            model = build(workload, o)
            report = weft.keras.report(model)
            view.layouts(report)
            with view.training(steps_of(o)):

                def on_step(loss: float, seconds: float, history: Any = history, expected: Any = expected) -> None:
                    history.add(loss, seconds)
                    if first:
                        view.step(history, expected)
                        compare(history, expected)

                history.ability = fit(model, workload, o, on_step)
        sections.append(Section(workload.name, about(report), layers_of(model)))
        results.append((workload.name, history, expected))
        view.abilities(history, expected)
    if first:
        mesh = keras.distribution.distribution().device_mesh.backend_mesh
        Path(o.out).parent.mkdir(parents=True, exist_ok=True)
        Picture("Who holds which part\nof which variable", sections, mesh, in_order=True).save(o.out)
        view.summary(results, o.out)
    torch.distributed.barrier()  # nobody leaves while another still works
    torch.distributed.destroy_process_group()


def about(report: Any) -> str:
    return (
        f"{len(report.rows)} variables, {human(report.bytes)}; {human(report.bytes_per_rank)} on a rank "
        f"of {report.mesh}"
    )


def compare(history: History, expected: History) -> None:
    step, loss, plain_loss = len(history.loss), history.loss[-1], expected.loss[len(history.loss) - 1]
    if not abs(loss - plain_loss) <= TOLERANCE:
        raise LossesPart(
            f"the losses part at step {step}: {loss:.6f} sharded, {plain_loss:.6f} plain, "
            f"which is more than {TOLERANCE:g}"
        )


if __name__ == "__main__":
    options = options.parse()
    try:
        record(plain if options.write_plain else sharded)(options)
    except Exception:
        sys.exit(1)  # launch.py shows it, if it was the first
