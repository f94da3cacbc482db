"""weft.hf.from_pretrained, and transformers' own under registered layouts: parts of files, ties, errors."""

import warnings

import pytest
import torch
import weft
from ranks.meshes import data_and_model, mesh_of
from ranks.zoo import MODELS
from safetensors.torch import load_file, save_file


def saved(name, folder, **options):
    """A checkpoint of the zoo's model, with its values changed from what it is initialised with."""
    torch.manual_seed(0)
    model = MODELS[name].build()
    model.save_pretrained(folder, **options)
    return model.eval()


def both(model):
    mesh = data_and_model()
    return weft.layouts.fsdp(model, mesh, "data", whole=0) | weft.hf.layouts(model, mesh)


def differing(model, plain):
    """Paths of variables that are not the plain model's, bit for bit, or not sharded."""
    wrong = []
    for (path, a), (_, b) in zip(
        [*model.named_parameters(), *model.named_buffers()],
        [*plain.named_parameters(), *plain.named_buffers()],
        strict=True,
    ):
        if not weft.is_sharded(a) or a.dtype != b.dtype or not torch.equal(weft.full_tensor(a.detach()), b.detach()):
            wrong.append(path)
        elif weft.path_of(a) != path.replace(".", "/"):
            wrong.append(f"{path} is called {weft.path_of(a)}")
        if a.requires_grad != b.requires_grad:
            wrong.append(f"{path} requires a gradient: {a.requires_grad}")
    return wrong


def loads(name, folder, dtype):
    import transformers

    cls = getattr(transformers, MODELS[name].cls)
    plain = cls.from_pretrained(folder, dtype=dtype)
    mesh = data_and_model()
    model = weft.hf.from_pretrained(cls, folder, mesh=mesh, layouts=both, dtype=dtype)
    expected = both(model)
    wrong = differing(model, plain)
    for path, p in model.named_parameters():
        if weft.layout_of(p) != expected.layout_for(path, p.shape, ""):
            wrong.append(f"{path} is {weft.layout_of(p)}")
    ids = torch.arange(12).reshape(2, 6)
    same = torch.allclose(weft.full_tensor(model(ids).logits), plain(ids).logits, atol=1e-5 if dtype is None else 2e-2)
    tied = len(dict(model.named_parameters())) == len(dict(plain.named_parameters()))
    return wrong, same, tied, model.training


# A mixture's experts are one entry of the file each and become stacks; Gemma's head is tied.
@pytest.mark.parametrize("name", ["llama", "mixtral", "qwen2_moe", "gemma2", "phi3", "llava"])
@pytest.mark.parametrize("ranks", ["ranks2", "ranks3", "ranks4"])
def test_as_plain(request, tmp_path, name, ranks):
    saved(name, tmp_path)
    for wrong, same, tied, training in request.getfixturevalue(ranks)(loads, name, tmp_path, None, timeout=120):
        assert wrong == [] and same and tied and not training


@pytest.mark.parametrize("dtype", [torch.bfloat16, "auto"])
def test_dtype_and_several_files(ranks2, tmp_path, dtype):
    saved("llama", tmp_path, max_shard_size="20KB")
    assert (tmp_path / "model.safetensors.index.json").exists()
    for wrong, same, _, _ in ranks2(loads, "llama", tmp_path, dtype):
        assert wrong == [] and same


def loads_by(folder, how):
    """Differences of a GPT-2 that is loaded as `how` says, and the layout of its head."""
    from transformers import AutoModelForCausalLM, GPT2LMHeadModel

    plain = GPT2LMHeadModel.from_pretrained(folder)
    mesh = mesh_of(weft.world_size(), 1)
    rules = {r".*(c_attn|c_fc)/weight": (None, "data"), r".*wte/weight": ("data", None)}
    if how == "registered":
        with weft.register_layouts(weft.LayoutMap(mesh, rules)):
            model = AutoModelForCausalLM.from_pretrained(folder)
    elif how == "map":
        model = weft.hf.from_pretrained(AutoModelForCausalLM, folder, layouts=weft.LayoutMap(mesh, rules))
    else:
        layouts = rules if how == "dict" else how
        model = weft.hf.from_pretrained(AutoModelForCausalLM, folder, mesh=mesh, layouts=layouts)
    assert model.lm_head.weight is model.transformer.wte.weight
    return differing(model, plain), weft.layout_of(model.lm_head.weight).axes


@pytest.mark.parametrize("how", ["fsdp", "dict", "map", "registered"])
def test_ways_to_say_the_layouts(ranks3, tmp_path, how):
    saved("gpt2", tmp_path)
    for wrong, axes in ranks3(loads_by, tmp_path, how):
        assert wrong == [] and axes == ("data", None)


def test_one_plain_process(tmp_path):
    from transformers import AutoModelForCausalLM

    plain = saved("llama", tmp_path)
    model = weft.hf.from_pretrained(AutoModelForCausalLM, tmp_path)
    assert not any(map(weft.is_sharded, model.parameters()))
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), plain.parameters(), strict=True))


