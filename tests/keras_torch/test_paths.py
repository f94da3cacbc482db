"""Keras paths and torch names are one for one; rules find a variable by either framework's name of it."""

import pytest
from keras_torch.cases import CASES
from keras_torch.harness import distribute, keras, np, plain, torch, weft
from support.ranks import RankPool


def names() -> dict[str, list[str]]:
    """What is wrong with the names of each model."""
    weft.keras.enable()
    plain()
    wrong: dict[str, list[str]] = {}
    for case, made in CASES.items():
        if case.startswith("optimizer_") and case != "optimizer_SGD":
            continue  # all are the same model
        model = made.model()
        if not model.built:
            model.build((2, 7))
        parameters = dict(model.named_parameters())
        by_path = {v.path: v.value for v in model.variables}
        found = wrong[case] = []
        for name, parameter in parameters.items():
            path, prefix = weft.keras.keras_path(name), name.split("_torch_params.")[0] + "_torch_params."
            if weft.keras.torch_name(path, prefix) != name:
                found.append(f"{name} -> {path} -> {weft.keras.torch_name(path, prefix)}")
            if by_path.pop(path, None) is not parameter:
                found.append(f"{name} -> {path} is another variable")
            if weft.keras.keras_path(weft.keras.torch_name(path)) != path:
                found.append(f"{path} -> {weft.keras.torch_name(path)}")
        found += [f"{path} has no torch name" for path in by_path]
    return wrong


def test_every_model(keras2: RankPool) -> None:
    for wrong in keras2(names, timeout=120):
        assert len(wrong) > 15
        assert not any(wrong.values()), wrong


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("_torch_params.sequential/dense/kernel", "sequential/dense/kernel"),
        ("_functional._torch_params.sequential/dense/kernel", "sequential/dense/kernel"),
        ("inner._functional._torch_params.inner/dense/kernel", "inner/dense/kernel"),
        ("layers.0.self_attn.in_proj_weight", "layers/0/self_attn/in_proj_weight"),
        ("_torch_params_of.kernel", "_torch_params_of/kernel"),  # not the marker
        ("bn.running_var", "bn/running_var"),
    ],
)
def test_both_directions(name: str, path: str) -> None:
    marker = "_torch_params."
    prefix = name[: name.index(marker) + len(marker)] if marker in name else ""
    assert weft.keras.keras_path(name) == path
    assert weft.keras.torch_name(path, prefix) == name


def test_leaves_stay_as_they_are() -> None:
    """Without a module's type there is no telling what a leaf is called elsewhere."""
    assert weft.keras.torch_name("net/norm/gamma") == "net.norm.gamma"
    assert weft.keras.torch_name("net/dense/kernel") == "net.dense.kernel"
    assert weft.keras.keras_path("net.dense.weight") == "net/dense/weight"
    assert weft.keras.keras_path("net.bn.running_var") == "net/bn/running_var"


def mesh() -> weft.DeviceMesh:
    return weft.DeviceMesh((1, 1), ("batch", "model"))


@pytest.mark.parametrize(
    ("rule", "axes", "path", "module_type", "expected"),
    [
        (".*dense/weight", ("model", None), "net/dense/kernel", "Dense", (None, "model")),
        (".*dense/kernel", (None, "model"), "net.dense.weight", "Linear", ("model", None)),
        (".*conv/weight", ("model", "batch", None, None), "a/conv/kernel", "Conv2D", (None, None, "batch", "model")),
        (".*conv/kernel", (None, None, "batch", "model"), "a.conv.weight", "Conv2d", ("model", "batch", None, None)),
        (".*norm.weight", ("model",), "net/norm/gamma", "LayerNormalization", ("model",)),
        (".*norm/gamma", ("model",), "net.norm.weight", "LayerNorm", ("model",)),
        (".*/weight", ("model", None), "net/table/embeddings", "Embedding", ("model", None)),
        (".*/embeddings", (None, "model"), "net.table.weight", "Embedding", (None, "model")),
        (".*/running_mean", ("model",), "bn/moving_mean", "BatchNormalization", ("model",)),
        (".*/moving_mean", ("model",), "bn.running_mean", "BatchNorm2d", ("model",)),
        # The string alone says nothing.
        (".*/weight", ("model", None), "net/dense/kernel", "", None),
        (".*/kernel", ("model", None), "net.norm.weight", "LayerNorm", None),
        (".*/gamma", ("model",), "net.dense.weight", "Linear", None),
        (".*/weight", ("model",), "net/dense/bias", "Dense", None),
    ],
)
def test_leaf_names_of_the_other_framework(
    rule: str, axes: tuple, path: str, module_type: str, expected: tuple | None
) -> None:
    found = weft.LayoutMap(mesh(), {rule: axes}).lookup(path, module_type)
    assert (found and found.axes) == expected
    weft.keras.enable()
    layouts = keras.distribution.LayoutMap(keras.distribution.DeviceMesh((1, 1), ["batch", "model"], ["cpu:0"]))
    layouts[rule] = axes
    match = weft.keras.layouts.find(layouts, path, module_type)
    assert (match and match.layout.axes) == expected


RULES = {
    ".*up/weight": ("model", None),
    ".*conv.weight": ("model", None, None, None),
    ".*norm/weight": ("model",),
    ".*table/weight": ("model", None),
    ".*bn/running_mean": ("model",),
}


