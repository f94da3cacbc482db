"""Variables that are sharded as they are made: values as in one process, and never a whole one in memory."""

from pathlib import Path

import pytest
from keras_torch.harness import distribute, keras, np, plain, weft
from support.ranks import RankPool

MIB = 1 << 20


def initialized(name: str, shape: tuple[int, ...], axes: tuple) -> tuple[bool, tuple]:
    """Whether a variable has the values of plain Keras, and its layout."""

    def make() -> keras.Variable:
        keras.utils.set_random_seed(5)
        with keras.name_scope("layer"):
            initializer = keras.initializers.Constant(0.3) if name == "constant" else keras.initializers.get(name)
            return keras.Variable(initializer, shape=shape, name="kernel")

    plain()
    expected = make().numpy()
    distribute((2, 2), {"layer/kernel": axes})
    try:
        variable = make()
        return bool(np.array_equal(variable.numpy(), expected)), weft.layout_of(variable._value).axes
    finally:
        plain()


INITIALIZERS = [
    "zeros",
    "ones",
    "constant",
    "random_normal",
    "random_uniform",
    "truncated_normal",
    "glorot_normal",
    "glorot_uniform",
    "he_normal",
    "he_uniform",
    "lecun_normal",
    "lecun_uniform",
    "variance_scaling",
    "orthogonal",
    "identity",
]


@pytest.mark.parametrize("name", INITIALIZERS)
def test_initializer(keras4: RankPool, name: str) -> None:
    for axes in [("model", None), (("batch", "model"), None)]:
        assert keras4(initialized, name, (13, 6), axes) == [(True, axes)] * 4


def test_large_random_values_are_drawn_in_pieces(keras4: RankPool) -> None:
    axes = ("batch", "model")
    for name in ("random_normal", "glorot_uniform", "truncated_normal"):
        assert keras4(initialized, name, (1100, 1101), axes) == [(True, axes)] * 4


def peak() -> int:
    """The largest resident size since the last reset, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmHWM in /proc/self/status")


def reset_peak() -> int:
    Path("/proc/self/clear_refs").write_text("5")
    return peak()


def build_large() -> tuple[int, int]:
    """Bytes of a model with its optimizer, and by how much the process grew at most while it was built."""
    distribute(
        (2, 2), {".*/kernel": ("batch", "model"), ".*/embeddings": (("batch", "model"), None), ".*/bias": ("model",)}
    )
    try:
        keras.Variable("glorot_uniform", shape=(64, 64))  # what is made once
        before = reset_peak()
        l = keras.layers
        model = keras.Sequential([keras.Input((4,), dtype="int32"), l.Embedding(8192, 2048), l.Dense(8192), l.Dense(4)])
        model.compile(optimizer=keras.optimizers.SGD(0.1, momentum=0.9), loss="mse")
        model.optimizer.build(model.trainable_variables)
        grown = peak() - before
        variables = [*model.variables, *model.optimizer.variables]
        return sum(v._value.numel() * v._value.element_size() for v in variables), grown
    finally:
        plain()


def test_a_model_larger_than_a_rank_is_built() -> None:
    """Each rank holds a quarter; neither the model nor any large variable is ever whole on one."""
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("needs Linux's peak resident size")
    # Large blocks go back to the system when they are freed: what is measured is what is in use.
    with RankPool(4, env={"MALLOC_MMAP_THRESHOLD_": str(MIB)}, imports=["keras_torch.harness"]) as pool:
        for total, grown in pool(build_large, timeout=120):
            assert total > 255 * MIB
            assert grown < total / 4 + 16 * MIB, f"{grown / MIB:.0f} MiB for a model of {total / MIB:.0f} MiB"
