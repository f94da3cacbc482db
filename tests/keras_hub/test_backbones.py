"""KerasHub's backbones under the layout maps that they publish themselves, on four ranks."""

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from keras_torch.harness import differences, distribute, keras, np, plain, sharded_variables, side_by_side, weft
from support.ranks import RankPool

# Not `keras_hub` itself: where there is no KerasHub, this very folder would pass for it.
models = pytest.importorskip("keras_hub.models", reason="KerasHub is not there: tools/test --keras-hub sets it up")

MESH = (2, 2)
VOCABULARY = 23  # no multiple of the ranks
TOLERANCE = 2e-5


class Case(NamedTuple):
    """A small backbone of KerasHub's, and what the layout map that it publishes does for it."""

    backbone: str  # class in keras_hub.models
    sizes: Mapping[str, Any]
    sharded: int = 0  # so many variables are split
    unused: tuple[str, ...] = ()  # rules of the map that match nothing
    unmatched: frozenset[str] = frozenset({"reverse_embeddings"})  # large variables that no rule matches
    lora_rank: int = 0

    def build(self) -> Any:
        sizes = {"vocabulary_size": VOCABULARY, "num_layers": 2, "hidden_dim": 16, **self.sizes}
        backbone = getattr(models, self.backbone)(**sizes)
        if self.lora_rank:
            backbone.enable_lora(self.lora_rank)
        return backbone

    def build_language_model(self) -> Any:
        cls = getattr(models, self.backbone.replace("Backbone", "CausalLM"))
        return cls(backbone=self.build(), preprocessor=None)

    def layout_map(self, mesh: Any) -> Any:
        return getattr(models, self.backbone).get_layout_map(mesh)


GEMMA = {"num_query_heads": 4, "num_key_value_heads": 2, "intermediate_dim": 40, "head_dim": 6}
GEMMA_2 = {
    **GEMMA,
    "num_key_value_heads": 1,  # fewer than ranks
    "use_post_ffw_norm": True,
    "use_post_attention_norm": True,
    "attention_logit_soft_cap": 5.0,
    "final_logit_soft_cap": 3.0,
    "use_sliding_window_attention": True,
    "sliding_window_size": 4,
    "dropout": 0.1,
}
LLAMA = {"num_query_heads": 4, "num_key_value_heads": 2, "intermediate_dim": 20}
LLAMA_3_2 = {
    **LLAMA,
    "num_query_heads": 6,
    "hidden_dim": 24,
    "tie_word_embeddings": True,
    "rope_frequency_adjustment_factor": 8.0,
    "rope_low_freq_factor": 1.0,
    "rope_high_freq_factor": 4.0,
    "rope_pretraining_sequence_length": 32,
    "dropout": 0.1,
}
MOE = {**LLAMA, "moe_intermediate_dim": 12, "num_experts": 4, "top_k": 2}
QWEN_MOE = {**MOE, "shared_expert_intermediate_dim": 10}
QWEN_3_MOE = {**MOE, "head_dim": 6}
EXPERTS = frozenset({"reverse_embeddings", "expert_feedforward_gate_dense", "expert_feedforward_output_dense"})
PUBLISHED = [
    Case("GemmaBackbone", GEMMA, 15, unmatched=frozenset()),
    Case("LlamaBackbone", LLAMA, 15),
    Case("Llama3Backbone", LLAMA, 15),
    Case("QwenBackbone", LLAMA, 15, unmatched=frozenset()),
    Case("Qwen2Backbone", LLAMA, 15, unmatched=frozenset()),  # another name of Qwen's
    Case("QwenMoeBackbone", QWEN_MOE, 17, unmatched=EXPERTS),
    Case(
        "Qwen3MoeBackbone",
        QWEN_3_MOE,
        11,
        # All its experts are in one variable each, without a kernel of that name.
        unused=(
            "transformer_layer.*feedforward_intermediate_dense.kernel",
            "transformer_layer.*feedforward_output_dense.kernel",
        ),
        unmatched=EXPERTS,
    ),
]
TRAINED = {
    "gemma": Case("GemmaBackbone", GEMMA),
    "gemma_2": Case("GemmaBackbone", GEMMA_2),
    "gemma_lora": Case("GemmaBackbone", GEMMA, lora_rank=3),
    "llama": Case("LlamaBackbone", LLAMA),
    "llama_3": Case("Llama3Backbone", LLAMA),
    "llama_3_2": Case("Llama3Backbone", LLAMA_3_2),
    "qwen": Case("QwenBackbone", LLAMA),
    "qwen_sliding": Case("QwenBackbone", {**LLAMA, "use_sliding_window_attention": True, "sliding_window_size": 4}),
    "qwen_moe": Case("QwenMoeBackbone", QWEN_MOE),
    "qwen_moe_mixed": Case("QwenMoeBackbone", {**QWEN_MOE, "norm_top_k_prob": True, "mlp_only_layers": [0]}),
    "qwen_3_moe": Case("Qwen3MoeBackbone", QWEN_3_MOE),
}


