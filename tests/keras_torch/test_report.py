"""What weft.keras.report says of a model, and the one warning about rules that match nothing."""

import warnings
from typing import Any

import pytest
from keras_torch.cases import MLP_RULES, features
from keras_torch.harness import distribute, keras, plain, weft
from keras_torch.networks import mlp
from support.ranks import RankPool

ODD_RULES = {
    **MLP_RULES,
    "nothing/at/all": ("model",),
    "head/kernel": (None, "model"),  # sequential/head/kernel: lacks a prefix
    "tial/head/bi": ("model",),  # re.search would find it
    ".*down/bias": ("model",),
    ".*up/output": ("batch", "model"),
    ".*missing/output": ("batch", None),
}


def compiled(width: int = 13) -> Any:
    model = mlp(width)
    model.compile(optimizer="sgd", loss="mse")
    return model


def reported() -> tuple[list, list[tuple[str, str, str]], str]:
    plain()
    distribute((1, 2), ODD_RULES)
    model = compiled()
    model.predict(features(4, 8)[0], verbose=0)
    report = weft.keras.report(model)
    plain()
    return [tuple(row) for row in report.rows], [tuple(note) for note in report.notes], str(report)


def about(notes: list[tuple[str, str, str]], kind: str) -> dict[str, str]:
    return {subject: text for k, subject, text in notes if k == kind}


def test_rows_and_notes(keras2: RankPool) -> None:
    for rows, notes, text in keras2(reported):
        assert rows[0] == ("sequential/up/kernel", (8, 13), ".*up/kernel", "(None, model)", 8 * 13 * 4, 8 * 7 * 4)
        assert rows[-1] == ("sequential/head/bias", (3,), None, "(None,)", 12, 12)
        assert about(notes, "unused_rule").keys() == {
            "nothing/at/all",
            "head/kernel",
            "tial/head/bi",
            ".*missing/output",
        }
        assert "'.*head/kernel' would" in about(notes, "near_miss")["head/kernel"]
        assert "'.*tial/head/bi.*' would" in about(notes, "near_miss")["tial/head/bi"]
        assert (
            "dimension 1 of 13 does not divide evenly over (model=2)" in about(notes, "uneven")["sequential/up/kernel"]
        )
        assert "sequential/head/kernel" in about(notes, "unmatched_variable")
        assert not about(notes, "ambiguous")
        near = about(notes, "near_miss")  # which says more than that such a rule matches nothing
        assert all(note in text for kind, rule, note in notes if kind != "unused_rule" or rule not in near)


def ambiguous() -> list[tuple]:
    """A map that becomes ambiguous after the model was built."""
    plain()
    distribution = distribute((1, 2), MLP_RULES)
    model = compiled()
    distribution._layout_map["sequential/up/.*"] = (None, "model")
    notes = weft.keras.report(model).notes
    plain()
    return [tuple(n) for n in notes if n.kind == "ambiguous"]


def test_ambiguous_rules(keras2: RankPool) -> None:
    for notes in keras2(ambiguous):
        assert [subject for _, subject, _ in notes] == ["sequential/up/kernel", "sequential/up/bias"]
        assert all(rule in notes[0][2] for rule in (".*up/kernel", "sequential/up/.*"))


def refused() -> list[str]:
    plain()
    said = []
    for prepare in (lambda: None, lambda: distribute((1, 2), {})):
        prepare()
        try:
            weft.keras.report(keras.Sequential([keras.layers.Dense(2)]))
        except ValueError as e:
            said.append(str(e))
    plain()
    return said


def test_refuses(keras2: RankPool) -> None:
    for said in keras2(refused):
        assert "no distribution is set" in said[0]
        assert "build it first" in said[1]


def warned(rules: dict) -> list[str]:
    plain()
    distribute((1, 2), rules)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for width in (13, 12):
            model = compiled(width)
            model.fit(*features(8, 8), epochs=2, verbose=0)
            model.evaluate(*features(8, 8), verbose=0)
    plain()
    return [str(w.message) for w in caught if "weft.keras" in str(w.message)]


def test_warns_once(keras2: RankPool) -> None:
    first, second = keras2(warned, ODD_RULES)
    assert len(first) == 1, first
    assert "rule 'nothing/at/all' matches nothing" in first[0]
    assert "'.*head/kernel' would" in first[0]
    assert ".*missing/output" in first[0]
    assert ".*up" not in first[0]
    assert not second  # rank 1


def test_says_nothing_when_all_are_used(keras2: RankPool) -> None:
    assert not any(keras2(warned, {**MLP_RULES, ".*up/output": ("batch", "model")}))


@pytest.mark.parametrize("rule", [r"(?!.*head).*/kernel"])
def test_rule_that_re2_does_not_take(keras2: RankPool, rule: str) -> None:
    """Keras's own re takes it: training goes on."""
    first, second = keras2(warned, {rule: (None, "model")})
    assert [True for said in first if "not checked" in said]
    assert not second
