"""Devices, processes, meshes and layouts of keras.distribution, in one process and in several."""

import os
import random
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import pytest
from keras_torch.conftest import RELEASES, require
from keras_torch.harness import keras, np, plain, torch, weft
from support.ranks import RankPool, run_ranks

D = keras.distribution
TORCHRUN = ("MASTER_ADDR", "MASTER_PORT", "WORLD_SIZE", "RANK")
KERAS = ("JOB_ADDRESSES", "NUM_PROCESSES", "PROCESS_ID")


@pytest.fixture(scope="module", params=RELEASES)
def keras1(request: pytest.FixtureRequest) -> Iterator[RankPool]:
    """One process without a process group."""
    require(request.param)
    with RankPool(1, init=False, env={"WEFT_TEST_KERAS": request.param}) as pool:
        yield pool


def fresh(release: str, fn: Callable) -> list:
    """What a function returns on two new processes, where nothing is initialized."""
    require(release)
    return run_ranks(2, fn, init=False, timeout=120, env={"WEFT_TEST_KERAS": release})


def refusal(call: Callable) -> str:
    """What the ValueError of a call says."""
    try:
        got = call()
    except ValueError as e:
        return str(e)
    raise AssertionError(f"no ValueError, but {got}")


# ---- devices --------------------------------------------------------------------------------------------------------
def devices() -> dict[str, Any]:
    weft.keras.enable()
    kinds = (None, "cpu", "CPU", "gpu", "tpu")
    listed = {kind: D.list_devices(kind) for kind in kinds}
    assert [D.get_device_count(kind) for kind in kinds] == [len(names) for names in listed.values()]
    for call in (D.list_devices, D.get_device_count):
        assert "'abacus'" in refusal(lambda call=call: call("abacus"))
    # Where there are GPUs: one for each process, and the default unless Keras is told to stay away from them.
    with mock.patch("torch.cuda.is_available", lambda: True):
        listed["gpu where torch has one"] = D.list_devices("gpu")
        listed["default where Keras runs on the CPU"] = D.list_devices()
    return listed


def check_devices(pool: RankPool) -> None:
    n = pool.nprocs
    cpus, gpus = ([f"{kind}:{i}" for i in range(n)] for kind in ("cpu", "gpu"))
    for listed in pool(devices):
        assert listed["cpu"] == listed["CPU"] == cpus
        assert listed["tpu"] == []
        assert listed["gpu"] == (gpus if torch.cuda.is_available() else [])
        assert listed[None] == (gpus if torch.cuda.is_available() else cpus)
        assert listed["gpu where torch has one"] == gpus
        if not torch.cuda.is_available():
            assert listed["default where Keras runs on the CPU"] == cpus


def test_devices_of_one_process(keras1: RankPool) -> None:
    check_devices(keras1)


def test_devices_of_two_processes(keras2: RankPool) -> None:
    check_devices(keras2)


def test_devices_of_four_processes(keras4: RankPool) -> None:
    check_devices(keras4)


# ---- initialize -----------------------------------------------------------------------------------------------------
def take_environment() -> dict[str, str]:
    """Torchrun's variables, which are then not set any more."""
    return {name: os.environ.pop(name) for name in TORCHRUN}


def initialized() -> tuple:
    lib = keras.src.backend.distribution_lib
    shared = weft.distribute_tensor(torch.arange(3.0), ("x",), weft.DeviceMesh((2,), ("x",), device_type="cpu"))
    distribution = D.DataParallel()
    assert (distribution.num_processes, distribution._process_id) == (lib.num_processes(), lib.process_id())
    return lib.process_id(), lib.num_processes(), D.list_devices("cpu"), shared.sum().item()


def from_torchrun() -> tuple:
    weft.keras.enable()
    D.initialize()
    D.initialize()  # a second time changes nothing
    return initialized()


def from_environment() -> tuple:
    """Keras's variables before torchrun's, which say otherwise."""
    weft.keras.enable()
    real = take_environment()
    os.environ.update(WORLD_SIZE="5", RANK="4", MASTER_ADDR="10.0.0.1", MASTER_PORT="1")
    addresses = f"{real['MASTER_ADDR']}:{real['MASTER_PORT']}"
    for name, value in zip(KERAS, (addresses, real["WORLD_SIZE"], real["RANK"]), strict=True):
        os.environ[f"KERAS_DISTRIBUTION_{name}"] = value
    D.initialize()
    return initialized()


