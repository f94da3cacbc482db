"""Image models of timm, random and tiny: convolutions, attention and what lies between, one of each kind."""

import importlib
import operator
from typing import Any

from torch import nn

from .table import DROPOUT, TorchEntry
from .vision import CLASSES, classify

VIT = {"img_size": 64, "patch_size": 16, "embed_dim": 32, "depth": 2, "num_heads": 4}
MLP = {"img_size": 64, "patch_size": 16, "embed_dim": 32, "num_blocks": 2, "drop_path_rate": DROPOUT}
STAGES = {"depths": (1, 1, 1, 1), "drop_path_rate": DROPOUT}
DIMS = {**STAGES, "dims": (8, 16, 16, 32)}
EMBED = {**STAGES, "embed_dims": (8, 16, 16, 32)}


def model(name: str, **keywords: Any) -> TorchEntry:
    """An entry for a model, by its name in timm's list."""

    def make() -> nn.Module:
        return importlib.import_module("timm").create_model(name, pretrained=False, num_classes=CLASSES, **keywords)

    return TorchEntry("timm", make, "photo", classify, library="timm")


def of_class(path: str, **keywords: Any) -> TorchEntry:
    """A class whose named models all fix the sizes."""

    def make() -> nn.Module:
        module, cls = path.split(".")
        given = {k: operator.attrgetter(v[1:])(importlib.import_module("timm")) if is_path(v) else v
                 for k, v in keywords.items()}  # fmt: skip
        return getattr(importlib.import_module(f"timm.models.{module}"), cls)(num_classes=CLASSES, **given)

    return TorchEntry("timm", make, "photo", classify, library="timm")


def is_path(value: Any) -> bool:
    return isinstance(value, str) and value.startswith(".")


MODELS = {
    "timm.vit": model(
        "vit_tiny_patch16_224", **VIT, proj_drop_rate=DROPOUT, attn_drop_rate=DROPOUT, drop_path_rate=DROPOUT
    ),
    "timm.deit_distilled": model("deit_tiny_distilled_patch16_224", **VIT),
    "timm.eva02": model("eva02_tiny_patch14_224", **VIT),
    "timm.beitv2": model("beitv2_base_patch16_224", **VIT),
    "timm.cait": model("cait_xxs24_224", **VIT),
    "timm.xcit": model("xcit_nano_12_p16_224", **VIT),
    "timm.convit": model("convit_tiny", img_size=64, embed_dim=32, depth=3, num_heads=4, local_up_to_layer=2),
    "timm.naflexvit": model("naflexvit_base_patch16_gap", embed_dim=32, depth=2, num_heads=4),
    "timm.swinv2": model(
        "swinv2_tiny_window8_256", img_size=64, embed_dim=16, depths=(2, 1), num_heads=(2, 4), window_size=4,
        drop_path_rate=DROPOUT,
    ),
    "timm.hiera": model("hiera_tiny_224", img_size=(64, 64), embed_dim=16, num_heads=1, stages=(1, 1, 1, 1)),
    "timm.davit": model("davit_tiny", **EMBED, num_heads=(2, 2, 2, 2), window_size=2),
    "timm.twins": model("twins_pcpvt_small", img_size=64, **EMBED, num_heads=(1, 2, 2, 2)),
    "timm.mixer": of_class("mlp_mixer.MlpMixer", **MLP),
    "timm.gmlp": of_class(
        "mlp_mixer.MlpMixer", **MLP, mlp_ratio=4, block_layer=".models.mlp_mixer.SpatialGatingBlock",
        mlp_layer=".layers.GatedMlp",
    ),
    "timm.poolformer": of_class("metaformer.MetaFormer", **DIMS),
    "timm.sequencer2d": model(
        "sequencer2d_s", layers=(1, 1, 1, 1), embed_dims=(16, 16, 16, 16), hidden_sizes=(8, 8, 8, 8)
    ),
    "timm.mambaout": model("mambaout_femto", **DIMS),
    "timm.inception_next": model("inception_next_atto", **DIMS),
    "timm.convnextv2": model("convnextv2_atto", **DIMS),
    "timm.edgenext": model("edgenext_xx_small", **DIMS, heads=(2, 2, 2, 2)),
    "timm.fastvit": model("fastvit_t8", layers=(1, 1, 1, 1), embed_dims=(8, 16, 16, 32)),
    "timm.repvit": model("repvit_m0_9", depth=(1, 1, 1, 1), embed_dim=(8, 16, 16, 32)),
    "timm.mobilevitv2": model("mobilevitv2_050"),
    "timm.mobilenetv4": model("mobilenetv4_conv_small_050"),
    "timm.ghostnet": model("ghostnet_050"),
    "timm.resnetv2_bit": of_class(
        "resnetv2.ResNetV2", layers=(1, 1), channels=(32, 64), stem_chs=32, conv_layer=".layers.StdConv2d",
        norm_layer=".layers.BatchNormAct2d",
    ),
}  # fmt: skip
