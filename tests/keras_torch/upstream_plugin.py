"""pytest plugin (-p keras_torch.upstream_plugin) for Keras's own tests: on torch, with Weft enabled before they load.

With WEFT_TEST_DISTRIBUTED each test runs under ModelParallel on a mesh of one process.

Nothing is skipped but what cannot run: tests that make a tf.data.Dataset where TensorFlow is not installed, and those
of a method that the Keras at hand does not have. Marks by which Keras leaves its tests to JAX are taken away.
"""

import importlib
import importlib.util
import inspect
import os
import sys
import types
from collections.abc import Callable
from typing import Any

import pytest
from keras_torch.harness import keras, weft
from weft.keras.hooks import wrap

weft.keras.enable()
if os.environ.get("WORLD_SIZE", "1") != "1":
    keras.distribution.initialize()

if os.environ.get("WEFT_TEST_DISTRIBUTED"):

    @wrap(importlib.import_module("keras.src.testing").TestCase, "setUp")
    def _(original: Callable, self: Any) -> None:
        original(self)  # clears the session, and with it what distribution there was
        layout_map = keras.distribution.LayoutMap(keras.distribution.DeviceMesh((1, 1), ["batch", "model"]))
        keras.distribution.set_distribution(keras.distribution.ModelParallel(layout_map=layout_map))


TENSORFLOW = importlib.util.find_spec("tensorflow") is not None


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Any:
    """Modules load with an empty one for the TensorFlow that they import. Keras never sees that: it would take it for
    the real one."""
    if TENSORFLOW or not isinstance(collector, pytest.Module):
        return (yield)
    sys.modules["tensorflow"] = types.ModuleType("tensorflow")
    try:
        return (yield)
    finally:
        del sys.modules["tensorflow"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for node in item.listchain():
            node.own_markers[:] = [m for m in node.own_markers if not _leaves_it_to_jax(m)]
        if reason := _cannot_run(item):
            item.add_marker(pytest.mark.skip(reason=reason))


def _leaves_it_to_jax(mark: pytest.Mark) -> bool:
    return mark.name == "skipif" and "JAX" in mark.kwargs.get("reason", "")


def _cannot_run(item: pytest.Item) -> str:
    names = inspect.unwrap(item.function).__code__.co_names  # type: ignore[attr-defined]
    if "distribute_dataset" in names and not hasattr(keras.distribution.ModelParallel, "distribute_dataset"):
        return f"Keras {keras.__version__} has no Distribution.distribute_dataset"
    if "tf" in names and not TENSORFLOW:
        return "TensorFlow is not installed"
    if "get_device_count" in names and keras.distribution.get_device_count() < 4:
        return "wants four devices: see the run on four ranks"
    return ""