def tokens(rows: int, length: int = 9) -> dict[str, Any]:
    """Token ids, and a mask whose rows end at different places."""
    r = np.random.default_rng(0)
    mask = np.arange(length) < r.integers(length // 2, length + 1, (rows, 1))
    return {"token_ids": r.integers(1, VOCABULARY, (rows, length)), "padding_mask": mask.astype("int32")}


def test_every_backbone_with_a_map_is_here() -> None:
    with_map = {n for n, c in vars(models).items() if inspect.isclass(c) and hasattr(c, "get_layout_map")}
    assert with_map == {case.backbone for case in PUBLISHED}


# ---- build ----------------------------------------------------------------------------------------------------------
class Built(NamedTuple):
    """What one rank sees."""

    difference: float  # of a forward pass from the one in a single process
    sharded: list[str]
    unused: list[str]
    unmatched: set[str]


def build(case: Case) -> Built:
    def states() -> tuple[Any, Any]:
        keras.utils.set_random_seed(11)
        backbone = case.build()
        return backbone, keras.ops.convert_to_numpy(backbone(tokens(5)))

    plain()
    _, expected = states()
    plain()
    distribute(MESH, case.layout_map)
    try:
        backbone, got = states()
        notes = weft.keras.report(backbone).notes
        return Built(
            max(differences(expected, got).values()),
            sharded_variables(backbone),
            [note.subject for note in notes if note.kind == "unused_rule"],
            {note.subject.split("/")[-1] for note in notes if note.kind == "unmatched_variable"},
        )
    finally:
        plain()


@pytest.mark.parametrize("case", PUBLISHED, ids=lambda case: case.backbone)
def test_builds_and_reports_what_its_rules_miss(hub4: RankPool, case: Case) -> None:
    for built in hub4(build, case, timeout=180):
        assert built.difference < TOLERANCE
        assert len(built.sharded) == case.sharded, built.sharded
        assert tuple(built.unused) == case.unused
        assert built.unmatched == case.unmatched


# ---- train ----------------------------------------------------------------------------------------------------------
def train(case: Case) -> dict[str, Any]:
    """Two epochs whose last batch is not full; then everything that can be read."""
    model = case.build_language_model()
    model.compile(
        optimizer=keras.optimizers.SGD(0.1),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        weighted_metrics=["accuracy"],
        sampler="greedy",
    )
    x = tokens(21)
    y = np.roll(x["token_ids"], -1, axis=1)
    weight = np.roll(x["padding_mask"], -1, axis=1)
    history = model.fit(x, y, sample_weight=weight, batch_size=8, epochs=2, verbose=0).history
    return {
        "history": history,
        "evaluate": model.evaluate(x, y, sample_weight=weight, batch_size=8, verbose=0),
        "predict": model.predict(x, batch_size=8, verbose=0),
        "weights": model.get_weights(),
        "generated": generate(model),
    }


def generate(model: Any) -> Any:
    """Greedy tokens from prompts of different lengths, by the layers' caches."""
    prompts = tokens(4, 10)
    prompts["padding_mask"][:, 7:] = 0
    return model.generate(prompts, stop_token_ids=None)


def compare(name: str) -> dict[str, float]:
    """Differences beyond the tolerance."""
    case = TRAINED[name]
    expected, got = side_by_side(lambda: train(case), MESH, case.layout_map)
    losses = expected["history"]["loss"]
    assert losses[1] < losses[0]
    assert (expected["generated"]["token_ids"] == got["generated"]["token_ids"]).all()
    return {path: d for path, d in differences(expected, got).items() if not d < TOLERANCE}


@pytest.mark.parametrize("name", TRAINED)
def test_trains_and_generates_as_one_process(hub4: RankPool, name: str) -> None:
    for wrong in hub4(compare, name, timeout=240):
        assert not wrong


# ---- presets --------------------------------------------------------------------------------------------------------
def load(folder: str) -> tuple[dict[str, float], int]:
    """Differences of a forward pass with the weights of a preset, and how many variables are split."""
    plain()
    expected = models.Backbone.from_preset(folder)(tokens(5))
    distribute(MESH, models.Llama3Backbone.get_layout_map)
    try:
        backbone = models.Backbone.from_preset(folder)
        got = backbone(tokens(5))
        return differences(*map(keras.ops.convert_to_numpy, (expected, got))), len(sharded_variables(backbone))
    finally:
        plain()


def test_loads_a_preset_sharded(hub4: RankPool, tmp_path: Path) -> None:
    plain()
    Case("Llama3Backbone", LLAMA).build().save_to_preset(str(tmp_path))
    for difference, sharded in hub4(load, str(tmp_path), timeout=180):
        assert max(difference.values()) < TOLERANCE
        assert sharded == 15