def from_arguments() -> tuple:
    """Arguments before Keras's variables, which say otherwise; an address for each process."""
    weft.keras.enable()
    real = take_environment()
    for name, value in zip(KERAS, ("10.0.0.1:1", "5", "4"), strict=True):
        os.environ[f"KERAS_DISTRIBUTION_{name}"] = value
    addresses = f"{real['MASTER_ADDR']}:{real['MASTER_PORT']},127.0.0.1:9"
    D.initialize(addresses, int(real["WORLD_SIZE"]), int(real["RANK"]))
    return initialized()


@pytest.mark.parametrize(
    ("release", "how"),
    [("released", from_torchrun), ("released", from_environment), ("released", from_arguments)]
    + [("nightly", from_environment)],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_initialize(release: str, how: Callable) -> None:
    assert fresh(release, how) == [(rank, 2, ["cpu:0", "cpu:1"], 3.0) for rank in range(2)]


def adopt() -> tuple:
    weft.keras.enable()
    group = torch.distributed.group.WORLD
    with mock.patch.dict(os.environ, {"KERAS_DISTRIBUTION_NUM_PROCESSES": "not looked at"}):
        D.initialize()
    assert torch.distributed.group.WORLD is group
    return initialized(), refusal(lambda: D.initialize(num_processes=7, process_id=0))


def test_initialize_adopts_a_process_group(keras2: RankPool) -> None:
    for rank, (state, message) in enumerate(keras2(adopt)):
        assert state == (rank, 2, ["cpu:0", "cpu:1"], 3.0)
        assert "num_processes is 7" in message and f"rank {rank} of 2" in message


def alone() -> tuple:
    weft.keras.enable()
    with mock.patch.dict(os.environ):
        take_environment()
        D.initialize()
    lib = keras.src.backend.distribution_lib
    return lib.num_processes(), lib.process_id(), torch.distributed.is_initialized()


def test_initialize_with_nothing_set_is_a_world_of_one(keras1: RankPool) -> None:
    assert keras1(alone) == [(1, 0, False)]


def wrong_settings(environment: dict[str, str], arguments: dict[str, Any]) -> str:
    weft.keras.enable()
    ours = {name: value for name, value in os.environ.items() if name not in TORCHRUN}
    with mock.patch.dict(os.environ, {**ours, **environment}, clear=True), mock.patch("socket.socket") as socket:
        with mock.patch("torch.distributed.init_process_group") as init, mock.patch("torch.distributed.TCPStore") as s:
            message = refusal(lambda: D.initialize(**arguments))
    assert not socket.called and not init.called and not s.called
    return message


NUM, ID, JOBS = "KERAS_DISTRIBUTION_NUM_PROCESSES", "KERAS_DISTRIBUTION_PROCESS_ID", "KERAS_DISTRIBUTION_JOB_ADDRESSES"


@pytest.mark.parametrize(
    ("environment", "arguments", "words"),
    [
        ({}, {"num_processes": 2}, ["num_processes is 2", "process_id", ID]),
        ({}, {"process_id": 1}, ["process_id is set", "num_processes", NUM]),
        ({}, {"job_addresses": "a:1"}, ["job_addresses is set", NUM]),
        ({}, {"num_processes": 2, "process_id": 0}, ["job_addresses", JOBS, "MASTER_ADDR"]),
        ({}, {"num_processes": 2, "process_id": 2, "job_addresses": "a:1"}, ["process_id is 2", "last one is 1"]),
        ({}, {"num_processes": 2, "process_id": -1, "job_addresses": "a:1"}, ["process_id", "-1"]),
        ({}, {"num_processes": 0, "process_id": 0, "job_addresses": "a:1"}, ["num_processes", "0"]),
        ({}, {"num_processes": 3, "process_id": 0, "job_addresses": "a:1,b:2"}, ["job_addresses", "2 addresses"]),
        ({}, {"num_processes": 2, "process_id": 0, "job_addresses": "nowhere"}, ["job_addresses", "host:port"]),
        ({}, {"num_processes": 2, "process_id": 0, "job_addresses": "a:port"}, ["job_addresses", "'port'"]),
        ({NUM: "2"}, {}, [f"{NUM} is 2", ID]),
        ({NUM: "two", ID: "0", JOBS: "a:1"}, {}, [f"{NUM} is 'two'", "whole number"]),
        ({NUM: "2", ID: "0.0", JOBS: "a:1"}, {}, [f"{ID} is '0.0'", "whole number"]),
        ({NUM: "", ID: "0", JOBS: "a:1"}, {}, [f"{NUM} is ''"]),
        ({NUM: "2", ID: "7", JOBS: "a:1"}, {}, [f"{ID} is 7"]),
        ({NUM: "2", ID: "1", JOBS: ":1"}, {}, [JOBS, "host:port"]),
        ({ID: "1"}, {}, [f"{ID} is set", NUM]),
        ({NUM: "2", ID: "two"}, {"num_processes": 2, "job_addresses": "a:1"}, [f"{ID} is 'two'"]),
        ({"WORLD_SIZE": "2", "RANK": "1", "MASTER_ADDR": "a"}, {}, ["MASTER_PORT is not set"]),
        ({"WORLD_SIZE": "2"}, {}, ["WORLD_SIZE is 2", "RANK"]),
        ({"RANK": "1"}, {}, ["RANK is set", "WORLD_SIZE"]),
    ],
)
def test_wrong_settings_are_named_before_any_socket(
    keras1: RankPool, environment: dict[str, str], arguments: dict[str, Any], words: list[str]
) -> None:
    (message,) = keras1(wrong_settings, environment, arguments)
    for word in words:
        assert word in message


# ---- random state ---------------------------------------------------------------------------------------------------
def draw() -> list[float]:
    """From every generator that Keras, its users and its data adapters draw from."""
    layer = keras.layers.Dense(2)
    layer.build((None, 2))
    values = [random.random(), np.random.rand(), torch.rand(1), keras.random.normal((1,)), layer.kernel]
    values += [keras.random.SeedGenerator().next()[0], keras.src.utils.rng_utils.get_random_seed()]
    return [float(keras.ops.convert_to_numpy(v).flat[0]) for v in values]


def seed(rank: int, with_keras_generator: tuple[int, ...]) -> None:
    """As programs do that seed by the rank, or by the clock."""
    plain()
    keras.utils.set_random_seed(100 + rank)
    if rank in with_keras_generator:
        for _ in range(3 + rank):
            keras.random.normal((1,))
    random.random()


WITH_KERAS_GENERATOR = [(), (0,), (1,), (0, 1)]  # ranks on which Keras's own generator is there already


def seeds_initialized() -> list[list[float]]:
    weft.keras.enable()
    drawn = []
    for ranks in WITH_KERAS_GENERATOR:
        seed(int(os.environ["RANK"]), ranks)
        D.initialize()
        drawn.append(draw())
    return drawn


def seeds_of_an_own_group() -> list[float]:
    """The process group is the program's own, and initialize is never called."""
    weft.keras.enable()
    torch.distributed.init_process_group("gloo")
    seed(torch.distributed.get_rank(), (1,))
    D.set_distribution(D.DataParallel())
    D.set_distribution(None)
    return draw()


def in_one_process(with_keras_generator: tuple[int, ...]) -> list[float]:
    seed(0, with_keras_generator)
    return draw()


@pytest.mark.parametrize("release", RELEASES)
def test_initialize_gives_all_ranks_the_random_state_of_rank_0(release: str) -> None:
    expected = [in_one_process(ranks) for ranks in WITH_KERAS_GENERATOR]
    assert fresh(release, seeds_initialized) == [expected, expected]


@pytest.mark.parametrize("release", RELEASES)
def test_set_distribution_does_where_initialize_was_never_called(release: str) -> None:
    expected = in_one_process(())
    assert fresh(release, seeds_of_an_own_group) == [expected, expected]


# ---- meshes and layouts ---------------------------------------------------------------------------------------------
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
    with pytest.warns(UserWarning, match="2 axes.*'rows'"):
        distribution = D.DataParallel(device_mesh=D.DeviceMesh((2, 2), ["rows", "columns"]))
    with distribution.scope():
        np.testing.assert_allclose(losses(), expected, rtol=1e-5)
    return distribution.batch_dim_name, distribution.get_data_layout((8, 4)).axes


def test_data_parallel_warns_of_a_second_axis(keras4: RankPool) -> None:
    assert keras4(data_parallel_on_two_axes) == [("rows", ("rows", None))] * 4