def changed(folder, change):
    """The checkpoint's tensors, changed."""
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def error_of(folder, strict=True, **options):
    from transformers import LlamaForCausalLM

    mesh = mesh_of(weft.world_size())
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            model = weft.hf.from_pretrained(LlamaForCausalLM, folder, mesh=mesh, strict=strict, **options)
    except (ValueError, RuntimeError) as e:
        return f"{type(e).__name__}: {e}"
    finite = all(bool(torch.isfinite(weft.full_tensor(p)).all()) for p in model.state_dict().values())
    return finite, weft.layout_of(model.model.layers[1].mlp.up_proj.weight).axes


def test_missing_and_unexpected_keys(ranks2, tmp_path):
    saved("llama", tmp_path)

    def change(tensors):
        tensors["model.layers.7.mlp.up_proj.weight"] = tensors.pop("model.layers.1.mlp.up_proj.weight")
        del tensors["model.norm.weight"]

    changed(tmp_path, change)
    (error, same) = ranks2(error_of, tmp_path)
    assert error == same and error.startswith("ValueError: [W113] hf.from_pretrained: ")
    assert "2 keys are missing: model.layers.1.mlp.up_proj.weight, model.norm.weight;" in error
    assert "1 keys are not expected: model.layers.7.mlp.up_proj.weight;" in error
    for finite, axes in ranks2(error_of, tmp_path, strict=False):  # they are initialised, in their layout
        assert finite and axes == ("model", None)


def of_a_state_dict():
    from transformers import LlamaForCausalLM

    torch.manual_seed(0)
    plain = MODELS["llama"].build().eval()
    values, said = plain.state_dict(), ""
    options = {"config": plain.config, "mesh": mesh_of(weft.world_size()), "layouts": "plan"}
    model = weft.hf.from_pretrained(LlamaForCausalLM, None, state_dict=dict(values), **options)
    values.pop("lm_head.weight")
    try:
        weft.hf.from_pretrained(LlamaForCausalLM, None, state_dict=values, **options)
    except ValueError as e:
        said = str(e)
    same = all(torch.equal(weft.full_tensor(t), dict(plain.named_parameters())[k]) for k, t in model.named_parameters())
    return same, weft.is_sharded(model.lm_head.weight), said


def test_tensors_without_a_folder(ranks2):
    for same, sharded, said in ranks2(of_a_state_dict):
        assert same and sharded and "state_dict is no checkpoint of LlamaForCausalLM: 1 keys are missing" in said


def test_wrong_shape_and_wrong_arguments(ranks2, tmp_path):
    saved("llama", tmp_path)
    assert all("device_map" in e for e in ranks2(error_of, tmp_path, device_map="cpu"))
    assert all("'plan', 'fsdp'" in e for e in ranks2(error_of, tmp_path, layouts="fspd"))
    assert all("not a LayoutMap" in e for e in ranks2(error_of, tmp_path, layouts=type))
    assert all("no axis named 'data'" not in e for e in ranks2(error_of, tmp_path, layouts="fsdp"))
    changed(tmp_path, lambda tensors: tensors.update({"model.norm.weight": torch.ones(7)}))
    (error, same) = ranks2(error_of, tmp_path)
    assert error == same and "1 keys have another shape: model.norm.weight is (7,), not (32,);" in error


def renames(folder):
    from transformers import LlamaForCausalLM

    options = {"key_mapping": {r"^trunk\.": "model."}}
    plain = LlamaForCausalLM.from_pretrained(folder, **options)
    model = weft.hf.from_pretrained(LlamaForCausalLM, folder, mesh=mesh_of(weft.world_size()), **options)
    return differing(model, plain)


def test_renamed_keys(ranks2, tmp_path):
    saved("llama", tmp_path)

    def change(tensors):
        for name in [n for n in tensors if n.startswith("model.")]:
            tensors[name.replace("model.", "trunk.", 1)] = tensors.pop(name)

    changed(tmp_path, change)
    assert ranks2(renames, tmp_path) == [[], []]


def unties(folder):
    from transformers import Gemma2ForCausalLM

    plain = Gemma2ForCausalLM.from_pretrained(folder)
    model = weft.hf.from_pretrained(Gemma2ForCausalLM, folder, mesh=mesh_of(weft.world_size()))
    return differing(model, plain), model.lm_head.weight is model.model.embed_tokens.weight


@pytest.mark.parametrize("alike", [True, False])
def test_tied_weights_that_are_both_there(ranks2, tmp_path, alike):
    saved("gemma2", tmp_path)

    def change(tensors):
        tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"] + (0 if alike else 1)

    changed(tmp_path, change)
    assert ranks2(unties, tmp_path) == [([], alike)] * 2


def partly_real(folder):
    """Of XLNet the constructor makes a parameter by torch.FloatTensor, in memory wherever the model is made."""
    from transformers import XLNetLMHeadModel as cls

    mesh = mesh_of(weft.world_size())
    plain = cls.from_pretrained(folder)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = weft.hf.from_pretrained(cls, folder, mesh=mesh, layouts="fsdp")
        with weft.register_layouts(weft.layouts.fsdp(plain, mesh, mesh.axis_names[0])):
            registered = cls.from_pretrained(folder)
    return differing(model, plain), differing(registered, plain)


