"""What sharded models save is what unsharded ones save, and is loaded anywhere."""

import json
import os
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from keras_torch.cases import two_inputs
from keras_torch.harness import differences, distribute, keras, np, plain, sharded_variables, torch, weft
from keras_torch.networks import branches
from support.ranks import RankPool

RULES = {
    ".*shared/kernel": (None, "model"),
    ".*shared/bias": ("model",),
    ".*inner_dense/kernel": ("model", None),
    ".*(gate|value)/kernel": (None, "model"),
    ".*head/kernel": (("batch", "model"), None),
}
FILES = ["model.keras", "model.weights.h5", "model.weights.json", "model.h5"]


def compiled(model: Any) -> Any:
    losses = [keras.losses.MeanSquaredError(), keras.losses.MeanAbsoluteError()]
    model.compile(optimizer=keras.optimizers.Adam(0.01, epsilon=1e-3), loss=losses)
    return model


def fit(model: Any, **more: Any) -> Any:
    x, y = two_inputs(13)
    return model.fit(x, y, batch_size=8, verbose=0, shuffle=False, **more).history


def trained() -> Any:
    keras.utils.set_random_seed(3)
    model = compiled(branches())
    fit(model)
    return model


def save(model: Any, file: Path) -> None:
    """Saves in the format that the file's name asks for."""
    if file.name.endswith(".weights.json"):
        model.save_weights(file, max_shard_size=1e-6)  # GB: about 1 KB
    elif ".weights." in file.name:
        model.save_weights(file)
    else:
        model.save(file)


def load(file: Path) -> Any:
    """The model of the file; weights alone go into a new one that has made some steps."""
    if file.suffix == ".keras":
        return keras.saving.load_model(file)
    if file.name == "model.h5":  # of a functional model's optimizer this old format restores nothing
        return compiled(keras.saving.load_model(file, compile=False))
    model = trained()
    model.load_weights(file)
    return model


def state(model: Any) -> dict:
    return {"weights": model.get_weights(), "optimizer": [v.numpy() for v in model.optimizer.variables]}


def on_mesh(shape: tuple[int, int] | None) -> None:
    plain()
    if shape:
        distribute(shape, RULES)


def contents(file: Path) -> dict[str, Any]:
    """All that a saved file says, by name: its datasets, attributes, JSON texts."""
    import h5py

    found: dict[str, Any] = {}

    def read(h5: Any, where: str = "") -> None:
        def visit(name: str, item: Any) -> None:
            found.update({f"{where}{name}@{k}": np.asarray(v).tolist() for k, v in item.attrs.items()})
            if isinstance(item, h5py.Dataset):
                found[where + name] = (str(item.dtype), item.shape, item[()].tobytes())

        found.update({f"{where}@{k}": np.asarray(v).tolist() for k, v in h5.attrs.items()})
        h5.visititems(visit)

    if file.suffix == ".keras":
        with zipfile.ZipFile(file) as archive:
            found["names"] = sorted(archive.namelist())
            text = archive.read("config.json").decode()
            ids = re.findall(r'"shared_object_id": (\d+)', text)  # addresses of objects
            found["config"] = re.sub(r'"shared_object_id": (\d+)', lambda m: f"{ids.index(m[1])}", text)
            with archive.open("model.weights.h5") as inner, h5py.File(inner) as h5:
                read(h5)
    elif file.suffix == ".json":
        found["index"] = json.loads(file.read_text())
        shards = sorted(file.parent.glob(f"{file.name.split('.')[0]}_*.weights.h5"))
        assert len(shards) > 2
        for shard in shards:
            with h5py.File(shard) as h5:
                read(h5, f"{shard.name}:")
    else:
        with h5py.File(file) as h5:
            read(h5)
    return found


