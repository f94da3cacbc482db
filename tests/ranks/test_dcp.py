"""torch.distributed.checkpoint: what sharded tensors save, DTensors and plain tensors load, and the other way round."""

import math
import os

import pytest
import torch
import torch.distributed.checkpoint as dcp
import weft
from ranks.checkpoints import mesh_of
from ranks.test_checkpoint import laid_out, values
from ranks.test_checkpoint_training import Net, build, steps
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
    set_state_dict,
)


def nested(tensors):
    """The tensors as users pass them on: in dicts and lists, beside numbers."""
    names = sorted(tensors)
    return {"model": {k: tensors[k] for k in names[:4]}, "list": [tensors[k] for k in names[4:]], "step": 7}


def tensors_of(state):
    names = sorted(values())
    return dict(zip(names, [*(state["model"][k] for k in names[:4]), *state["list"]], strict=True))


def of_kind(kind, tensors, shape, variant):
    """Sharded by Weft, as DTensors, or plain."""
    if kind == "weft":
        return laid_out(tensors, mesh_of(shape), variant)
    if kind == "plain":
        return dict(tensors)
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Replicate, Shard, distribute_tensor

    mesh = init_device_mesh("cpu", shape)
    out = {}
    for i, (name, t) in enumerate(tensors.items()):
        choices = [Replicate(), *map(Shard, range(t.dim()))]
        out[name] = distribute_tensor(t, mesh, [choices[(variant + i + d) % len(choices)] for d in range(len(shape))])
    return out


def whole(t):
    return weft.full_tensor(t) if weft.is_sharded(t) else getattr(t, "full_tensor", lambda: t)()


def saves(folder, kind, shape, variant, how=None):
    tensors = of_kind(kind, values(), shape, variant)
    state = nested(tensors)
    if how is None:
        return dcp.save(state, checkpoint_id=folder)
    options = {}
    if how == "writer":  # which is a stager too
        options["storage_writer"] = dcp.FileSystemWriter(folder)
    if how == "process":
        options["async_checkpointer_type"] = dcp.state_dict_saver.AsyncCheckpointerType.PROCESS
    group = torch.distributed.new_group(backend="gloo")
    pending = dcp.async_save(state, checkpoint_id=folder, process_group=group, **options)
    with torch.no_grad():
        for t in tensors.values():
            t.zero_()
    pending.result()


def loads(folder, kind, shape, variant):
    """The names of those that are not as they were saved."""
    expected = values()
    targets = of_kind(kind, {k: torch.full_like(v, 7) for k, v in expected.items()}, shape, variant)
    state = nested(targets)
    dcp.load(state, checkpoint_id=folder)
    found = tensors_of(state)
    assert state["step"] == 7
    assert all(found[k] is t for k, t in targets.items())
    return [k for k, t in found.items() if not torch.equal(whole(t), expected[k])]


def on(request, shape, function, folder, kind, *args):
    """The function's values on the ranks of a mesh of that shape; None: on this process."""
    if shape is None:
        return [function(folder, kind, shape, *args)]
    return request.getfixturevalue(f"ranks{math.prod(shape)}")(function, folder, kind, shape, *args)


@pytest.mark.parametrize("shape", [(2,), (3,), (4,), (2, 2)])
def test_saved_by_weft(shape, request, tmp_path):
    for variant in range(5):
        folder = str(tmp_path / str(variant))
        on(request, shape, saves, folder, "weft", variant)
        assert loads(folder, "plain", None, 0) == []
        for other in ((2,), (3,)):
            for kind in ("weft", "dtensor"):
                for wrong in on(request, other, loads, folder, kind, variant + 1):
                    assert wrong == [], (variant, other, kind)


@pytest.mark.parametrize("shape", [(2,), (3,), (2, 2)])
@pytest.mark.parametrize("kind", ["dtensor", "plain"])
def test_loaded_by_weft(kind, shape, request, tmp_path):
    folder = str(tmp_path / "c")
    on(request, None if kind == "plain" else shape, saves, folder, kind, 1)
    for variant in range(5):
        for other in ((2,), (3,), (2, 2)):
            for wrong in on(request, other, loads, folder, "weft", variant):
                assert wrong == [], (variant, other)


