"""Saving and loading that fails, or asks: all ranks hear of it, and none waits for ever."""

import builtins
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from keras_torch.cases import features
from keras_torch.harness import differences, keras, plain, weft
from keras_torch.test_saving import on_mesh, trained
from support.ranks import RankPool


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
