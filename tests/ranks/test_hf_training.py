"""Sharded models in transformers' own hands: generation with each cache, pipelines, Trainer, adapters of peft."""

import os
import time

import pytest
import torch
import weft
from ranks.meshes import layouts_of
from ranks.zoo import MODELS
from ranks.zoo.table import VOCABULARY
from safetensors.torch import load_file


class Own(torch.nn.Module):
    """A module that is none of transformers'."""

    def __init__(self):
        super().__init__()
        self.embed, self.head = torch.nn.Embedding(VOCABULARY, 32), torch.nn.Linear(32, VOCABULARY)

    def forward(self, input_ids, labels):
        logits = self.head(self.embed(input_ids))
        return {"loss": torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten()), "logits": logits}


def build(name="llama"):
    torch.manual_seed(0)
    return Own() if name == "own" else MODELS[name].build()


def generates(cache):
    plain, model = build().eval(), build().eval()
    weft.distribute_module(model, layouts_of(model))
    prompt = torch.arange(10).reshape(2, 5) + 3
    out = []
    for options in ({"do_sample": False}, {"do_sample": False, "num_beams": 2}, {"do_sample": True, "top_k": 5}):
        options |= {"max_new_tokens": 6, "min_new_tokens": 6, "cache_implementation": cache, "pad_token_id": 0}
        torch.manual_seed(1)
        want = plain.generate(prompt, **options)
        torch.manual_seed(1)
        with weft.random_mode("replay"):
            got = model.generate(prompt, **options)
        out.append((want.tolist(), (weft.full_tensor(got) if weft.is_sharded(got) else got).tolist()))
    return out


@pytest.mark.parametrize("cache", [None, "static"])
@pytest.mark.parametrize("ranks", ["ranks2", "ranks3"])
def test_generates_as_plain(request, cache, ranks):
    for found in request.getfixturevalue(ranks)(generates, cache, timeout=120):
        for want, got in found:
            assert got == want