# ---- files ----------------------------------------------------------------------------------------------------------
def save_both(folder: Path) -> tuple[dict, dict]:
    """The files of one state, saved plain and sharded; what is in them, from rank 0."""
    before, after = folder / f"plain{weft.rank()}", folder / f"sharded{weft.rank()}"
    before.mkdir(), after.mkdir()
    on_mesh(None)
    model = trained()
    values = [v.numpy() for v in [*model.variables, *model.optimizer.variables]]
    for name in FILES:
        save(model, before / name)
    on_mesh((2, 2))
    model = trained()
    variables = [*model.variables, *model.optimizer.variables]
    for v, value in zip(variables, values, strict=True):
        v.assign(value)
    largest = max(v.value.nbytes for v in variables)
    for name in FILES:
        with weft.trace() as trace:
            save(model, after / name)
        sent = [row.bytes for row in trace.rows if row.op == "full_tensor"]
        assert sent
        assert max(sent) < largest, (sent, largest)  # one variable at a time
        assert sum(row.op != "full_tensor" for row in trace.rows) <= 2, trace  # and the ranks meet at the end
    plain()
    assert bool(os.listdir(after)) == (weft.rank() == 0)  # nobody else writes
    if weft.rank() > 0:
        return {}, {}
    return {n: contents(before / n) for n in FILES}, {n: contents(after / n) for n in FILES}


def load_and_go_on(files: list[Path], shape: tuple[int, int] | None) -> list[dict]:
    """The state after loading each file, and after training on; the variables that are split."""
    on_mesh(shape)
    found = []
    for file in files:
        model = load(file)
        found.append({"loaded": state(model), "split": sharded_variables(model)})
        found[-1] |= {"history": fit(model), "then": state(model)}
        optimizer = model.optimizer
        for v, *slots in zip(optimizer._trainable_variables, optimizer._momentums, optimizer._velocities, strict=True):
            assert all(weft.is_sharded(s.value) == (shape is not None) for s in slots)
            assert not shape or all(weft.layout_of(s.value) == weft.layout_of(v.value) for s in slots)
    plain()
    return found


def test_files_are_those_of_one_process(keras4: RankPool, tmp_path: Path) -> None:
    expected, got = keras4(save_both, tmp_path, timeout=120)[0]
    for name in FILES:
        assert got[name].keys() == expected[name].keys()
        assert not [key for key in got[name] if got[name][key] != expected[name][key]]
    before, after = [[tmp_path / where / name for name in FILES] for where in ("plain0", "sharded0")]
    then = keras4(load_and_go_on, before, None, timeout=120)[0]
    for files, shape in [(after, None), (after, (1, 4)), (before[:2], (4, 1))]:
        for rank in keras4(load_and_go_on, files, shape, timeout=120):
            for name, e, g in zip(FILES, then, rank, strict=False):
                split = g.pop("split")
                assert len(split) == (6 if shape else 0), (name, split)
                far = differences({**e, "split": []}, {**g, "split": []})
                assert not {k: d for k, d in far.items() if d > (0 if k.startswith("/loaded") else 2e-5)}, name


# ---- from plain to sharded ------------------------------------------------------------------------------------------
def late() -> tuple[dict[str, float], int]:
    """A training that goes on sharded from where it was in one process; how many variables are split."""
    weft.keras.enable()
    on_mesh(None)
    model = trained()
    expected = {"history": fit(model), **state(model)}
    on_mesh(None)
    model = trained()
    distribute((2, 2), RULES)
    got = {"history": fit(model), **state(model)}
    optimizer, split = model.optimizer, 0
    for v, *slots in zip(optimizer._trainable_variables, optimizer._momentums, optimizer._velocities, strict=True):
        assert all(weft.layout_of(s.value) == weft.layout_of(v.value) for s in slots)
        split += any(weft.layout_of(v.value).axes)
    plain()
    return differences(expected, got), split


def test_distribution_set_between_two_trainings(keras4: RankPool) -> None:
    for far, split in keras4(late, timeout=120):
        assert not {k: d for k, d in far.items() if not d < 2e-5}
        assert split == 6


