"""torch.nn's transformer modules in eval mode, which take fused layers and nested tensors: plain torch's numbers."""

import copy
import warnings

import pytest
import torch
import weft
from support.cases import check, meshes, on_worlds, run_cases, same
from torch import nn

BATCH, LENGTH, WIDTH = 5, 6, 8
LAYOUTS = {
    ".*in_proj_weight": ("a", None),
    ".*in_proj_bias": ("a",),
    ".*out_proj/weight": (None, "a"),
    ".*linear1/weight": ("a", None),
    ".*linear1/bias": ("a",),
    ".*linear2/weight": (None, "a"),
}
PADDING = torch.arange(LENGTH) >= torch.tensor([3, 6, 1, 5, 2]).unsqueeze(1)  # left-aligned, as nested tensors need


def source() -> torch.Tensor:
    return torch.randn(BATCH, LENGTH, WIDTH, generator=torch.Generator().manual_seed(1))


def encoder(norm_first: bool, activation: str, nested: bool = True, mask_check: bool = True) -> nn.TransformerEncoder:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(WIDTH, 2, 12, activation=activation, batch_first=True, norm_first=norm_first)
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=nested, mask_check=mask_check).eval()


def is_fast(plain: nn.Module, **inputs) -> bool:
    """Whether plain torch takes the fused layers: else these tests would test nothing."""
    with torch.profiler.profile() as profile:
        plain(source(), **inputs)
    return any("_transformer_encoder_layer_fwd" in e.name for e in profile.events())


def encoded(mesh, split: bool, mode, norm_first: bool, activation: str, masks: dict, **how) -> None:
    plain = encoder(norm_first, activation, **how)
    sharded = copy.deepcopy(plain)
    weft.distribute_module(sharded, LAYOUTS, mesh=mesh)
    x = source()
    given = weft.shard_batch({"src": x, **masks}, mesh, "a") if split and "mask" not in masks else {"src": x, **masks}
    with mode():
        assert is_fast(plain, **masks)
        want = plain(x, **masks)
        got = sharded(**given)
    got = weft.full_tensor(got) if weft.is_sharded(got) else got
    padding = masks.get("src_key_padding_mask")
    if padding is not None:
        # Places that are padding: zeros where a nested tensor was made, else what the other path has there.
        got, want = (t.masked_fill(padding.unsqueeze(-1), 0) for t in (got, want))
    same(got, want)


def attended(mesh, need_weights: bool, average: bool, key_padding: bool, attn_mask: bool) -> None:
    torch.manual_seed(0)
    plain = nn.MultiheadAttention(WIDTH, 2, batch_first=True).eval()
    sharded = copy.deepcopy(plain)
    weft.distribute_module(sharded, {"in_proj_weight": ("a", None), "out_proj/weight": (None, "a")}, mesh=mesh)
    x = source()
    options = {"need_weights": need_weights, "average_attn_weights": average}
    if key_padding:
        options["key_padding_mask"] = PADDING
    if attn_mask:
        options["attn_mask"] = torch.ones(LENGTH, LENGTH).triu(1).bool()
    with torch.no_grad():
        want, want_weights = plain(x, x, x, **options)
        y = weft.distribute_tensor(x, ("a", None, None), mesh)
        got, weights = sharded(y, y, y, **options)
    same(got, want, "values")
    assert (weights is None) == (want_weights is None)
    if weights is not None:
        same(weights, want_weights, "weights")


def of_nothing(mesh) -> None:
    """Who sees no key: NaN, as plain; the others what they are."""
    torch.manual_seed(0)
    plain = nn.MultiheadAttention(WIDTH, 2, batch_first=True).eval()
    sharded = copy.deepcopy(plain)
    weft.distribute_module(sharded, {"in_proj_weight": ("a", None), "out_proj/weight": (None, "a")}, mesh=mesh)
    x = source()
    masks = {"key_padding_mask": PADDING | (torch.arange(BATCH) == 2).unsqueeze(1)}
    with torch.no_grad():
        for need_weights in (True, False):
            want, _ = plain(x, x, x, need_weights=need_weights, **masks)
            y = weft.distribute_tensor(x, ("a", None, None), mesh)
            got, _ = sharded(y, y, y, need_weights=need_weights, **masks)
            same(weft.full_tensor(got).isnan(), want.isnan(), "what is no number")
            same(weft.full_tensor(got).nan_to_num(), want.nan_to_num(), "values")


