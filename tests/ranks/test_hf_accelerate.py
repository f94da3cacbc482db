"""accelerate: what the ranks hold together is gathered already, and with a sharded model they are one process, also
as it saves."""

import time

import pytest
import torch
import weft
from ranks.meshes import line
from torch import nn

pytest.importorskip("accelerate")

X = torch.arange(30.0).view(5, 6) - 7  # of five rows: uneven on two ranks and on three


def of_several():
    """An accelerator that counts the ranks as processes."""
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState, GradientState, PartialState

    for state in (AcceleratorState, PartialState, GradientState):
        state._reset_state()
    made = Accelerator(cpu=True)
    assert made.num_processes == weft.world_size() > 1
    return made


def operations():
    """What is wrong of each operation and layout; beside sharded values a plain one of each rank."""
    from accelerate.utils import gather, reduce

    accelerator, mesh, wrong = of_several(), line(), []
    ranks = weft.world_size()
    own = torch.full((1, 2), float(weft.rank()))
    every = torch.arange(float(ranks)).view(-1, 1).expand(-1, 2)
    total = every.sum(0, keepdim=True)
    calls = {  # and what becomes of `own`
        "gather": (accelerator.gather, every),
        "utils.gather": (gather, every),
        "gather_for_metrics": (accelerator.gather_for_metrics, every),
        "pad_across_processes": (accelerator.pad_across_processes, own),
        "reduce sum": (lambda x: accelerator.reduce(x, "sum"), total),
        "reduce mean": (lambda x: accelerator.reduce(x, "mean"), total / ranks),
        "utils.reduce": (reduce, total / ranks),
    }
    for axes, partial in ((("a", None), {}), ((None, None), {}), ((None, None), {"a": "sum"})):
        x = weft.distribute_tensor(X, weft.TensorLayout(axes, mesh, partial))
        for name, (call, expected) in calls.items():
            out = call({"sharded": (x, x.sum()), "plain": own})
            values = [weft.full_tensor(t) for t in out["sharded"]]
            if not (torch.equal(values[0], X) and torch.equal(values[1], X.sum())):
                wrong.append((name, axes, partial, values))
            if not torch.allclose(out["plain"], expected):
                wrong.append((name, axes, partial, out["plain"]))
        accelerator.reduce(x).zero_()
        if not torch.equal(weft.full_tensor(x), X):
            wrong.append(("reduce gives memory of its own", axes, partial))
    return wrong, accelerator.num_processes


@pytest.mark.parametrize("ranks", ["ranks2", "ranks3"])
def test_operations(request, ranks):
    pool = request.getfixturevalue(ranks)
    assert pool(operations) == [([], pool.nprocs)] * pool.nprocs


class Stream(torch.utils.data.IterableDataset):
    def __init__(self, rows):
        self.rows = rows

    def __iter__(self):
        return iter(self.rows)


def loop(sharded, dataset):
    """Losses of accelerate's own training loop, over batches of which the last is incomplete."""
    accelerator = of_several() if sharded else None
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 6))
    if sharded:
        weft.distribute_module(model, {"0/weight": ("a", None), "2/weight": (None, "a")}, mesh=line())
    else:
        from accelerate import Accelerator

        accelerator = Accelerator(cpu=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, eps=1e-3)
    rows = torch.utils.data.DataLoader(dataset([*X, *X.flip(0)[:2]]), batch_size=3)
    model, optimizer, rows = accelerator.prepare(model, optimizer, rows)
    losses, counts = [], []
    for batch in rows:
        loss = (model(batch) - batch).square().mean()
        accelerator.backward(loss)
        accelerator.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(accelerator.gather(loss.detach()).mean().item())
        counts.append(len(accelerator.gather_for_metrics(batch)))
    return losses, counts, accelerator.num_processes, accelerator.distributed_type.value


@pytest.mark.parametrize("dataset", [list, Stream])
@pytest.mark.parametrize("ranks", ["ranks2", "ranks3"])
def test_a_loop(request, ranks, dataset):
    expected, counts, _, _ = loop(False, dataset)
    assert counts == [3, 3, 1]
    for losses, found, processes, kind in request.getfixturevalue(ranks)(loop, True, dataset):
        # Losses reach 350, of which float32 knows steps of 3e-5.
        assert losses == pytest.approx(expected, rel=1e-6, abs=1e-5)
        assert found == counts and (processes, kind) == (1, "NO")


