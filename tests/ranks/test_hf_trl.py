"""trl's SFTTrainer on sharded models, where trl is installed (tools/setup --models): as in one plain process, resumed,
and with adapters of peft."""

import pytest
import weft
from ranks.meshes import layouts_of
from ranks.test_hf_training import build, losses_of, tokenizer

pytest.importorskip("trl")

SETTINGS = {
    "max_steps": 4, "per_device_train_batch_size": 6, "learning_rate": 1e-2, "adam_epsilon": 1e-3, "logging_steps": 1,
    "save_steps": 2, "report_to": [], "use_cpu": True, "bf16": False, "seed": 3, "disable_tqdm": True,
    "dataset_kwargs": {"skip_prepare_dataset": True},
}  # fmt: skip


def rows():
    """Texts of several lengths, as tokens."""
    import datasets
    import pyarrow

    texts = [[3 + (7 * i + 3 * j) % 80 for j in range(4 + i % 5)] for i in range(24)]
    return datasets.Dataset(pyarrow.table({"input_ids": texts}), fingerprint="texts")


def trains(folder, sharded, adapters, resume=False):
    """Losses of the last run, and how many kinds of layouts the parameters have."""
    import peft
    import trl

    for start in (None, f"{folder}/checkpoint-2") if resume else (None,):
        model = build()
        if sharded:
            weft.distribute_module(model, layouts_of(model))
        options = {"gradient_accumulation_steps": 2, "gradient_checkpointing": True} if adapters else {}
        trainer = trl.SFTTrainer(
            model,
            args=trl.SFTConfig(str(folder), **SETTINGS, **options),
            train_dataset=rows(),
            processing_class=tokenizer(),
            peft_config=peft.LoraConfig(r=4, target_modules=["q_proj", "down_proj"]) if adapters else None,
        )
        with weft.random_mode("replay"):
            trainer.train(resume_from_checkpoint=start)
    return losses_of(trainer), len({str(weft.layout_of(p)) for p in trainer.model.parameters() if sharded})


@pytest.mark.parametrize("adapters", [False, True])
@pytest.mark.parametrize("ranks", ["ranks2", "ranks3"])
def test_sft(request, tmp_path, ranks, adapters):
    expected, _ = trains(tmp_path / "plain", False, adapters)
    for resume in (False, True):
        folder = tmp_path / f"sharded_{resume}"
        for losses, layouts in request.getfixturevalue(ranks)(trains, folder, True, adapters, resume, timeout=200):
            assert losses == pytest.approx(expected, abs=2e-4) and layouts > 1
