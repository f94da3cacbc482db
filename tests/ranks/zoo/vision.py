"""Models of torchvision, with its custom ops, and torch.nn's own."""

import importlib
import operator
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from .table import DROPOUT, TorchEntry

CLASSES = 6


def classify(model: nn.Module, batch: dict) -> torch.Tensor:
    out = model(batch["x"])
    if isinstance(out, tuple):  # with auxiliary classifiers
        return sum(F.cross_entropy(x, batch["labels"]) for x in out)
    return F.cross_entropy(out, batch["labels"])


def segment(model: nn.Module, batch: dict) -> torch.Tensor:
    return sum(F.cross_entropy(x, batch["labels"]) for x in model(batch["x"]).values())


def detect(model: nn.Module, batch: dict) -> torch.Tensor:
    return sum(model(batch["images"], batch["targets"]).values())


def label_tokens(model: nn.Module, batch: dict) -> torch.Tensor:
    return F.cross_entropy(model(batch["x"]).flatten(0, 1), batch["labels"].flatten())


def torchvision(path: str, family: str, loss: Callable, inputs: str, **keywords: Any) -> TorchEntry:
    def make() -> nn.Module:
        return operator.attrgetter(path)(importlib.import_module("torchvision.models"))(**keywords)

    return TorchEntry(family, make, inputs, loss)


def model(path: str, **keywords: Any) -> TorchEntry:
    return torchvision(path, "classification", classify, "photo", num_classes=CLASSES, **keywords)


def segmenter(name: str) -> TorchEntry:
    keywords = {"weights": None, "weights_backbone": None, "num_classes": CLASSES}
    return torchvision(f"segmentation.{name}", "segmentation", segment, "photo segments", **keywords)


def detector(make: Callable[..., nn.Module]) -> TorchEntry:
    """`make` is given torchvision.models.detection, a feature pyramid of 32 channels and anchors for it."""

    def build() -> nn.Module:
        from torchvision.models import detection, mobilenet_v3_small
        from torchvision.models.detection.anchor_utils import AnchorGenerator
        from torchvision.models.detection.backbone_utils import BackboneWithFPN

        layers = {"3": "0", "8": "1", "12": "2"}
        pyramid = BackboneWithFPN(mobilenet_v3_small(weights=None).features, layers, [24, 48, 576], 32)
        anchors = AnchorGenerator(((8,), (16,), (32,), (64,)), ((1.0,),) * 4)
        return make(detection, pyramid, anchors)

    return TorchEntry("detection", build, "boxes", detect)


def faster_rcnn(detection: Any, pyramid: nn.Module, anchors: nn.Module) -> nn.Module:
    return detection.FasterRCNN(pyramid, rpn_anchor_generator=anchors, **box_head(detection), **SMALL)


def mask_rcnn(detection: Any, pyramid: nn.Module, anchors: nn.Module) -> nn.Module:
    masks = {
        "mask_head": detection.mask_rcnn.MaskRCNNHeads(32, (16, 16), 1),
        "mask_predictor": detection.mask_rcnn.MaskRCNNPredictor(16, 16, CLASSES),
    }
    return detection.MaskRCNN(pyramid, rpn_anchor_generator=anchors, **box_head(detection), **masks, **SMALL)


def box_head(detection: Any) -> dict:
    module = detection.faster_rcnn
    return {"box_head": module.TwoMLPHead(32 * 49, 32), "box_predictor": module.FastRCNNPredictor(32, CLASSES)}