def of_three(mesh) -> None:
    """The op itself with different queries, keys and values."""
    torch.manual_seed(0)
    q, k, v = torch.randn(3, BATCH, LENGTH, WIDTH)
    weights = [torch.randn(3 * WIDTH, WIDTH), torch.randn(3 * WIDTH), torch.randn(WIDTH, WIDTH), torch.randn(WIDTH)]
    laid_out = [weft.distribute_tensor(w, ("a",) + (None,) * (w.dim() - 1), mesh) for w in weights]
    want = torch._native_multi_head_attention(q, k, v, WIDTH, 2, *weights)
    got = torch._native_multi_head_attention(q, k, v, WIDTH, 2, *laid_out)
    same(got[0], want[0], "values")
    same(got[1], want[1], "weights")


def nested_layer(mesh) -> None:
    """A nested tensor with sharded weights: a nested tensor, the same on every rank."""
    plain = encoder(False, "relu").layers[0]
    sharded = copy.deepcopy(plain)
    weft.distribute_module(sharded, LAYOUTS, mesh=mesh)
    x = torch.nested.nested_tensor([torch.randn(n, WIDTH) for n in (3, 1, 5)])
    with torch.no_grad():
        want, got = plain(x), sharded(x)
    assert got.is_nested
    same(got.to_padded_tensor(0.0), want.to_padded_tensor(0.0))


def nested_in_three(mesh) -> None:
    a, b = (torch.nested.nested_tensor([torch.randn(2, WIDTH), torch.randn(3, WIDTH)]) for _ in range(2))
    w = [torch.randn(3 * WIDTH, WIDTH), torch.randn(3 * WIDTH), torch.randn(WIDTH, WIDTH), torch.randn(WIDTH)]
    w[0] = weft.distribute_tensor(w[0], ("a", None), mesh)
    with pytest.raises(NotImplementedError, match=r"\[_native_multi_head_attention\].*self-attention only"):
        torch._native_multi_head_attention(a, b, b, WIDTH, 2, *w, None, False)


def cases(mesh) -> dict:
    found = {}
    causal = torch.ones(LENGTH, LENGTH).triu(1).bool()
    kinds = {"no mask": {}, "padding": {"src_key_padding_mask": PADDING}, "mask": {"mask": causal}}
    kinds["both"] = kinds["padding"] | kinds["mask"]
    for kind, masks in kinds.items():
        for split in (False, True):
            for norm_first, activation in ((False, "relu"), (True, "gelu")):
                for mode in (torch.no_grad, torch.inference_mode):
                    name = f"{kind}, {split=}, {norm_first=}, {activation}, {mode.__name__}"
                    found[name] = lambda a=(mesh, split, mode, norm_first, activation, masks): encoded(*a)
    a = (mesh, True, torch.no_grad, False, "relu", kinds["padding"])
    found["padding, not checked"] = lambda: encoded(*a, mask_check=False)
    found["padding, never nested"] = lambda: encoded(*a, nested=False)
    for need, average in ((False, True), (True, True), (True, False)):
        for padding, mask in ((False, False), (True, False), (False, True), (True, True)):
            name = f"attention, {need=}, {average=}, {padding=}, {mask=}"
            found[name] = lambda a=(mesh, need, average, padding, mask): attended(*a)
    return found | {
        "attention of nothing": lambda: of_nothing(mesh),
        "attention of three": lambda: of_three(mesh),
        "nested": lambda: nested_layer(mesh),
        "nested, three": lambda: nested_in_three(mesh),
    }


def run_all(world: int) -> dict[str, str]:
    warnings.filterwarnings("ignore", category=UserWarning)  # that nested tensors are in beta
    return {k: v for mesh in meshes(world) for k, v in run_cases(cases(mesh)).items()}


results = on_worlds(run_all, 2, 3)


def test_all(results):
    assert len(results[0]) > 40
    for name in results[0]:
        check(results, name)
