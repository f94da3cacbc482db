"""Unchanged models from transformers on mesh (2, 2): loss and every gradient as the plain model's."""

import pytest
from ranks import models


@pytest.mark.parametrize("plan", ["column_row", "drawn"])
@pytest.mark.parametrize("name", sorted(models.PLANS))
def test_trains_as_plain(ranks4, name, plan):
    for result in ranks4(models.train_step, name, plan, timeout=120):
        assert result["loss"] == pytest.approx(result["expected"], abs=1e-5)
        assert result["wrong"] == {}


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_generates_as_plain(ranks4, name):
    for expected, got in ranks4(models.generate, name, 8, timeout=120):
        assert got == expected