@pytest.mark.parametrize("how", ["thread", "writer", "process"])
def test_in_the_background(how, ranks3, tmp_path):
    folder = str(tmp_path / "c")
    ranks3(saves, folder, "weft", (3,), 1, how, timeout=120)
    assert loads(folder, "plain", None, 0) == []


def traced(folder):
    mesh = mesh_of((2, 2))
    tensors = {
        "w": weft.distribute_tensor(torch.randn(1 << 10, 1 << 8), ("a", None), mesh),
        "b": weft.distribute_tensor(torch.randn(1 << 18), (None,), mesh),
    }
    with weft.trace() as collectives:
        dcp.save(tensors, checkpoint_id=folder)
        dcp.load(tensors, checkpoint_id=folder)
    return len(collectives.rows)


def test_replicas_are_written_once_and_nothing_is_sent(ranks4, tmp_path):
    folder = tmp_path / "c"
    assert ranks4(traced, str(folder)) == [0] * 4
    sizes = {f: os.path.getsize(folder / f) for f in os.listdir(folder)}
    assert (2 << 20) <= sum(sizes.values()) < (2 << 20) + (1 << 16), sizes


def misfits(folder):
    mesh = mesh_of((2,))
    t = weft.distribute_tensor(torch.ones(4, 6), ("a", None), mesh)
    dcp.save({"t": t}, checkpoint_id=folder)
    said = []
    for name, wrong in {"t": torch.zeros(4, 5), "u": torch.zeros(4, 6)}.items():
        target = weft.distribute_tensor(wrong, ("a", None), mesh)
        try:
            dcp.load({name: target}, checkpoint_id=folder)
        except dcp.api.CheckpointException as e:  # which is no Exception
            said.append(str(e))
        assert not weft.full_tensor(target).any()
    return said


def test_what_does_not_fit_is_an_error_on_all_ranks(ranks2, tmp_path):
    for size, missing in ranks2(misfits, str(tmp_path / "c")):
        assert "Size mismatch" in size and "Missing key" in missing


def versions(folder):
    """Whether loading counts as a write, and saving as none."""
    t = weft.distribute_tensor(torch.ones(4, 6), ("a", None), mesh_of((2,)))
    before = t._version
    dcp.save({"t": t}, checkpoint_id=folder)
    between = t._version
    dcp.load({"t": t}, checkpoint_id=folder)
    return between == before, t._version > between


def test_loading_counts_as_a_write(ranks2, tmp_path):
    assert ranks2(versions, str(tmp_path / "c")) == [(True, True)] * 2


def build_kind(kind, shape, seed):
    """The model and its optimizer, in the way of that library."""
    if kind != "fsdp":
        return build(mesh_of(shape) if kind == "weft" else None, "adamw", seed)
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    torch.manual_seed(seed)
    net = Net()
    fully_shard(net, mesh=init_device_mesh("cpu", shape))
    return net, torch.optim.AdamW(net.parameters(), lr=0.01)


def values_of(net, optimizer):
    """Whole, by name."""
    model, state = get_state_dict(net, optimizer, options=StateDictOptions(full_state_dict=True))
    found = {f"model.{k}": v for k, v in model.items()}
    found |= {f"state.{p}.{k}": v for p, entry in state["state"].items() for k, v in entry.items()}
    assert all(type(t) is torch.Tensor and not weft.is_sharded(t) for t in found.values())
    return found


def trains_and_saves(folder, kind, shape):
    with weft.random_mode("replay"):
        net, optimizer = build_kind(kind, shape, 0)
        steps(net, optimizer, 2, 0)
    model, state = get_state_dict(net, optimizer)
    dcp.save({"model": model, "optimizer": state}, checkpoint_id=folder)
    return values_of(net, optimizer)


def resumes(folder, kind, shape):
    net, optimizer = build_kind(kind, shape, 5)
    model, state = get_state_dict(net, optimizer)
    loaded = {"model": model, "optimizer": state}
    dcp.load(loaded, checkpoint_id=folder)
    set_state_dict(net, optimizer, model_state_dict=loaded["model"], optim_state_dict=loaded["optimizer"])
    if kind == "weft":
        assert all(weft.is_sharded(optimizer.state[p]["exp_avg"]) for p in net.parameters() if weft.is_sharded(p))
    return values_of(net, optimizer)


