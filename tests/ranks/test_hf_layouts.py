"""weft.hf.layouts: models laid out by their own plans train and generate as plain; each style of a plan, and errors."""

import pytest
import torch
import weft
from ranks.meshes import mesh_of
from ranks.zoo.run import run_model
from torch import nn

NAMES = ("llama", "phi3", "qwen3", "mixtral", "deepseek_v3", "gpt_neox", "llava")
# As their default configurations make them: a recurrence in chunks, patches with their places, what a robot does.
NAMES += ("planned.KimiLinearForCausalLM", "planned.Gemma4VisionModel", "planned.PI0ForConditionalGeneration")


@pytest.mark.parametrize("name", NAMES)
def test_trains_and_generates_as_plain(ranks4, name):
    for row in ranks4(run_model, name, (2, 2), "own", timed=False, timeout=120):
        assert row["verdict"] == "equal", row["text"]
        assert row["collectives"] > 0


class Net(nn.Module):
    """What a plan may name: layers in a list, a table, experts in one parameter."""

    def __init__(self, plan, experts=None):
        super().__init__()
        self._tp_plan, self._ep_plan = plan, experts or {}
        self.words = nn.Embedding(12, 4)
        self.layers = nn.ModuleList(
            nn.ModuleDict({"up": nn.Linear(4, 8), "down": nn.Linear(8, 4), "norm": nn.LayerNorm(4)}) for _ in range(2)
        )
        self.layers[1].experts = nn.Module()
        self.layers[1].experts.weight = nn.Parameter(torch.zeros(3, 4, 8))
        self.layers[1].experts.bias = nn.Parameter(torch.zeros(3, 8))


COLUMNS, ROWS, LAST = ((("model", None), ("model",))), ((None, "model"), (None,)), ((None, "model"), ("model",))
WHOLE = ((None, None), (None,))


@pytest.mark.parametrize(
    ("style", "weight", "bias"),
    [
        *(
            (s, *COLUMNS)
            for s in ("colwise", "colwise_rep", "colwise_gather_output", "packed_colwise", "local_colwise")
        ),
        *((s, *ROWS) for s in ("rowwise", "rowwise_rep", "rowwise_split_input", "packed_rowwise", "local_rowwise")),
        *((s, *WHOLE) for s in ("sequence_parallel", "replicate", "replicated_with_grad_allreduce", "gather", "local")),
        *((s, *WHOLE) for s in ("mla_kv_a_proj", "all_reduce", "moe_tp_experts", "moe_identity_expert", "ep_router")),
    ],
)
def test_styles_of_linear_layers(style, weight, bias):
    layouts = weft.hf.layouts(Net({"layers.*.up": style}), mesh_of(1))
    for n in range(2):
        assert layouts.layout_for(f"layers.{n}.up.weight", (8, 4)).axes == weight
        assert layouts.layout_for(f"layers.{n}.up.bias", (8,)).axes == bias
        assert layouts.lookup(f"layers.{n}.down.weight") is None


@pytest.mark.parametrize(
    ("style", "axes"),
    [("embedding_rowwise", ("model", None)), ("rowwise", ("model", None)), ("embedding_colwise", (None, "model"))],
)
def test_styles_of_embeddings(style, axes):
    assert weft.hf.layouts(Net({"words": style}), mesh_of(1))["words.weight"].axes == axes


def test_styles_of_experts():
    path = "layers.*.experts.weight"
    for style, axes in {
        "packed_colwise": (None, "model", None),
        "rowwise": (None, None, "model"),
        "grouped_gemm": ("model", None, None),
    }.items():
        layouts = weft.hf.layouts(Net({path: style, "layers.*.experts": "moe_tp_experts"}), mesh_of(1))
        assert dict(layouts.rules()) == {r"layers/\d+/experts/weight": axes}


def test_expert_plan_wins_over_its_own_axis():
    dense = {"layers.*.up": "colwise", "layers.*.experts.weight": "colwise", "layers.*.experts.bias": "colwise"}
    net = Net(dense, {"layers.*.experts.weight": "grouped_gemm", "layers.*.experts": "ep_dispatch_experts"})
    assert weft.hf.layouts(net, mesh_of(1, 1))["layers.1.experts.weight"].axes == (None, "model", None)
    layouts = weft.hf.layouts(net, mesh_of(1, 1), expert_axis="data")
    assert layouts["layers.1.experts.weight"].axes == ("data", None, None)
    assert layouts["layers.1.experts.bias"] is None
    assert layouts["layers.0.up.weight"].axes == ("model", None)


