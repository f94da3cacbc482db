"""What sharded models save is what unsharded ones save, and is loaded anywhere."""

import builtins
import json
import os
import re
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from keras_torch.cases import branches, features, two_inputs
from keras_torch.harness import differences, distribute, keras, np, plain, sharded_variables, torch, weft
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
    """For each file the state after loading it, and after training on; the variables that are split."""
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
    expected, got = keras4(save_both, tmp_path)[0]
    for name in FILES:
        assert got[name].keys() == expected[name].keys()
        assert not [key for key in got[name] if got[name][key] != expected[name][key]]
    before, after = [[tmp_path / where / name for name in FILES] for where in ("plain0", "sharded0")]
    then = keras4(load_and_go_on, before, None)[0]
    for files, shape in [(after, None), (after, (1, 4)), (before, (4, 1))]:
        for rank in keras4(load_and_go_on, files, shape):
            for name, e, g in zip(FILES, then, rank, strict=True):
                split = g.pop("split")
                assert len(split) == (6 if shape else 0), (name, split)
                far = differences({**e, "split": []}, {**g, "split": []})
                assert not {k: d for k, d in far.items() if d > (0 if k.startswith("/loaded") else 2e-5)}, name


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
    model = trained()
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
    for far in keras4(resume, tmp_path, corrupt):
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


def overwriting(folder: Path) -> tuple[int, list[float]]:
    """How often this rank was asked, and the file's times: new, kept, overwritten."""
    on_mesh((2, 2))
    model, file = trained(), folder / "m.weights.h5"
    answers, asked = iter("ny"), []
    original, builtins.input = builtins.input, lambda *question: asked.append(question) or next(answers)
    try:
        times = []
        for _ in range(3):
            model.save_weights(file, overwrite=False)
            times.append(file.stat().st_mtime_ns)
    finally:
        builtins.input = original
    plain()
    return len(asked), times


def test_rank_0_alone_asks_before_it_overwrites(keras4: RankPool, tmp_path: Path) -> None:
    ranks = keras4(overwriting, tmp_path)
    assert [asked for asked, _ in ranks] == [2, 0, 0, 0]
    for _, (new, kept, overwritten) in ranks:
        assert new == kept < overwritten


# ---- failures -------------------------------------------------------------------------------------------------------
@keras.saving.register_keras_serializable("weft")
class Failing(keras.layers.Dense):
    """Cannot be saved on one rank; on rank 0 when the file is written, as if the disk were full."""

    where = None

    def save_own_variables(self, store: Any) -> None:
        super().save_own_variables(store)
        if weft.rank() == self.where and (hasattr(store, "h5_file") or self.where > 0):
            raise OSError(28, "No space left on device")


def failing_model() -> Any:
    keras.utils.set_random_seed(3)
    model = keras.Sequential([keras.Input((8,)), Failing(10, name="shared"), keras.layers.Dense(3, name="head")])
    model.compile(optimizer="adam", loss="mse")
    return model


def failed(action: Callable[[], Any]) -> tuple[str, str, float]:
    """How an action fails: the error's type and text, and the seconds that it took."""
    start = time.monotonic()
    try:
        action()
    except Exception as e:
        return type(e).__name__, str(e), time.monotonic() - start
    return "", "", 0.0


def failing_saves(folder: Path) -> tuple[list[tuple[str, str, float]], dict[str, float]]:
    """Saves and loads that fail on rank 0 or on all; then the same training and saving as if nothing had been."""
    x, y = features(8, 8)
    on_mesh(None)
    model = failing_model()
    expected = model.fit(x, y, verbose=0).history
    on_mesh((2, 2))
    model = failing_model()
    (folder / "file").touch()
    found = [
        failed(lambda: model.save(folder / "nowhere" / "m.keras")),
        failed(lambda: model.save_weights(folder / "file" / "m.weights.h5")),
        failed(lambda: model.save(folder / "file" / "m.h5")),
        failed(lambda: model.save(folder / "m.pdf")),
        failed(
            lambda: model.fit(x, y, verbose=0, callbacks=keras.callbacks.ModelCheckpoint(folder / "file" / "m.keras"))
        ),
        failed(lambda: keras.saving.load_model(folder / "nowhere.keras")),
        failed(lambda: model.load_weights(folder / "nowhere.weights.h5")),
    ]
    Failing.where = 0  # after some variables were gathered
    found += [
        failed(lambda: model.save(folder / "m.keras")),
        failed(lambda: model.save_weights(folder / "m.weights.h5")),
    ]
    Failing.where = None
    model = failing_model()
    got = model.fit(x, y, verbose=0).history
    model.save_weights(folder / "new.weights.h5", overwrite=False)
    model.load_weights(folder / "new.weights.h5")
    plain()
    return found, differences(expected, got)


def test_failures_are_the_same_on_all_ranks(keras4: RankPool, tmp_path: Path) -> None:
    ranks = keras4(failing_saves, tmp_path)
    kinds = ["FileNotFoundError", "NotADirectoryError", "NotADirectoryError", "ValueError", "NotADirectoryError"]
    kinds += ["ValueError", "FileNotFoundError", "OSError", "OSError"]
    for found, far in ranks:
        assert [kind for kind, _, _ in found] == kinds, found
        assert [text for _, text, _ in found] == [text for _, text, _ in ranks[0][0]]
        assert max(seconds for _, _, seconds in found) < 10
        assert not {k: d for k, d in far.items() if not d < 2e-5}


def failing_elsewhere(folder: Path, where: str) -> tuple[str, str, float]:
    on_mesh((2, 2))
    model = failing_model()
    if where == "save":
        Failing.where = 2
        return failed(lambda: model.save(folder / "m.keras"))
    model.save_weights(folder / "m.weights.h5")
    name = "m" if weft.rank() != 1 else "elsewhere"
    return failed(lambda: model.load_weights(folder / f"{name}.weights.h5"))


@pytest.mark.parametrize(("where", "rank"), [("save", 2), ("load", 1)])
def test_failure_of_another_rank_is_known_to_all(keras4: RankPool, tmp_path: Path, where: str, rank: int) -> None:
    ranks = keras4(failing_elsewhere, tmp_path, where)
    keras4.close()  # the ranks are out of step
    kind = {"save": "OSError", "load": "FileNotFoundError"}[where]
    for r, (raised, text, seconds) in enumerate(ranks):
        assert raised == (kind if r == rank else "RuntimeError"), text
        assert r == rank or f"failed on rank {rank}: {kind}" in text
        assert seconds < 20