def waits(folder):
    """Once the ranks are one process: what each finds when all have waited for the first, and what each has run."""
    accelerator = of_several()
    accelerator.prepare(weft.distribute_module(nn.Linear(6, 8), {"weight": ("a", None)}, mesh=line()))
    assert accelerator.num_processes == 1
    if accelerator.is_main_process:
        time.sleep(1)
        (folder / "first").touch()
    accelerator.wait_for_everyone()
    found = [(folder / "first").exists()]
    with accelerator.main_process_first():
        found.append(accelerator.is_main_process or (folder / "second").exists())
        if accelerator.is_main_process:
            time.sleep(1)
            (folder / "second").touch()
    run = []
    for name in ("on_main_process", "on_local_main_process", "on_last_process"):
        getattr(accelerator, name)(run.append)(name)
    accelerator.on_process(run.append, process_index=1)("second")
    return found, run


@pytest.mark.parametrize("ranks", ["ranks2", "ranks3"])
def test_waits_for_all_and_runs_on_one(request, tmp_path, ranks):
    for rank, (found, run) in enumerate(request.getfixturevalue(ranks)(waits, tmp_path)):
        assert found == [True, True]
        first = ["on_main_process", "on_local_main_process", "on_last_process"]
        assert run == (first, ["second"], [])[rank]


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.words, self.turn, self.out = nn.Embedding(7, 4), nn.Linear(4, 4), nn.Linear(4, 7, bias=False)
        self.out.weight = self.words.weight

    def forward(self, x):
        return self.out(self.turn(self.words(x)))


def saves(folder, sharded):
    """Names and whether they are as before, of all that was saved and loaded again by accelerate."""
    from accelerate import Accelerator

    accelerator = of_several() if sharded else Accelerator(cpu=True)
    torch.manual_seed(0)
    model = Tied()
    if sharded:
        weft.distribute_module(model, {"(words|out)/weight": ("a", None), "turn/weight": (None, "a")}, mesh=line())
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    model, optimizer = accelerator.prepare(model, optimizer)

    def step():
        model(torch.arange(5)).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()

    def values():
        state = {f"{i}.{k}": v for i, s in optimizer.state_dict()["state"].items() for k, v in s.items()}
        state |= dict(model.named_parameters())
        return {k: weft.full_tensor(t.detach()) if sharded and t.dim() else t.clone() for k, t in state.items()}

    step()
    before = values()
    accelerator.save_state(f"{folder}/state")
    accelerator.save_state(f"{folder}/pickled", safe_serialization=False)
    accelerator.save_model(model, f"{folder}/one")
    accelerator.save_model(model, f"{folder}/parts", max_shard_size=100)
    accelerator.save(model.state_dict(), f"{folder}/all.pt")
    same = []
    for name in ("state", "pickled"):
        step()
        accelerator.load_state(f"{folder}/{name}")
        after = values()
        same.append(all(torch.equal(after[k], t) for k, t in before.items()) and after.keys() == before.keys())
    return same, {weft.is_sharded(s["exp_avg"]) for s in optimizer.state.values()}


@pytest.mark.parametrize("ranks", ["ranks2", "ranks3"])
def test_saves_and_loads(request, ranks, tmp_path):
    from safetensors.torch import load_file

    assert saves(tmp_path / "plain", False) == ([True, True], {False})
    for same, layouts in request.getfixturevalue(ranks)(saves, tmp_path / "sharded", True):
        assert same == [True, True] and layouts == {True}
    files = sorted(f.relative_to(tmp_path / "plain") for f in (tmp_path / "plain").rglob("*.safetensors"))
    assert len(files) > 3
    assert files == sorted(f.relative_to(tmp_path / "sharded") for f in (tmp_path / "sharded").rglob("*.safetensors"))
    for file in files:
        expected, found = load_file(tmp_path / "plain" / file), load_file(tmp_path / "sharded" / file)
        assert expected.keys() == found.keys()
        assert all(torch.allclose(found[k], t, atol=1e-5) for k, t in expected.items()), file
    whole = torch.load(tmp_path / "sharded" / "all.pt")
    assert whole["out.weight"].data_ptr() == whole["words.weight"].data_ptr() and len(whole) == 4