def sharded_by_torch_names(late: bool) -> dict[str, tuple]:
    """The layouts that torch's names give a Keras model, built before or after the distribution is set."""
    layers = keras.layers
    plain()
    if not late:
        distribute((1, 2), RULES)
    images = keras.Input((6, 6, 2))
    x = layers.BatchNormalization(name="bn")(layers.Conv2D(4, 3, name="conv")(images))
    x = layers.LayerNormalization(name="norm")(layers.Dense(8, name="up")(layers.Flatten()(x)))
    words = keras.Input((5,), dtype="int32")
    y = layers.GlobalAveragePooling1D()(layers.Embedding(10, 8, name="table")(words))
    model = keras.Model([images, words], layers.add([x, y]))
    if late:
        distribute((1, 2), RULES)
    model.compile(optimizer="sgd", loss="mse")
    model.train_on_batch([np.ones((4, 6, 6, 2)), np.ones((4, 5))], np.ones((4, 8)))
    found = {v.path: weft.layout_of(v.value).axes for v in model.variables if any(weft.layout_of(v.value).axes)}
    plain()
    return found


@pytest.mark.parametrize("late", [False, True])
def test_layers_sharded_by_torch_names(keras2: RankPool, late: bool) -> None:
    for found in keras2(sharded_by_torch_names, late):
        assert found == {
            "up/kernel": (None, "model"),
            "conv/kernel": (None, None, None, "model"),
            "norm/gamma": ("model",),
            "table/embeddings": ("model", None),
            "bn/moving_mean": ("model",),
        }


class Net(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up, self.norm = torch.nn.Linear(6, 8), torch.nn.LayerNorm(8)


def test_torch_module_by_keras_rules() -> None:
    module = Net()
    weft.distribute_module(module, weft.LayoutMap(mesh(), {"up/kernel": (None, "model"), ".*/gamma": ("model",)}))
    assert weft.layout_of(module.up.weight).axes == ("model", None)
    assert weft.layout_of(module.norm.weight).axes == ("model",)


# ---- LayoutMap ------------------------------------------------------------------------------------------------------
def both_maps() -> list:
    weft.keras.enable()
    of_keras = keras.distribution.LayoutMap(keras.distribution.DeviceMesh((1, 1), ["batch", "model"], ["cpu:0"]))
    return [weft.LayoutMap(mesh()), of_keras]


@pytest.mark.parametrize("which", [0, 1], ids=["weft", "keras"])
class TestLayoutMap:
    def test_either_form_of_a_path(self, which: int) -> None:
        layouts = both_maps()[which]
        layouts["net/dense/kernel"] = (None, "model")
        layouts["net.norm.gamma"] = ("model",)
        layouts[r"block/\d+/up/kernel"] = ("model", None)
        layouts[r"part\.\d+\.up\.kernel"] = ("batch", None)
        for path in ("net/dense/kernel", "net.dense.kernel"):
            assert layouts[path].axes == (None, "model")
        for path in ("net/norm/gamma", "net.norm.gamma"):
            assert layouts[path].axes == ("model",)
        for path in ("block/0/up/kernel", "block.0.up.kernel"):
            assert layouts[path].axes == ("model", None)
        for path in ("part/0/up/kernel", "part.0.up.kernel"):
            assert layouts[path].axes == ("batch", None)

    def test_exact_key_first(self, which: int) -> None:
        layouts = both_maps()[which]
        layouts[".*/kernel"] = (None, "model")
        layouts["net/dense/kernel"] = ("batch", None)
        assert layouts["net/dense/kernel"].axes == ("batch", None)
        assert layouts["net.dense.kernel"].axes == ("batch", None)
        assert layouts["net/other/kernel"].axes == (None, "model")

    def test_full_match(self, which: int) -> None:
        layouts = both_maps()[which]
        layouts["dense.*kernel"] = (None, "model")
        assert layouts["net/dense/kernel"] is None
        assert layouts["dense/kernel/more"] is None
        assert layouts["dense/kernel"].axes == (None, "model")

    def test_more_than_one_match_names_all(self, which: int) -> None:
        layouts = both_maps()[which]
        for rule in (".*/kernel", "net/.*", r"net\.dense\.kernel.?", "other/.*"):
            layouts[rule] = (None, "model")
        for path in ("net/dense/kernel", "net.dense.kernel"):
            with pytest.raises(ValueError, match="matches") as error:
                layouts[path]
            for rule in (".*/kernel", "net/.*", r"net\.dense\.kernel.?"):
                assert rule in str(error.value).replace(r"\\", "\\")
            assert "other/.*" not in str(error.value)

    def test_lists(self, which: int) -> None:
        layouts = both_maps()[which]
        layouts["a"] = [None, "model"]
        layouts["b"] = [["batch", "model"], None]
        assert layouts["a"].axes == (None, "model")
        assert layouts["b"].axes == (("batch", "model"), None)

    def test_changes_are_seen(self, which: int) -> None:
        layouts = both_maps()[which]
        assert layouts["a/kernel"] is None
        layouts[".*/kernel"] = (None, "model")
        assert layouts["a/kernel"].axes == (None, "model")
        del layouts[".*/kernel"]
        assert layouts["a/kernel"] is None
