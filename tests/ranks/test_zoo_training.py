"""trl's SFTTrainer on a sharded model, whole and with LoRA of peft: what it logs, evaluates and saves."""

import pytest
import torch
import weft
from ranks.zoo import preferences
from ranks.zoo.words import tokenizer
from safetensors.torch import load_file

trl, peft = pytest.importorskip("trl"), pytest.importorskip("peft")
datasets = pytest.importorskip("datasets")

TEXTS = [" ".join(f"w{3 + (7 * i + j * j) % 60}" for j in range(4 + i % 5)) for i in range(10)]
METRICS = ("loss", "grad_norm", "entropy", "mean_token_accuracy", "num_tokens", "eval_loss", "eval_num_tokens")


def layouts_of(model):
    shape = (2, 2) if weft.world_size() == 4 else (1, weft.world_size())
    mesh = weft.DeviceMesh(shape, ("data", "model"), device_type="cpu")
    return weft.layouts.fsdp(model, mesh, "data", whole=0) | weft.layouts.megatron(model, mesh, "model")


def trained(folder, lora, when=None, resume=None):
    """What it logs; the model is laid out before the trainer is made, or after."""
    from accelerate.state import AcceleratorState, GradientState, PartialState
    from transformers import LlamaConfig, LlamaForCausalLM

    for state in (AcceleratorState, PartialState, GradientState):
        state._reset_state()  # torchrun's variables are there to be seen
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**preferences.CONFIG, attention_dropout=0.1))
    if when == "before":
        weft.distribute_module(model, layouts_of(model))
    arguments = trl.SFTConfig(
        str(folder), max_steps=4, per_device_train_batch_size=4, gradient_accumulation_steps=2, learning_rate=1e-2,
        adam_epsilon=1e-3, logging_steps=1, save_steps=2, eval_steps=2, eval_strategy="steps", report_to="none",
        use_cpu=True, bf16=False, activation_checkpointing=True, disable_tqdm=True,
    )  # fmt: skip
    adapters = peft.LoraConfig(r=4, target_modules=["q_proj", "o_proj", "down_proj"], lora_dropout=0.1)
    rows = datasets.Dataset.from_dict({"text": TEXTS})
    trainer = trl.SFTTrainer(
        model, args=arguments, processing_class=tokenizer(), train_dataset=rows, eval_dataset=rows,
        peft_config=adapters if lora else None,
    )  # fmt: skip
    if when == "after":
        weft.distribute_module(trainer.model, layouts_of(trainer.model))
    with weft.random_mode("replay"):
        trainer.train(resume_from_checkpoint=resume)
    split = {weft.layout_of(p).axes for p in trainer.model.parameters() if when}
    return [{k: row[k] for k in METRICS if k in row} for row in trainer.state.log_history], len(split)


@pytest.mark.parametrize("lora", [False, True])
@pytest.mark.parametrize(("ranks", "when"), [("ranks2", "after"), ("ranks3", "before"), ("ranks4", "before")])
def test_supervised_fine_tuning(request, tmp_path, ranks, when, lora):
    expected, _ = trained(tmp_path / "plain", lora)
    assert sum("eval_loss" in row for row in expected) == 2
    found = request.getfixturevalue(ranks)(trained, tmp_path / "sharded", lora, when, timeout=200)
    for rows, layouts in found:
        assert layouts > 2 and len(rows) == len(expected)
        for row, want in zip(rows, expected, strict=True):
            assert row == pytest.approx(want, abs=5e-4)
    file = f"checkpoint-4/{'adapter_model' if lora else 'model'}.safetensors"
    saved, plain = load_file(tmp_path / "sharded" / file), load_file(tmp_path / "plain" / file)
    assert saved.keys() == plain.keys() and all(torch.allclose(saved[k], plain[k], atol=2e-3) for k in plain)


@pytest.mark.parametrize("lora", [False, True])
def test_goes_on_from_a_plain_checkpoint(ranks3, tmp_path, lora):
    expected, _ = trained(tmp_path / "plain", lora)
    found = ranks3(trained, tmp_path / "sharded", lora, "before", str(tmp_path / "plain" / "checkpoint-2"), timeout=200)
    for rows, _ in found:
        losses = [row["loss"] for row in rows if "loss" in row]
        assert losses == pytest.approx([row["loss"] for row in expected if "loss" in row], abs=5e-4)
