"""Keras on ranks: the same program in one plain process and sharded, side by side.

Import it before Keras: it chooses the torch backend, and with WEFT_TEST_KERAS=nightly the next Keras, which tools/setup
puts beside the released one.
"""

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

os.environ["KERAS_BACKEND"] = "torch"
NIGHTLY = Path(sys.prefix) / "keras-nightly"
NIGHTLY_IS_USED = os.environ.get("WEFT_TEST_KERAS") == "nightly"
if NIGHTLY_IS_USED:
    sys.path.insert(0, str(NIGHTLY))

import keras  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
import weft  # noqa: E402
import weft.keras  # noqa: E402

Rules = Mapping[str, tuple] | Callable[[Any], Any]  # or what makes a LayoutMap for a mesh


def distribute(shape: tuple[int, ...] | None, rules: Rules, axis_names: tuple = ("batch", "model")) -> Any:
    """Sets ModelParallel over a mesh of that shape with those rules, and returns it. No shape: DataParallel."""
    weft.keras.enable()
    keras.distribution.initialize()
    if shape is None:
        distribution = keras.distribution.DataParallel()
        keras.distribution.set_distribution(distribution)
        return distribution
    mesh = keras.distribution.DeviceMesh(shape, list(axis_names))
    if callable(rules):
        layouts = rules(mesh)
    else:
        layouts = keras.distribution.LayoutMap(mesh)
        layouts.update(rules)
    distribution = keras.distribution.ModelParallel(layout_map=layouts, batch_dim_name=axis_names[0])
    keras.distribution.set_distribution(distribution)
    return distribution


if NIGHTLY_IS_USED:
    # Without a distribution it averages over whatever processes there are; the plain run is to be that of one process.
    from keras.src.backend.torch.trainer import Trainer
    from keras.src.trainers.trainer import BaseTrainer

    Trainer._initialize_ddp = lambda self: None
    Trainer.get_metrics_result = BaseTrainer.get_metrics_result


def plain() -> None:
    """Back to one plain process: no distribution, names from the start."""
    keras.distribution.set_distribution(None)
    keras.backend.clear_session()


def side_by_side(run: Callable[[], Any], shape: tuple[int, ...] | None, rules: Rules) -> tuple[Any, Any]:
    """What `run` returns in plain Keras, and sharded; from the same seed and with the same random values."""
    plain()
    keras.utils.set_random_seed(11)
    expected = run()
    plain()
    distribute(shape, rules)
    try:
        keras.utils.set_random_seed(11)
        with weft.random_mode("replay"):
            return expected, run()
    finally:
        plain()


def differences(expected: Any, got: Any, path: str = "") -> dict[str, float]:
    """The largest relative difference of each array in two nestings of the same structure."""
    if isinstance(expected, Mapping):
        assert expected.keys() == got.keys(), f"{path}: {list(expected)} and {list(got)}"
        pairs = [(f"{path}/{key}", expected[key], got[key]) for key in expected]
    elif isinstance(expected, (list, tuple)):
        assert len(expected) == len(got), f"{path}: {len(expected)} and {len(got)} entries"
        pairs = [(f"{path}/{i}", e, g) for i, (e, g) in enumerate(zip(expected, got, strict=True))]
    else:
        e, g = np.asarray(expected, np.float64), np.asarray(got, np.float64)
        assert e.shape == g.shape, f"{path}: shapes {e.shape} and {g.shape}"
        scale = max(np.abs(e).max(initial=0.0), 1e-3)
        return {path: float(np.abs(e - g).max(initial=0.0) / scale)}
    found: dict[str, float] = {}
    for name, e, g in pairs:
        found.update(differences(e, g, name))
    return found


def refusal(call: Callable) -> str:
    """What the ValueError of a call says."""
    try:
        got = call()
    except ValueError as e:
        return str(e)
    raise AssertionError(f"no ValueError, but {got}")


def sharded_variables(model: Any) -> list[str]:
    """Paths of the variables that are split."""
    return [v.path for v in model.variables if weft.is_sharded(v._value) and any(weft.layout_of(v._value).axes)]


__all__ = [
    "differences",
    "distribute",
    "keras",
    "np",
    "plain",
    "refusal",
    "sharded_variables",
    "side_by_side",
    "torch",
    "weft",
]
