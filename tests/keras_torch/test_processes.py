"""Devices, processes and their random state: keras.distribution before a model is built."""

import os
import random
from collections.abc import Callable
from typing import Any
from unittest import mock

import pytest
from keras_torch.conftest import RELEASES, keras_ranks
from keras_torch.harness import keras, np, plain, refusal, torch, weft
from support.ranks import RankPool

D = keras.distribution
TORCHRUN = ("MASTER_ADDR", "MASTER_PORT", "WORLD_SIZE", "RANK")
KERAS = ("JOB_ADDRESSES", "NUM_PROCESSES", "PROCESS_ID")


def fresh(release: str, fn: Callable) -> list:
    """What a function returns on two new processes, where nothing is initialized."""
    with keras_ranks(2, release, init=False) as pool:
        return pool(fn, timeout=120)


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


def group_made_with(*arguments: Any) -> tuple[tuple, dict]:
    with (
        mock.patch("torch.distributed.is_initialized", lambda: False),
        mock.patch("torch.distributed.init_process_group") as init,
        mock.patch("weft.process.same_random_state"),
        mock.patch("weft.keras.random_state.synchronize"),
    ):
        D.initialize(*arguments)
    init.assert_called_once()
    return init.call_args.args, init.call_args.kwargs


def group() -> None:
    """Process 0's address is what counts of several."""
    weft.keras.enable()
    with mock.patch("torch.cuda.is_available", lambda: False):
        for addresses in ("10.0.0.1:1234", "10.0.0.1:1234,10.0.0.2:2345"):
            args, kwargs = group_made_with(addresses, 2, 1)
            assert args == ("gloo",)
            assert kwargs == {"rank": 1, "world_size": 2, "init_method": "tcp://10.0.0.1:1234"}


def test_process_group(keras1: RankPool) -> None:
    keras1(group)


# ---- random state ---------------------------------------------------------------------------------------------------
def draw() -> list[float]:
    """Draws from every generator that Keras, its users and its data adapters draw from."""
    layer = keras.layers.Dense(2)
    layer.build((None, 2))
    values = [random.random(), np.random.rand(), torch.rand(1), keras.random.normal((1,)), layer.kernel]
    values += [keras.random.SeedGenerator().next()[0], keras.src.utils.rng_utils.get_random_seed()]
    return [float(keras.ops.convert_to_numpy(v).flat[0]) for v in values]


def seed(rank: int, with_keras_generator: tuple[int, ...]) -> None:
    """Seeds by the rank, as programs do that seed so, or by the clock."""
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