def tokenizer():
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = {f"w{i}": i for i in range(VOCABULARY)}
    made = Tokenizer(models.WordLevel(words, unk_token="w0"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=made, unk_token="w0", pad_token="w0", eos_token="w1")


def pipes():
    from transformers import BertConfig, BertForSequenceClassification, pipeline

    plain, model = build().eval(), build().eval()
    weft.distribute_module(model, layouts_of(model))
    out = []
    for m in (plain, model):
        made = pipeline("text-generation", model=m, tokenizer=tokenizer(), device="cpu")
        out.append(made(["w3 w4 w5", "w7"], max_new_tokens=5, do_sample=False)[0][0]["generated_text"])
    config = BertConfig(
        vocab_size=VOCABULARY, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48,
        num_labels=3,
    )  # fmt: skip
    scores = []
    for sharded in (False, True):
        torch.manual_seed(0)
        m = BertForSequenceClassification(config).eval()
        if sharded:
            weft.distribute_module(m, layouts_of(m))
        made = pipeline("text-classification", model=m, tokenizer=tokenizer(), device="cpu", top_k=None)
        scores.append({row["label"]: row["score"] for row in made(["w3 w9"])[0]})
    return out, scores


@pytest.mark.parametrize("ranks", ["ranks2", "ranks3"])
def test_pipelines(request, ranks):
    for (want, got), (wanted, scores) in request.getfixturevalue(ranks)(pipes, timeout=120):
        assert got == want and scores == pytest.approx(wanted, abs=1e-5)


class Rows(torch.utils.data.Dataset):
    def __len__(self):
        return 24

    def __getitem__(self, i):
        x = (torch.arange(8) * (i + 1) + i) % VOCABULARY
        return {"input_ids": x, "labels": x}


def trainer_of(model, folder, steps, **options):
    from transformers import Trainer, TrainingArguments

    settings = {
        "output_dir": str(folder), "max_steps": steps, "per_device_train_batch_size": 4, "learning_rate": 1e-2,
        "gradient_accumulation_steps": 2, "max_grad_norm": 0.5, "save_steps": 2, "save_strategy": "steps",
        "logging_steps": 1, "report_to": [], "use_cpu": True, "seed": 3, "disable_tqdm": True, "adam_epsilon": 1e-3,
    }  # fmt: skip
    return Trainer(
        model=model, args=TrainingArguments(**{**settings, **options}), train_dataset=Rows(), eval_dataset=Rows()
    )


def losses_of(trainer):
    return [row["loss"] for row in trainer.state.log_history if "loss" in row]


def trains(folder, name, resume):
    """Losses and evaluation of a sharded model; with `resume` in two runs."""
    model = build(name)
    weft.distribute_module(model, layouts_of(model))
    first = trainer_of(model, folder, 4)
    with weft.random_mode("replay"):
        first.train()
    losses = losses_of(first)
    last = first
    if resume:
        model = build(name)
        weft.distribute_module(model, layouts_of(model))
        last = trainer_of(model, folder, 4)
        with weft.random_mode("replay"):
            last.train(resume_from_checkpoint=os.path.join(folder, "checkpoint-2"))
        losses = losses_of(last)
    layouts = {str(weft.layout_of(p)) for p in model.parameters()}
    return losses, last.evaluate()["eval_loss"], len(layouts)


@pytest.mark.parametrize(("name", "resume"), [("llama", False), ("llama", True), ("own", True)])
@pytest.mark.parametrize("ranks", ["ranks2", "ranks3", "ranks4"])
def test_trainer(request, tmp_path, ranks, name, resume):
    pytest.importorskip("accelerate")
    plain = trainer_of(build(name), tmp_path / "plain", 4)
    plain.train()
    found = request.getfixturevalue(ranks)(trains, tmp_path / "sharded", name, resume, timeout=200)
    for losses, evaluated, layouts in found:
        assert losses == pytest.approx(losses_of(plain), abs=2e-4)
        assert evaluated == pytest.approx(plain.evaluate()["eval_loss"], abs=2e-4) and layouts > 1
    saved = load_file(tmp_path / "sharded" / "checkpoint-4" / "model.safetensors")
    expected = load_file(tmp_path / "plain" / "checkpoint-4" / "model.safetensors")
    assert saved.keys() == expected.keys()
    assert all(torch.allclose(saved[k], expected[k], atol=2e-3) for k in expected)


def saves_with_tokenizer(folder):
    """What each rank finds once the model is saved, and a checkpoint, by a writer that takes its time."""
    from transformers import TrainerState

    words = tokenizer()
    save = words.save_pretrained

    def slowly(*args, **kwargs):
        time.sleep(1)
        return save(*args, **kwargs)

    words.save_pretrained = slowly
    model = build()
    weft.distribute_module(model, layouts_of(model))
    made = trainer_of(model, folder, 1, save_steps=1)
    made.processing_class = words
    made.save_model(str(folder))
    found = set(os.listdir(folder))
    write = TrainerState.save_to_json

    def write_slowly(*args):
        time.sleep(1)
        write(*args)

    TrainerState.save_to_json = write_slowly
    try:
        made.train()
    finally:
        TrainerState.save_to_json = write
    return found, set(os.listdir(folder / "checkpoint-1"))


def test_all_is_there_once_it_is_saved(tmp_path, ranks3):
    pytest.importorskip("accelerate")
    for model, checkpoint in ranks3(saves_with_tokenizer, tmp_path):
        assert {"model.safetensors", "tokenizer.json", "training_args.bin"} <= model
        assert {"model.safetensors", "tokenizer.json", "optimizer.pt", "trainer_state.json"} <= checkpoint


def fails(folder, name):
    """The error of the rank that writes where it cannot; then all are in step still."""
    model = build(name)
    weft.distribute_module(model, layouts_of(model))
    try:
        trainer_of(model, folder, 1).save_model(str(folder / "file"))
    except OSError as e:
        return type(e).__name__, next(model.parameters()).sum().isfinite().item()
    return "", True


@pytest.mark.parametrize("name", ["llama", "own"])
def test_an_error_of_the_writer_is_raised_on_all_ranks(tmp_path, ranks3, name):
    pytest.importorskip("accelerate")
    (tmp_path / "file").write_text("")
    assert ranks3(fails, tmp_path, name) == [("FileExistsError", True)] * 3


STEPS, STAGE = 8, 2
SCHEDULE = {"lr_scheduler_type": "cosine", "warmup_steps": 3, "max_grad_norm": 0.3}


def stage(folder, start):
    """Two steps of eight, from a checkpoint where one is there: what is logged of each."""
    from transformers import TrainerCallback

    class Stop(TrainerCallback):
        def on_save(self, args, state, control, **_):
            control.should_training_stop = state.global_step == start + STAGE

    model = build()
    if weft.world_size() > 1:
        weft.distribute_module(model, layouts_of(model))
    made = trainer_of(model, folder, STEPS, **SCHEDULE)
    made.add_callback(Stop())
    with weft.random_mode("replay"):
        made.train(resume_from_checkpoint=os.path.join(folder, f"checkpoint-{start}") if start else None)
    return [row for row in made.state.log_history if "loss" in row]


def test_trainer_goes_on_elsewhere(tmp_path, ranks4, ranks2, ranks3):
    """It goes on four ranks, on two, in a plain process, on three: optimizer, schedule, place in the data and dropout
    are as in a plain run that was not stopped."""
    pytest.importorskip("accelerate")
    whole = trainer_of(build(), tmp_path / "whole", STEPS, **SCHEDULE)
    whole.train()
    expected = [row for row in whole.state.log_history if "loss" in row]
    assert len(expected) == STEPS and len({row["learning_rate"] for row in expected}) > 4
    folder = tmp_path / "parts"
    for number, pool in enumerate((ranks4, ranks2, None, ranks3)):
        start = number * STAGE
        runs = pool(stage, folder, start, timeout=200) if pool else [stage(folder, start)]
        for rows in runs:
            assert [row["step"] for row in rows] == list(range(1, start + STAGE + 1))
            for row, want in zip(rows, expected, strict=False):
                for what in ("loss", "learning_rate", "grad_norm", "epoch"):
                    assert row[what] == pytest.approx(want[what], abs=2e-4), (number, row["step"], what)


def predicts(folder, name, sharded):
    """What a trainer predicts, with its metrics, after it has gone back to the best of its checkpoints."""
    from transformers import Seq2SeqTrainer, Seq2SeqTrainingArguments

    def metrics(of):
        return {"sum": float((of.predictions != of.label_ids[:, :1]).sum())} if name == "t5" else {
            "right": float((of.predictions.argmax(-1)[:, :-1] == of.label_ids[:, 1:]).mean())}  # fmt: skip

    model = build(name)
    if sharded:
        weft.distribute_module(model, layouts_of(model))
    arguments = Seq2SeqTrainingArguments(
        str(folder), max_steps=4, per_device_train_batch_size=4, per_device_eval_batch_size=5, learning_rate=1e-2,
        adam_epsilon=1e-3, eval_strategy="steps", eval_steps=2, save_steps=2, load_best_model_at_end=True,
        metric_for_best_model="eval_loss", include_num_input_tokens_seen="all", predict_with_generate=name == "t5",
        generation_max_length=6, report_to=[], use_cpu=True, disable_tqdm=True,
    )  # fmt: skip
    made = Seq2SeqTrainer(
        model=model, args=arguments, train_dataset=Rows(), eval_dataset=Rows(), compute_metrics=metrics
    )
    with weft.random_mode("replay"):
        made.train()
    out = made.predict(Rows())
    numbers = {k: v for k, v in out.metrics.items() if k in ("test_loss", "test_sum", "test_right")}
    return out.predictions, numbers | {"best": made.state.best_metric}, made.state.num_input_tokens_seen


@pytest.mark.parametrize("name", ["llama", "t5"])
@pytest.mark.parametrize("ranks", ["ranks2", "ranks3"])
def test_trainer_predicts(request, tmp_path, ranks, name):
    """The last batch is incomplete; t5 generates."""
    pytest.importorskip("accelerate")
    expected, numbers, seen = predicts(tmp_path / "plain", name, False)
    assert len(expected) == 24 and len(numbers) == 3
    for found, theirs, count in request.getfixturevalue(ranks)(predicts, tmp_path / "s", name, True, timeout=200):
        assert found.shape == expected.shape and abs(found - expected).max() < 2e-3
        assert theirs == pytest.approx(numbers, abs=1e-3) and count == seen
