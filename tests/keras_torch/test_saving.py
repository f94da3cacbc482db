"""What sharded models save is what unsharded ones save, and is loaded anywhere."""

import json
import os
import re
import zipfile
from pathlib import Path
from typing import Any

from keras_torch.cases import branches, two_inputs
from keras_torch.harness import differences, distribute, keras, np, plain, sharded_variables, weft
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
