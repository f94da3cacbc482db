"""Keras's meshes and layouts as Weft's: what they become, and what is refused."""

import contextlib
from typing import Any

import pytest
from keras_torch.harness import keras, np, plain, refusal, torch, weft
from support.ranks import RankPool

D = keras.distribution


def meshes() -> None:
    weft.keras.enable()
    lib = keras.src.backend.distribution_lib
    cpus = [f"cpu:{i}" for i in range(4)]
    mesh = D.DeviceMesh((2, 2), ["batch", "model"], cpus)
    ours = mesh.backend_mesh
    assert isinstance(ours, weft.DeviceMesh) and mesh.backend_mesh is ours and lib._to_backend_mesh(mesh) == ours
    assert (ours.shape, ours.axis_names, ours.ranks) == ((2, 2), ("batch", "model"), (0, 1, 2, 3))
    assert ours.device_type == "cpu"

    def other(shape: Any = (2, 2), names: Any = ("batch", "model"), devices: Any = cpus) -> weft.DeviceMesh:
        return D.DeviceMesh(shape, names, devices).backend_mesh

    equal = [other(), other([2, 2]), other(devices=np.array(cpus).reshape(2, 2)), other(devices=["CPU:0", *cpus[1:]])]
    assert all(m == ours and hash(m) == hash(ours) for m in equal)
    different = [other((4, 1)), other(names=("model", "batch")), other(devices=cpus[::-1])]
    different.append(other(devices=[f"gpu:{i}" for i in range(4)]))
    assert len({ours, *different}) == 5
    assert different[2].ranks == (3, 2, 1, 0) and different[3].device_type == "cuda"

    assert "cpu, gpu" in refusal(lambda: other(devices=["cpu:0", "cpu:1", "gpu:2", "gpu:3"]))
    assert "'tpu'" in refusal(lambda: other(devices=[f"tpu:{i}" for i in range(4)]))
    assert "'first'" in refusal(lambda: other(devices=["first", *cpus[1:]]))
    assert "rank 1 is there twice" in refusal(lambda: other(devices=["cpu:0", "cpu:1", "cpu:1", "cpu:3"]))
    assert "both named 'a'" in refusal(lambda: other(names=("a", "a")))


def test_meshes(keras1: RankPool) -> None:
    keras1(meshes)


def layouts() -> None:
    weft.keras.enable()
    lib = keras.src.backend.distribution_lib
    mesh = D.DeviceMesh((2, 2), ["batch", "model"], [f"cpu:{i}" for i in range(4)])

    def backend(*axes: Any) -> weft.TensorLayout:
        return lib._to_backend_layout(D.TensorLayout(axes, mesh))

    layout = D.TensorLayout(("batch", None), mesh)
    assert layout.backend_layout is layout.backend_layout and layout.backend_layout == backend("batch", None)
    assert layout.backend_layout.device_mesh == mesh.backend_mesh
    assert backend().axes == () and backend(None, None).axes == (None, None)
    for both in (["batch", "model"], ("batch", "model")):
        assert backend(both, None).axes == (("batch", "model"), None)
    assert backend(None, ("model", "batch")).axes == (None, ("model", "batch"))  # the first splits first
    assert backend(["model"], None) == backend(("model",), None) == backend("model", None)

    later = D.TensorLayout((["batch", "model"], None))
    assert "device mesh is not set" in refusal(lambda: lib._to_backend_layout(later))
    later.device_mesh = mesh
    assert later.axes == (("batch", "model"), None) and later.backend_layout == backend(("batch", "model"), None)

    for axes in (("batch", "batch"), (("batch", "batch"), None), (("model", "batch"), "batch")):
        assert "'batch' twice" in refusal(lambda axes=axes: backend(*axes))
        assert "'batch' twice" in refusal(lambda axes=axes: D.TensorLayout(axes))
    for axes in (("rows", None), (("batch", "rows"), None), (None, ["rows"]), (0, None)):
        assert "Invalid axis names" in refusal(lambda axes=axes: backend(*axes))
        without_mesh = D.TensorLayout(axes)
        assert "Invalid axis names" in refusal(lambda it=without_mesh: setattr(it, "device_mesh", mesh))


def test_layouts(keras1: RankPool) -> None:
    keras1(layouts)


def rules() -> tuple[tuple, ...]:
    """A LayoutMap takes the same entries, and a variable's rank is checked against its rule."""
    weft.keras.enable()
    mesh = D.DeviceMesh((2, 2), ["batch", "model"])
    layout_map = D.LayoutMap(mesh)
    layout_map["wide/kernel"] = [["batch", "model"], None]
    layout_map["flat/kernel"] = ("model",)
    assert "'model' twice" in refusal(lambda: layout_map.update({"x": ("model", "model")}))
    assert "rows" in refusal(lambda: layout_map.update({"x": ("rows", None)}))
    with D.ModelParallel(layout_map=layout_map).scope():
        message = refusal(lambda: keras.layers.Dense(4, name="flat").build((None, 8)))
        assert "flat/kernel" in message and "(8, 4)" in message and "('model',)" in message
        layer = keras.layers.Dense(4, name="wide")
        layer.build((None, 8))
    message = refusal(lambda: D.distribute_tensor(torch.ones(8), D.TensorLayout(("batch", None), mesh)))
    assert "1" in message and "2" in message
    return weft.layout_of(layer.kernel.value).axes, tuple(weft.local_tensor(layer.kernel.value).shape)


def test_rules_on_four_ranks(keras4: RankPool) -> None:
    assert keras4(rules) == [((("batch", "model"), None), (2, 4))] * 4


def data_parallel_on_two_axes() -> tuple:
    weft.keras.enable()
    x, y = np.arange(32.0, dtype="float32").reshape(8, 4) / 32, np.ones((8, 1), "float32")

    def losses() -> list[float]:
        keras.utils.set_random_seed(3)
        model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3), keras.layers.Dense(1)])
        model.compile(optimizer="sgd", loss="mse")
        return model.fit(x, y, batch_size=4, epochs=2, verbose=0, shuffle=False).history["loss"]

    plain()
    expected = losses()
    told = pytest.warns(UserWarning, match="2 axes.*'rows'") if weft.rank() == 0 else contextlib.nullcontext()
    with told:
        distribution = D.DataParallel(device_mesh=D.DeviceMesh((2, 2), ["rows", "columns"]))
    with distribution.scope():
        np.testing.assert_allclose(losses(), expected, rtol=1e-5)
    return distribution.batch_dim_name, distribution.get_data_layout((8, 4)).axes


def test_data_parallel_warns_of_a_second_axis(keras4: RankPool) -> None:
    assert keras4(data_parallel_on_two_axes) == [("rows", ("rows", None))] * 4
