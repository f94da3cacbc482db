"""trl's trainers on sharded models, whole and with LoRA of peft: what they log, evaluate and save."""

import copy

import pytest
import torch
import weft
from ranks.meshes import layouts_of
from ranks.zoo import preferences
from ranks.zoo.words import tokenizer
from safetensors.torch import load_file

trl, peft = pytest.importorskip("trl"), pytest.importorskip("peft")
datasets = pytest.importorskip("datasets")

TEXTS = [" ".join(f"w{3 + (7 * i + j * j) % 60}" for j in range(4 + i % 5)) for i in range(10)]
METRICS = ("loss", "grad_norm", "entropy", "mean_token_accuracy", "num_tokens", "eval_loss", "eval_num_tokens")


def start_anew():
    """accelerate's state is one of the process; torchrun's variables are there to be seen."""
    from accelerate.state import AcceleratorState, GradientState, PartialState

    for state in (AcceleratorState, PartialState, GradientState):
        state._reset_state()


def trained(folder, lora, when=None, resume=None):
    """What it logs; the model is laid out before the trainer is made, or after."""
    from transformers import LlamaConfig, LlamaForCausalLM

    start_anew()
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


def prefers(folder, kind, lora, sharded):
    """What the trainers of preferences log."""
    import transformers

    start_anew()
    torch.manual_seed(0)
    cls = transformers.LlamaForSequenceClassification if kind == "Reward" else transformers.LlamaForCausalLM
    models = [cls(transformers.LlamaConfig(**preferences.CONFIG, num_labels=1))]
    models += [copy.deepcopy(models[0])] * (kind == "DPO" and not lora)
    for model in models if sharded else ():
        weft.distribute_module(model, layouts_of(model))
    more = {"ref_model": models[1]} if len(models) > 1 else {}
    if lora:
        more["peft_config"] = peft.LoraConfig(r=4, target_modules=["q_proj", "o_proj"])
    arguments = getattr(trl, f"{kind}Config")(
        str(folder), max_steps=3, per_device_train_batch_size=4, learning_rate=1e-2, adam_epsilon=1e-3,
        logging_steps=1, save_strategy="no", report_to="none", use_cpu=True, bf16=False, disable_tqdm=True,
    )  # fmt: skip
    texts = {"prompt": "w{} w4", "chosen": "w{} w6", "rejected": "w9{}"}
    rows = datasets.Dataset.from_dict({k: [text.format(3 + i) for i in range(6)] for k, text in texts.items()})
    trainer = getattr(trl, f"{kind}Trainer")(
        models[0], args=arguments, processing_class=tokenizer(), train_dataset=rows, **more
    )
    with weft.random_mode("replay"):
        trainer.train()
    return [row for row in trainer.state.log_history if "loss" in row]


@pytest.mark.parametrize(("kind", "lora"), [("DPO", False), ("DPO", True), ("Reward", False)])
@pytest.mark.parametrize("ranks", ["ranks2", "ranks4"])
def test_preferences(request, tmp_path, ranks, kind, lora):
    expected = prefers(tmp_path / "plain", kind, lora, False)
    assert len(expected) == 3 and len(expected[0]) > 6
    for rows in request.getfixturevalue(ranks)(prefers, tmp_path / "sharded", kind, lora, True, timeout=200):
        for row, want in zip(rows, expected, strict=True):
            assert row == pytest.approx(want, abs=1e-3)