def test_styles_are_those_of_the_installed_transformers():
    from transformers.integrations.tensor_parallel import ALL_PARALLEL_STYLES
    from weft.hf.styles import STYLES

    assert set(ALL_PARALLEL_STYLES.keys()) <= set(STYLES)


def test_plans_of_inner_models_and_additions():
    outer = nn.Module()
    outer.parts = nn.ModuleList([Net({"words": "embedding_rowwise", "layers.*.up": "colwise"})])
    outer._tp_plan = {"parts.*.layers.*.up": "rowwise"}
    layouts = weft.hf.layouts(outer, mesh_of(1), plan={"parts.*.layers.*.down": "rowwise"})
    assert layouts["parts.0.words.weight"].axes == ("model", None)
    assert layouts["parts.0.layers.0.up.weight"].axes == (None, "model")
    assert layouts["parts.0.layers.1.down.weight"].axes == (None, "model")


def test_distributed_config_adds_to_the_plan():
    hf = pytest.importorskip("transformers")
    distributed = pytest.importorskip("transformers.distributed")
    config = hf.MixtralConfig(num_hidden_layers=1, hidden_size=32, intermediate_size=24, num_local_experts=4)
    extra = distributed.DistributedConfig(tp_size=2, ep_size=2, tp_plan={"layers.*.self_attn.q_proj": "rowwise"})
    with torch.device("meta"):
        model = hf.MixtralModel(config)
    assert weft.hf.layouts(model, mesh_of(1))["layers.0.mlp.experts.down_proj"].axes == (None, None, "model")
    layouts = weft.hf.layouts(model, mesh_of(1), plan=extra)
    assert layouts["layers.0.mlp.experts.down_proj"].axes == ("model", None, None)
    assert layouts["layers.0.self_attn.q_proj.weight"].axes == (None, "model")
    assert layouts["layers.0.self_attn.k_proj.weight"].axes == ("model", None)


def test_of_a_class_and_of_a_configuration():
    hf = pytest.importorskip("transformers")
    config = hf.LlamaConfig(num_hidden_layers=2, architectures=["LlamaForCausalLM"])
    by_class, by_config = weft.hf.layouts(hf.LlamaForCausalLM, mesh_of(1)), weft.hf.layouts(config, mesh_of(1))
    assert by_class.rules() == by_config.rules()
    assert by_class["model.layers.40.mlp.down_proj.weight"].axes == (None, "model")
    model = hf.LlamaForCausalLM(
        hf.LlamaConfig(vocab_size=96, hidden_size=32, intermediate_size=48, num_hidden_layers=3)
    )
    both = weft.layouts.fsdp(model, mesh_of(1, 1), "data") | weft.hf.layouts(hf.LlamaForCausalLM, mesh_of(1, 1))
    assert both["model.layers.2.mlp.down_proj.weight"].axes == (None, ("model", "data"))


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        (lambda: Net({"layers.*.up": "diagonal"}), {}, "the plan of Net gives 'layers.*.up' the style 'diagonal'"),
        (lambda: Net({}), {}, "Net has no plan of its own"),
        (lambda: Net({"words": "colwise"}), {"expert_axis": "model"}, "Net has no expert-parallel plan"),
        (lambda: Net({"words": "colwise"}), {"axis": "x"}, "x"),
        (lambda: nn.Linear, {}, "a transformers model, a class of models or a configuration is needed"),
    ],
)
def test_errors(model, options, message):
    with pytest.raises(ValueError, match=message.replace("*", r"\*")):
        weft.hf.layouts(model(), mesh_of(1), **options)


def test_axis_that_nothing_tells():
    mesh = weft.DeviceMesh((1, 1), ("x", "y"), device_type="cpu")
    with pytest.raises(ValueError, match="no axis named 'model'"):
        weft.hf.layouts(Net({"words": "colwise"}), mesh)
