"""enable(): once, for a Keras that is known, or not at all."""

import subprocess
import sys
from pathlib import Path

import pytest

TORCH_OPS = Path(__file__).parents[2] / "torch_ops"

pytestmark = pytest.mark.skipif(sys.version_info < (3, 11), reason="Keras 3.15 needs Python 3.11")


def python(code: str, backend: str = "torch") -> subprocess.CompletedProcess:
    """A Python of its own: what enable() does lasts as long as the process."""
    return subprocess.run(
        [sys.executable, "-c", code],
        env={"PATH": "", "PYTHONPATH": str(TORCH_OPS), "KERAS_BACKEND": backend, "HOME": "/nonexistent"},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_twice_is_once() -> None:
    code = """
import keras, weft.keras
assert weft.keras.enabled_version() is None
assert weft.keras.enable() == keras.__version__ == weft.keras.enabled_version()
lib = keras.src.backend.distribution_lib
step = keras.Model.make_train_function
assert weft.keras.enable() == keras.__version__
assert keras.src.backend.distribution_lib is lib and keras.Model.make_train_function is step
print(keras.distribution.list_devices())
"""
    done = python(code)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "['cpu:0']\n"
    assert done.stderr.count("weft.keras: enabled for Keras 3.") == 1


UNTOUCHED = """
import keras
before = keras.src.backend.distribution_lib, keras.Model.make_train_function, keras.Variable._initialize
import weft.keras
for keras.__version__ in {versions}:
    try:
        weft.keras.enable()
    except ImportError as e:
        print(e)
assert weft.keras.enabled_version() is None
assert before == (keras.src.backend.distribution_lib, keras.Model.make_train_function, keras.Variable._initialize)
"""


def test_unknown_release_is_refused() -> None:
    versions = ["3.14.1", "3.17.0", "4.0.0", "3.1.5"]
    done = python(UNTOUCHED.format(versions=versions))
    assert done.returncode == 0, done.stderr
    for version, text in zip(versions, done.stdout.splitlines(), strict=True):
        assert f"Keras {version} is not known" in text and "3.15.x and 3.16.x" in text


def test_no_keras() -> None:
    done = python("import sys; sys.modules['keras'] = None; import weft.keras; weft.keras.enable()")
    assert "ImportError: [W003] weft.keras: Keras is not installed" in done.stderr


def test_plain_keras_is_as_before() -> None:
    """Without a distribution the hooks change nothing."""
    code = """
import numpy as np, keras
def run():
    keras.backend.clear_session()
    keras.utils.set_random_seed(1)
    layers = keras.layers
    model = keras.Sequential([keras.Input((4,)), layers.Dense(5), layers.Dropout(0.5), layers.Dense(1)])
    model.compile("adam", "mse")
    x = np.arange(40, dtype="float32").reshape(10, 4)
    return model.fit(x, x[:, :1], verbose=0, epochs=2).history["loss"], model.get_weights()
losses, weights = run()
import weft.keras
weft.keras.enable()
again, after = run()
assert losses == again and all((a == b).all() for a, b in zip(weights, after))
"""
    done = python(code)
    assert done.returncode == 0, done.stderr