class CustomOps(nn.Module):
    """torchvision's ops one after the other: a deformable convolution, the four region poolings, nms."""

    def __init__(self) -> None:
        super().__init__()
        from torchvision import ops

        self.ops = ops
        self.offset = nn.Conv2d(8, 18, 3, padding=1)
        self.conv = ops.DeformConv2d(8, 16, 3, padding=1)
        self.head = nn.Linear(16 + 4 + 16 + 4, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rois = torch.tensor([[i, 1.0 + i, 2.0, 9.0 + i, 12.0] for i in range(4)])
        x = self.conv(x, self.offset(x))
        kept = self.ops.nms(rois[:, 1:], x.mean((1, 2, 3)), 0.99)
        pooled = [
            self.ops.roi_align(x, rois, 2), self.ops.ps_roi_align(x, rois, 2), self.ops.roi_pool(x, rois, 2),
            self.ops.ps_roi_pool(x, rois, 2),
        ]  # fmt: skip
        return self.head(torch.cat([p.mean((2, 3)) for p in pooled], 1)) + 0 * kept.sum()


class Sequence(nn.Module):
    """A torch.nn model of sequences, [B, S, 32] -> [B, S, 32], and a classifier of each position."""

    def __init__(self, make: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.body, self.head = make(), nn.Linear(32, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.body(x, x) if isinstance(self.body, nn.Transformer) else self.body(x)
        return self.head(out[0] if isinstance(out, tuple) else out)


def sequence(make: Callable[[], nn.Module]) -> TorchEntry:
    return TorchEntry("torch.nn", lambda: Sequence(make), "sequence", label_tokens)


RNN = {"num_layers": 2, "batch_first": True, "dropout": DROPOUT}
SMALL = {"min_size": 64, "max_size": 64}

MODELS = {
    "tv.resnet18": model("resnet18"),
    "tv.densenet": model("densenet.DenseNet", growth_rate=8, block_config=(2, 2), num_init_features=8, bn_size=2),
    "tv.mobilenet_v3_small": model("mobilenet_v3_small"),
    "tv.efficientnet_b0": model("efficientnet_b0"),
    "tv.shufflenet_v2_x0_5": model("shufflenet_v2_x0_5"),
    "tv.squeezenet1_1": model("squeezenet1_1"),
    "tv.mnasnet0_5": model("mnasnet0_5"),
    "tv.regnet_y_400mf": model("regnet_y_400mf"),
    "tv.googlenet": model("googlenet", init_weights=True),
    "tv.swin": model(
        "swin_transformer.SwinTransformer", patch_size=[4, 4], embed_dim=16, depths=[2, 1], num_heads=[2, 4],
        window_size=[4, 4], dropout=DROPOUT, attention_dropout=DROPOUT,
    ),
    "tv.vit": model(
        "vision_transformer.VisionTransformer", image_size=64, patch_size=16, num_layers=2, num_heads=4,
        hidden_dim=32, mlp_dim=48, dropout=DROPOUT, attention_dropout=DROPOUT,
    ),
    "tv.maxvit": model(
        "maxvit.MaxVit", input_size=(64, 64), stem_channels=8, partition_size=2, block_channels=[8, 16],
        block_layers=[1, 1], head_dim=4, stochastic_depth_prob=DROPOUT,
    ),
    "tv.deeplabv3_mobilenet": segmenter("deeplabv3_mobilenet_v3_large"),
    "tv.lraspp_mobilenet": segmenter("lraspp_mobilenet_v3_large"),
    "tv.faster_rcnn": detector(faster_rcnn),
    "tv.mask_rcnn": detector(mask_rcnn),
    "tv.retinanet": detector(lambda d, p, anchors: d.RetinaNet(p, CLASSES, anchor_generator=anchors, **SMALL)),
    "tv.fcos": detector(lambda d, p, anchors: d.FCOS(p, CLASSES, anchor_generator=anchors, **SMALL)),
    "tv.ssdlite": torchvision(
        "detection.ssdlite320_mobilenet_v3_large", "detection", detect, "boxes", weights=None, weights_backbone=None,
        num_classes=CLASSES,
    ),
    "tv.custom_ops": TorchEntry("custom ops", CustomOps, "rois", classify),
    "nn.Transformer": sequence(lambda: nn.Transformer(32, 4, 2, 2, 48, DROPOUT, batch_first=True)),
    "nn.TransformerEncoder": sequence(
        lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(32, 4, 48, DROPOUT, batch_first=True), 2)
    ),
    "nn.LSTM": sequence(lambda: nn.LSTM(32, 32, **RNN)),
    "nn.GRU": sequence(lambda: nn.GRU(32, 32, **RNN)),
    "nn.RNN": sequence(lambda: nn.RNN(32, 32, **RNN)),
}  # fmt: skip