# ---- callbacks ------------------------------------------------------------------------------------------------------
class Stop(keras.callbacks.Callback):
    """Ends a training as a crash would."""

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        if epoch == 2:
            raise InterruptedError("stopped")


def interrupted(folder: Path, after: Callable[[], None] = lambda: None) -> dict:
    """A training that is stopped after two of three epochs, and taken up by a new model."""
    backup = lambda: keras.callbacks.BackupAndRestore(folder / "deep" / "backup", double_checkpoint=True)  # noqa: E731
    try:
        fit(trained(), epochs=3, callbacks=[backup(), Stop()])
    except InterruptedError:
        pass
    after()
    model = compiled(branches())
    history = fit(model, epochs=3, callbacks=[backup()])
    return {"history": history, **state(model), "left": float((folder / "deep" / "backup").exists())}


def resume(folder: Path, corrupt: bool) -> dict[str, float]:
    on_mesh(None)
    model = trained()
    history = fit(model, epochs=3)
    lost = 2 if corrupt else 1  # epochs that the new model makes
    expected = {"history": {k: v[-lost:] for k, v in history.items()}, **state(model), "left": 0.0}
    on_mesh((2, 2))

    def spoil() -> None:
        weft.full_tensor(weft.distribute_tensor(torch.zeros(4), weft.TensorLayout(("batch",), on)))  # all are here
        if weft.rank() == 0:
            (folder / "deep" / "backup" / "latest.weights.h5").write_bytes(b"cut off")

    on = keras.distribution.distribution().device_mesh.backend_mesh
    got = interrupted(folder, spoil if corrupt else lambda: None)
    plain()
    return differences(expected, got)


@pytest.mark.parametrize("corrupt", [False, True])
def test_backup_and_restore(keras4: RankPool, tmp_path: Path, corrupt: bool) -> None:
    for far in keras4(resume, tmp_path, corrupt, timeout=120):
        assert not {k: d for k, d in far.items() if not d < 2e-5}


def checkpoints(folder: Path) -> list[str]:
    """Files of every epoch, every second batch, and the best; each rank names folders of its own."""
    on_mesh((2, 2))
    mine = folder / f"rank{weft.rank()}"
    model = trained()
    make = keras.callbacks.ModelCheckpoint
    callbacks = [
        make(mine / "epochs" / "{epoch}.keras"),
        make(mine / "batches" / "{batch}.weights.h5", save_weights_only=True, save_freq=2),
        make(mine / "best" / "best.keras", monitor="loss", save_best_only=True),
    ]
    fit(model, epochs=2, callbacks=callbacks)
    weights = model.get_weights()
    if weft.rank() == 0:
        on_mesh(None)
        again = keras.saving.load_model(mine / "epochs" / "2.keras").get_weights()
        assert not any(differences(weights, again).values())
    plain()
    return sorted(str(p.relative_to(mine)) for p in mine.rglob("*.*"))


def test_checkpoints_of_rank_0_alone(keras4: RankPool, tmp_path: Path) -> None:
    first, *others = keras4(checkpoints, tmp_path)
    assert first == ["batches/2.weights.h5", "best/best.keras", "epochs/1.keras", "epochs/2.keras"]
    assert not any(others)


# ---- weights --------------------------------------------------------------------------------------------------------
def from_hand_to_hand() -> dict[str, float]:
    on_mesh(None)
    weights = [w + 1 for w in trained().get_weights()]
    on_mesh((2, 2))
    model = trained()
    split = sharded_variables(model)
    model.set_weights(weights)
    assert sharded_variables(model) == split
    got = model.get_weights()
    plain()
    return differences(weights, got)


def test_get_and_set_weights(keras4: RankPool) -> None:
    for far in keras4(from_hand_to_hand):
        assert not any(far.values())