def test_parameters_that_are_made_in_memory(ranks2, tmp_path):
    saved("xlnet", tmp_path)
    assert ranks2(partly_real, tmp_path) == [([], [])] * 2


def frozen_by_its_constructor(folder):
    """Its table of positions, which transformers makes a parameter like all others, read or not."""
    from transformers import MarianMTModel as cls

    plain = cls.from_pretrained(folder)
    model = weft.hf.from_pretrained(cls, folder, mesh=mesh_of(weft.world_size()), layouts="fsdp")
    return differing(model, plain)


def test_parameters_that_are_made_frozen(ranks2, tmp_path):
    saved("marian", tmp_path)
    assert ranks2(frozen_by_its_constructor, tmp_path) == [[]] * 2


def with_adapter(folder):
    """A folder with an adapter beside the model, which transformers loads with it."""
    from transformers import LlamaForCausalLM

    plain = LlamaForCausalLM.from_pretrained(folder)
    model = weft.hf.from_pretrained(LlamaForCausalLM, folder, mesh=mesh_of(weft.world_size()), layouts="fsdp")
    ids = torch.arange(12).reshape(2, 6)
    names = [name for name, _ in model.named_parameters()]
    return (
        names == [name for name, _ in plain.named_parameters()] and any("lora_A" in name for name in names),
        torch.allclose(weft.full_tensor(model(ids).logits), plain(ids).logits, atol=1e-5),
    )


def test_adapter_in_the_folder(ranks2, tmp_path):
    peft = pytest.importorskip("peft")
    model = saved("llama", tmp_path)
    config = peft.LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False)
    peft.get_peft_model(model, config).save_pretrained(tmp_path)
    assert ranks2(with_adapter, tmp_path) == [(True, True)] * 2


def inner_model(folder):
    from transformers import AutoModel, AutoModelForSequenceClassification

    mesh = mesh_of(weft.world_size())
    plain = AutoModel.from_pretrained(folder)
    model = weft.hf.from_pretrained(AutoModel, folder, mesh=mesh, strict=False)  # the head is too much
    head = weft.hf.from_pretrained(AutoModelForSequenceClassification, folder, mesh=mesh, strict=False)
    made = weft.full_tensor(head.score.weight.detach())
    return differing(model, plain), bool(made.isfinite().all()) and made.std().item() > 0


def test_base_model_and_new_head(ranks2, tmp_path):
    saved("llama", tmp_path)
    assert ranks2(inner_model, tmp_path) == [([], True)] * 2


def test_registered_layouts_that_cannot_be_applied(tmp_path, monkeypatch):
    from transformers import LlamaForCausalLM
    from weft.hf import loading

    saved("llama", tmp_path)
    monkeypatch.setattr(loading, "_problem", lambda config: "some reason" if config.dtype is not None else "")
    with weft.register_layouts(weft.LayoutMap(mesh_of(1))):
        with pytest.warns(UserWarning, match="layouts that are registered are not applied: some reason"):
            model = LlamaForCausalLM.from_pretrained(tmp_path)
        assert not weft.is_sharded(model.lm_head.weight)
    with pytest.raises(ValueError, match="some reason"):
        weft.hf.from_pretrained(LlamaForCausalLM, tmp_path, mesh=mesh_of(1))


def peak(folder):
    """(bytes that the peak of this process has risen by, bytes of its shards)."""
    from transformers import LlamaForCausalLM

    mesh = mesh_of(1, weft.world_size())
    with open("/proc/self/clear_refs", "w") as f:
        f.write("5")  # the peak is counted from here
    before = resident("VmRSS")
    model = weft.hf.from_pretrained(LlamaForCausalLM, folder, mesh=mesh, layouts=both)
    own = sum(weft.local_tensor(t).numel() * t.element_size() for t in model.state_dict().values())
    return resident("VmHWM") - before, own


def resident(kind):
    with open("/proc/self/status") as f:
        return next(int(line.split()[1]) << 10 for line in f if line.startswith(kind))


def test_peak_memory(ranks2, tmp_path):
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = {"vocab_size": 16384, "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 6}
    with torch.device("meta"):
        model = LlamaForCausalLM(LlamaConfig(**sizes, num_attention_heads=8, num_key_value_heads=8))
    model = model.to_empty(device="cpu")
    with torch.no_grad():
        for t in model.state_dict().values():
            t.fill_(0.5)
    model.save_pretrained(tmp_path, max_shard_size="200MB")
    whole = sum(p.numel() * 4 for p in model.parameters())
    del model
    ranks2(peak, tmp_path, timeout=120)  # imports, and buffers of the communication
    for risen, own in ranks2(peak, tmp_path, timeout=120):
        assert whole > 400 << 20 and own < 0.51 * whole
        assert risen < own + (64 << 20), (risen >> 20, own >> 20, whole >> 20)
