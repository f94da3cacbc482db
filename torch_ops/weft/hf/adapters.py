"""peft's adapters on a sharded model: laid out by the weight that they are for, and saved once, whole."""

from __future__ import annotations

import functools
import inspect
from typing import Any

import torch

from ..after_import import after_import
from ..in_step import agree
from ..mesh import TensorLayout
from ..module import swap_impl
from ..tensors import full_tensor, is_sharded, layout_of, path_of
from .reading import replaced

_WHAT = "saving adapters"


def install() -> None:
    """Puts it into peft, now or once it is imported."""
    after_import("peft.tuners.tuners_utils", _install_layouts)
    after_import("peft.peft_model", _install_saving)


def _install_layouts(module: Any) -> None:
    inject = module.BaseTuner.inject_adapter

    @functools.wraps(inject)
    def inject_adapter(self: Any, model: torch.nn.Module, *args: Any, **kwargs: Any) -> Any:
        out = inject(self, model, *args, **kwargs)
        for layer in model.modules():
            if hasattr(layer, "lora_A") and hasattr(layer, "get_base_layer"):
                _lay_out(layer)
        return out

    module.BaseTuner.inject_adapter = inject_adapter


def _lay_out(layer: Any) -> None:
    """LoRA's two matrices, [rank, inputs] and [outputs, rank], of a linear layer: as its inputs and its outputs are."""
    base = getattr(layer.get_base_layer(), "weight", None)
    if base is None or not is_sharded(base) or base.dim() != 2:
        return
    layout = layout_of(base)
    for name, down in layer.lora_A.items():
        first, second = getattr(down, "weight", None), getattr(layer.lora_B[name], "weight", None)
        if first is None or second is None or first.dim() != 2 or is_sharded(first):
            continue
        straight = base.shape == (len(second), first.shape[1])  # Conv1D has [inputs, outputs]
        outputs, inputs = layout.axes if straight else layout.axes[::-1]
        owner = path_of(base).rpartition("/")[0]
        for p, leaf, axes in ((first, "lora_A", (None, inputs)), (second, "lora_B", (outputs, None))):
            new = TensorLayout(axes, layout.device_mesh)._object
            swap_impl(p, torch.ops.weft._lay_out_variable(p, new, f"{owner}/{leaf}/{name}/weight", ""))


def _install_saving(module: Any) -> None:
    save, states = module.PeftModel.save_pretrained, module.get_peft_model_state_dict
    signature = inspect.signature(save)

    @functools.wraps(save)
    def save_pretrained(self: Any, *args: Any, **kwargs: Any) -> None:
        if not any(map(is_sharded, self.parameters())):
            save(self, *args, **kwargs)
            return
        given = signature.bind(self, *args, **kwargs)
        given.arguments["is_main_process"] = given.arguments.get("is_main_process", True) and torch.ops.weft.rank() == 0
        error, parted = None, False

        def full_states(*args: Any, **kwargs: Any) -> dict[str, Any]:
            """Of one adapter, once all ranks are here: the one that writes may have failed before."""
            nonlocal parted
            parted = True
            agree(_WHAT, None)
            parted = False
            found = states(*args, **kwargs)
            return {name: full_tensor(t.detach()) if is_sharded(t) else t for name, t in found.items()}

        try:
            with replaced(module, "get_peft_model_state_dict", full_states):
                save(*given.args, **given.kwargs)
        except Exception as e:
            if parted:
                raise
            error = e
        agree(_WHAT, error)

    module.PeftModel.save_pretrained = save_pretrained
