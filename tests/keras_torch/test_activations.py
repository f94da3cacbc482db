"""Rules for layers' outputs: keys that end in "/output" lay activations out, and change no number."""

from typing import Any

from keras_torch.cases import classify, features, tokens
from keras_torch.harness import differences, keras, np, side_by_side, torch, weft
from keras_torch.networks import Language
from support.ranks import RankPool

layers = keras.layers
seen: dict[str, set] = {}


class Probe(layers.Layer):
    """Notes the layouts of what it gets."""

    def call(self, inputs: Any) -> Any:
        for i, x in enumerate(keras.tree.flatten(inputs)):
            if isinstance(x, torch.Tensor) and weft.is_sharded(x):
                seen.setdefault(f"{self.name}/{i}", set()).add(str(weft.layout_of(x)))
        return inputs


class Fork(layers.Layer):
    """Outputs in a nesting."""

    def call(self, x: Any) -> Any:
        return {"a": x * 2, "b": (x + 1, [x - 1])}


class Join(layers.Layer):
    def call(self, x: Any) -> Any:
        return x["a"] + x["b"][0] * x["b"][1][0]


RULES = {
    ".*down/kernel": ("model", None),
    ".*up/kernel": (None, "model"),
    "up/output": ("batch", "model"),
    "down/output": ("batch", None),  # a sum over the ranks, without the rule
    "whole/output": (None, None),
    "fork/output": ("batch", "model"),
    "recurrent/output": (None, "model"),
}


def run() -> dict:
    x = inputs = keras.Input((8,))
    x = Probe(name="after_up")(layers.Dense(12, activation="relu", name="up")(x))
    x = Probe(name="after_down")(layers.Dense(10, name="down")(x))
    x = Probe(name="after_whole")(layers.Dense(6, name="whole")(x))
    x = Join()(Probe(name="after_fork")(Fork(name="fork")(x)))
    x = layers.LSTM(4, return_state=True, name="recurrent")(layers.Reshape((2, 3))(x))
    x = layers.concatenate(Probe(name="after_recurrent")(x))
    model = keras.Model(inputs, layers.Dense(3, name="head")(x))
    model.compile(optimizer=keras.optimizers.SGD(0.1), loss="mse")
    x, y = features(24, 8)
    history = model.fit(x, y, batch_size=8, epochs=2, verbose=0).history
    return {"history": history, "predict": model.predict(x, verbose=0), "weights": model.get_weights()}


def compared() -> tuple[dict[str, float], dict[str, set]]:
    seen.clear()
    expected, got = side_by_side(run, (2, 2), RULES)
    return differences(expected, got), dict(seen)


def test_layouts_are_as_asked(keras4: RankPool) -> None:
    for far, layouts in keras4(compared, timeout=120):
        assert not {k: d for k, d in far.items() if not d < 2e-5}
        assert layouts == {
            "after_up/0": {"(batch, model)"},
            "after_down/0": {"(batch, None)"},
            "after_whole/0": {"(None, None)"},
            **{f"after_fork/{i}": {"(batch, model)"} for i in range(3)},
            **{f"after_recurrent/{i}": {"(None, model)"} for i in range(3)},
        }


INSIDE = {
    ".*table/embeddings": ("model", None),
    ".*up/kernel": (None, "model"),
    ".*down/kernel": ("model", None),
    ".*attention/(query|key|value)/output": ("batch", None, "model", None),
    ".*attention/attention_output/output": ("batch", None, None),
    ".*up/output": ("batch", None, "model"),
    ".*norm2/output": ("batch", None, None),
    ".*head/output": ("batch", None, "model"),
}


def run_language() -> dict:
    model = Language()
    model.compile(**classify())
    x, y = tokens(10, 7, 13)
    history = model.fit(x, y, batch_size=8, epochs=2, verbose=0).history
    return {"history": history, "predict": model.predict(x, verbose=0), "weights": model.get_weights()}


def compared_language() -> dict[str, float]:
    return differences(*side_by_side(run_language, (2, 2), INSIDE))


def test_inside_a_subclassed_model(keras4: RankPool) -> None:
    for far in keras4(compared_language, timeout=120):
        assert not {k: d for k, d in far.items() if not d < 2e-5}


def wrong_rank() -> str:
    def fit() -> None:
        model = keras.Sequential([keras.Input((8,)), layers.Dense(4, name="up")])
        model.compile(optimizer="sgd", loss="mse")
        model.train_on_batch(np.ones((4, 8)), np.ones((4, 4)))

    try:
        side_by_side(fit, (1, 2), {".*up/output": ("batch", None, "model")})
    except ValueError as e:
        return str(e)
    return ""


def test_rule_for_another_rank_is_refused(keras2: RankPool) -> None:
    for said in keras2(wrong_rank):
        assert "3" in said, said
        assert "2" in said
