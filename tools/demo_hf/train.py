"""Loads a checkpoint, trains it with transformers' Trainer, and generates: in one plain process, or sharded.

Run it with tools/demo --hf, which starts one plain process of it, then four ranks, then two. What Weft needs is in
`load`; all else is the plain process's, too.
"""

import pickle
import sys
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import checkpoint
import options
import show
import torch
from ranks import LossesPart
from sources import standard_library
from torch.distributed.elastic.multiprocessing.errors import record
from transformers import AutoModelForCausalLM, AutoTokenizer, Trainer, TrainerCallback, TrainingArguments, set_seed
from transformers.trainer_callback import PrinterCallback
from transformers.utils.logging import disable_progress_bar

MESHES = {"first": {"data": 2, "model": 2}, "second": {"model": 2}}
PROMPT = "    def __init__(self"
NEW_TOKENS = 80


def load(o: Any, folder: Path) -> tuple[Any, AbstractContextManager]:
    """The model, and in what it is to be used."""
    if o.stage == "plain":
        return AutoModelForCausalLM.from_pretrained(folder), nullcontext()
    import weft

    weft.initialize()
    axes = MESHES[o.stage]
    mesh = weft.DeviceMesh(tuple(axes.values()), tuple(axes), device_type="cpu")

    def layouts(model: Any) -> Any:
        """The plan that the model carries, and the weights over the batch's axis too, where there is one."""
        own = weft.hf.layouts(model, mesh)
        return weft.layouts.fsdp(model, mesh, "data") | own if "data" in axes else own

    model = weft.hf.from_pretrained(AutoModelForCausalLM, folder, mesh=mesh, layouts=layouts)
    return model, weft.random_mode("replay")  # the dropout of one process, rather than another stream


class Steps(TrainerCallback):
    """Shows each step's loss beside the plain one, and stops after the first save where others are to go on."""

    def __init__(self, run: show.Run, view: show.View, plain: show.Run | None, stops: bool) -> None:
        self.run, self.view, self.plain, self.stops = run, view, plain, stops

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.start = time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.run.seconds.append(time.perf_counter() - self.start)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        if "loss" not in logs:
            return
        loss, step = logs["loss"], state.global_step
        self.run.loss.append(loss)
        plain = self.plain.loss[step - 1] if self.plain is not None else None
        self.view.step(step, loss, plain, self.run.seconds[-1])
        if plain is not None and not abs(loss - plain) <= show.TOLERANCE:
            raise LossesPart(
                f"the losses part at step {step}: {loss:.6f} sharded, {plain:.6f} plain, "
                f"which is more than {show.TOLERANCE:g}"
            )

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        control.should_training_stop = control.should_training_stop or self.stops


def trainer(o: Any, model: Any, folder: Path, callback: TrainerCallback) -> Trainer:
    text, half = standard_library(), o.steps // 2
    tokenizer = AutoTokenizer.from_pretrained(folder / "start")
    pieces = tokenizer([text[i : i + o.length].decode("ascii", "replace") for i in range(0, 500 * o.length, o.length)])
    rows = [{"input_ids": ids[: o.length], "labels": ids[: o.length]} for ids in pieces["input_ids"]]
    # A gradient that is nearly zero is mostly rounding, and Adam divides it by its own size: hence the large epsilon.
    arguments = TrainingArguments(
        output_dir=str(folder / ("plain" if o.stage == "plain" else "sharded")),
        max_steps=o.steps, per_device_train_batch_size=o.batch, learning_rate=2e-3, lr_scheduler_type="cosine",
        warmup_steps=o.steps // 8, weight_decay=0.1, adam_epsilon=1e-6, max_grad_norm=1.0, logging_steps=1,
        save_steps=half, seed=o.seed, use_cpu=True, disable_tqdm=True, report_to=[],
    )  # fmt: skip
    made = Trainer(model=model, args=arguments, train_dataset=rows, callbacks=[callback])
    made.remove_callback(PrinterCallback)
    return made


def main(o: Any) -> None:
    disable_progress_bar()
    folder, half = Path(o.folder), o.steps // 2
    start, saved = folder / "start", folder / "sharded" / f"checkpoint-{half}"
    if o.stage == "plain":
        checkpoint.make(start, o)
    run = show.Run()
    plain = show.Run.read(folder, "plain") if o.stage != "plain" else None
    model, used = load(o, saved if o.stage == "second" else start)
    first = o.stage == "plain" or torch.distributed.get_rank() == 0
    view = show.View(on=first)
    view.begin(o.stage, o.steps, half, model)
    with used:
        training = trainer(o, model, folder, Steps(run, view, plain, stops=o.stage == "first"))
        with view.training(half if o.stage == "first" else o.steps):
            training.train(resume_from_checkpoint=str(saved) if o.stage == "second" else None)
        if o.stage != "first":
            tokenizer = AutoTokenizer.from_pretrained(start)
            prompt = tokenizer(PROMPT, return_tensors="pt")["input_ids"]
            set_seed(o.seed)
            tokens = model.eval().generate(prompt, max_new_tokens=NEW_TOKENS, do_sample=True, top_k=12)
            run.tokens = tokens[0].tolist()
            view.generated(tokenizer.decode(run.tokens))
    if first:
        run.write(folder, o.stage)
    if first and o.stage != "plain":
        import weft

        (folder / f"{o.stage}.drawing").write_bytes(pickle.dumps(weft.draw(model)))
    if o.stage != "plain":
        torch.distributed.barrier()  # nobody leaves while another still works
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    try:
        record(main)(options.parse())
    except Exception:
        sys.exit(1)  # launch.py shows it, if it was the first
