"""jit_compile=True: refused where no graphs are recorded, else the numbers of one plain process."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from keras_torch.cases import MLP_RULES, features
from keras_torch.fitting import wrong
from keras_torch.harness import NIGHTLY_IS_USED, distribute, keras, plain, side_by_side, torch, weft
from keras_torch.networks import mlp, residual_mlp
from support.ranks import RankPool
from support.versions import COMPILED_GRAPHS
from weft import compiling

needed = pytest.mark.skipif(not COMPILED_GRAPHS, reason="weft.compile_graphs needs torch 2.15")


def compiled_by_torch() -> str:
    distribute((1, 2), MLP_RULES)
    recorded = weft.compile_graphs(False)
    try:
        model = mlp()
        model.compile(optimizer="sgd", loss="mse", jit_compile=True)
        x, y = features(8, 8)
        model.fit(x, y, verbose=0)
    except ValueError as e:
        return str(e)
    finally:
        if recorded:
            weft.compile_graphs()
        plain()
    return "no error"


def test_jit_compile_is_refused(keras2: RankPool) -> None:
    for message in keras2(compiled_by_torch):
        assert "jit_compile=True under ModelParallel" in message and "jit_compile=False" in message
        assert "weft.compile_graphs()" in message


@contextmanager
def recorded(backend: str) -> Iterator[None]:
    """Keras asks for no backend by name."""
    torch._dynamo.reset()
    original: Callable = torch.compile
    torch.compile = lambda function: original(function, backend=backend)
    before = weft.compile_graphs()
    try:
        yield
    finally:
        weft.compile_graphs(before)
        torch.compile = original


def trains(network: Callable[[], Any], optimizer: str, rows: int = 20) -> dict:
    """fit, evaluate and predict; of 20 rows with validation and smaller last batches, which are more programs."""
    model = network()
    jit_compile = keras.distribution.distribution() is not None
    model.compile(optimizer=optimizer, loss="mse", metrics=["mae"], jit_compile=jit_compile)
    x, y = features(rows, 8)
    validation = {"validation_split": 0.2} if rows % 8 else {}
    history = model.fit(x, y, batch_size=8, epochs=2, shuffle=False, verbose=0, **validation).history
    return {
        "history": history,
        "evaluated": model.evaluate(x, y, batch_size=8, verbose=0),
        "predicted": model.predict(x, batch_size=8, verbose=0),
        "weights": model.get_weights(),
    }


def compiled_runs(backend: str, shape: tuple[int, ...] | None, network: str) -> tuple[dict, int, bool, bool]:
    """How it differs from plain Keras, how many programs there are, whether any was left to Python, and whether Keras
    compiles any.

    The next Keras leaves torch.compile out under ModelParallel, and says so.
    """
    rows = 16 if backend == "inductor" else 20  # which takes long for each program
    run = {"mlp": lambda: trains(mlp, "sgd", rows), "residual": lambda: trains(residual_mlp, "adam", rows)}[network]
    with recorded(backend):
        torch._dynamo.utils.counters.clear()
        compiling._told = False
        expected, got = side_by_side(run, shape, MLP_RULES)
        programs = torch._dynamo.utils.counters["stats"]["unique_graphs"]
        return wrong(expected, got), programs, compiling._told, shape is None or not NIGHTLY_IS_USED


@needed
@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.one_keras  # the same steps are compiled
@pytest.mark.parametrize("network", ["mlp", pytest.param("residual", marks=pytest.mark.long)])
@pytest.mark.parametrize(
    "shape", [(1, 2), pytest.param(None, marks=pytest.mark.long)], ids=["ModelParallel", "DataParallel"]
)
@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.long)])
def test_jit_compile(keras2: RankPool, backend: str, shape: tuple[int, ...] | None, network: str) -> None:
    for differences, programs, left, compiles in keras2(compiled_runs, backend, shape, network, timeout=560):
        assert differences == {} and not left
        least = 3 if backend == "inductor" else 4  # whose fit has no smaller last batch and no validation
        assert programs >= least if compiles else programs == 0, programs