WAYS = [
    ("weft", (4,), "weft", (2,)),
    ("weft", (2, 2), "weft", (3,)),
    ("weft", (3,), "plain", None),
    ("weft", (2,), "fsdp", (3,)),
    ("fsdp", (2,), "weft", (3,)),
    ("plain", None, "weft", (2, 2)),
]


@pytest.mark.parametrize(("of", "of_shape", "to", "to_shape"), WAYS)
def test_model_and_optimizer(of, of_shape, to, to_shape, request, tmp_path):
    """Trained in one way, gone on with in another: all bits are the same."""
    folder = str(tmp_path / "c")
    saved = on(request, of_shape, trains_and_saves, folder, of)[0]
    assert any(k.startswith("state.") for k in saved)
    for found in on(request, to_shape, resumes, folder, to):
        assert found.keys() == saved.keys()
        assert [k for k, v in found.items() if not torch.equal(v, saved[k])] == []


def whole_dicts(kind, shape, options):
    """Beside the whole state dicts, what the sharded ones hold."""
    net, optimizer = build_kind(kind, shape, 0)
    with weft.random_mode("replay"):
        steps(net, optimizer, 2, 0)
    options = StateDictOptions(full_state_dict=True, **options)
    sharded = get_state_dict(net, optimizer)
    held = [{k: whole(v) for k, v in d.items()} for d in (sharded[0], *sharded[1]["state"].values())]
    return *get_state_dict(net, optimizer, options=options), held


@pytest.mark.parametrize("offload", [False, True])
@pytest.mark.parametrize("ranks", [2, 3])
def test_whole_state_dicts_are_plain(ranks, offload, request):
    model, state, _ = whole_dicts("plain", None, {})
    found = request.getfixturevalue(f"ranks{ranks}")(whole_dicts, "weft", (ranks,), {"cpu_offload": offload})
    if offload:  # to the first rank alone, as torch does
        assert all(not m and not s for m, s, _ in found[1:])
    for m, s, held in found[: 1 if offload else None]:
        assert m.keys() == model.keys() and s["state"].keys() == state["state"].keys()
        for got, expected in zip((m, *s["state"].values()), held, strict=True):
            assert got.keys() == expected.keys()
            assert all(not weft.is_sharded(v) and torch.equal(v, expected[k]) for k, v in got.items())


def sets_whole(kind, shape, model, state, broadcast, meta):
    """A whole state dict, of all ranks or of rank 0 alone, set into a sharded model."""
    if broadcast and weft.rank() > 0:
        model, state = {}, {}
    net, optimizer = build_kind("weft", shape, 5)
    if meta:
        with torch.device("meta"):
            net = Net()
        net.scale = torch.tensor(2.0)
        weft.distribute_module(net, weft.LayoutMap(mesh_of(shape), META_RULES), param_init_fn=lambda m: None)
        optimizer = torch.optim.AdamW(net.parameters(), lr=0.01)
    options = StateDictOptions(full_state_dict=True, broadcast_from_rank0=broadcast)
    set_model_state_dict(net, model, options=options)
    set_optimizer_state_dict(net, optimizer, state, options=options)
    layouts = all(
        weft.layout_of(optimizer.state[p]["exp_avg"]) == weft.layout_of(p)
        for p in net.parameters()
        if weft.is_sharded(p)
    )
    return layouts and weft.is_sharded(net.up.weight), values_of(net, optimizer)


META_RULES = {"up/weight": ("a", None), "up/bias": ("a",), "down/weight": (None, "a")}


@pytest.mark.parametrize("meta", [False, True])
@pytest.mark.parametrize("broadcast", [False, True])
@pytest.mark.parametrize("ranks", [2, 3])
def test_whole_state_dicts_are_set(ranks, broadcast, meta, request):
    net, optimizer = build(None, "adamw", 0)
    steps(net, optimizer, 2, 0)
    expected = values_of(net, optimizer)
    model, state = get_state_dict(net, optimizer)
    pool = request.getfixturevalue(f"ranks{ranks}")
    for laid_out_alike, found in pool(sets_whole, "weft", (ranks,), model, state, broadcast, meta):
        assert laid_out_alike
        assert [k for k, v in found.items() if not torch.equal(v, expected[k])] == []
