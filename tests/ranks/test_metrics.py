"""torchmetrics: a metric of sharded tensors has one process's value on every rank; one of plain tensors is summed up
over the ranks as ever."""

import importlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
import weft
from support.cases import cases_on_worlds, every_layout, same

Batches = list[tuple[torch.Tensor, ...]]


def drawn(make: Callable[[torch.Generator], tuple[torch.Tensor, ...]], batches: int = 3) -> Batches:
    generator = torch.Generator().manual_seed(0)
    return [make(generator) for _ in range(batches)]


def classes(g: torch.Generator) -> tuple[torch.Tensor, ...]:
    return torch.randn(11, 5, generator=g).softmax(-1), torch.randint(0, 5, (11,), generator=g)


def binary(g: torch.Generator) -> tuple[torch.Tensor, ...]:
    return torch.rand(11, generator=g), torch.randint(0, 2, (11,), generator=g)


def labels(g: torch.Generator) -> tuple[torch.Tensor, ...]:
    return torch.rand(11, 5, generator=g), torch.randint(0, 2, (11, 5), generator=g)


def numbers(g: torch.Generator) -> tuple[torch.Tensor, ...]:
    return torch.randn(11, generator=g), torch.randn(11, generator=g)


def values(g: torch.Generator) -> tuple[torch.Tensor, ...]:
    return (torch.randn(11, generator=g),)


def images(g: torch.Generator) -> tuple[torch.Tensor, ...]:
    return torch.rand(2, 3, 16, 16, generator=g), torch.rand(2, 3, 16, 16, generator=g)


def queries(g: torch.Generator) -> tuple[torch.Tensor, ...]:
    return *binary(g), torch.arange(11) // 4


def tokens(g: torch.Generator) -> tuple[torch.Tensor, ...]:
    return torch.randn(3, 4, 5, generator=g), torch.randint(0, 5, (3, 4), generator=g)


FIVE = {"num_classes": 5}
METRICS: dict[str, tuple[Callable, dict[str, Any]]] = {
    "classification.MulticlassAccuracy": (classes, FIVE),
    "classification.MulticlassF1Score": (classes, FIVE),
    "classification.MulticlassStatScores": (classes, FIVE),
    "classification.MulticlassConfusionMatrix": (classes, FIVE),
    "classification.MulticlassCohenKappa": (classes, FIVE),
    "classification.MulticlassMatthewsCorrCoef": (classes, FIVE),
    "classification.MulticlassJaccardIndex": (classes, FIVE),
    "classification.MulticlassAUROC": (classes, FIVE),
    "classification.MulticlassAveragePrecision": (classes, FIVE | {"thresholds": 7}),
    "classification.MulticlassCalibrationError": (classes, FIVE),
    "classification.MulticlassHingeLoss": (classes, FIVE),
    "classification.BinaryAccuracy": (binary, {}),
    "classification.BinaryAUROC": (binary, {}),
    "classification.BinaryPrecisionRecallCurve": (binary, {}),
    "classification.MultilabelF1Score": (labels, {"num_labels": 5}),
    "classification.MultilabelRankingLoss": (labels, {"num_labels": 5}),
    "regression.MeanSquaredError": (numbers, {}),
    "regression.MeanAbsoluteError": (numbers, {}),
    "regression.R2Score": (numbers, {}),
    "regression.PearsonCorrCoef": (numbers, {}),
    "regression.SpearmanCorrCoef": (numbers, {}),
    "regression.ExplainedVariance": (numbers, {}),
    "regression.MinkowskiDistance": (numbers, {"p": 3}),
    "regression.KendallRankCorrCoef": (numbers, {}),
    "aggregation.SumMetric": (values, {}),
    "aggregation.MeanMetric": (values, {}),
    "aggregation.MaxMetric": (values, {}),
    "aggregation.CatMetric": (values, {}),
    "retrieval.RetrievalMAP": (queries, {}),
    "image.PeakSignalNoiseRatio": (images, {"data_range": 1.0}),
    "text.Perplexity": (tokens, {}),
}


def made(name: str, options: dict[str, Any]) -> Any:
    module, cls = name.split(".")
    return getattr(importlib.import_module(f"torchmetrics.{module}"), cls)(**options)


def collection() -> Any:
    """Metrics that share their states, of which one alone is updated."""
    names = ("Accuracy", "F1Score", "ConfusionMatrix", "CohenKappa", "JaccardIndex")
    torchmetrics = importlib.import_module("torchmetrics")
    return torchmetrics.MetricCollection([made(f"classification.Multiclass{name}", FIVE) for name in names])


def of_one_process(metric: torch.nn.Module) -> torch.nn.Module:
    for m in metric.modules():
        if hasattr(m, "_to_sync"):
            m._to_sync = m.sync_on_compute = False
    return metric


def leaves(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, dict):
        value = [value[key] for key in sorted(value)]
    if isinstance(value, (list, tuple)):
        for v in value:
            yield from leaves(v)
    else:
        yield torch.as_tensor(value)


def played(metric: Any, batches: Batches, lay: Callable[[int, torch.Tensor], torch.Tensor]) -> list[torch.Tensor]:
    """What a program sees of it: each batch's value and that of all batches, and again after a reset."""
    out = []
    for batch in batches:
        out += leaves(metric(*(lay(i, x) for i, x in enumerate(batch))))
    out += leaves(metric.compute())
    metric.reset()
    for batch in batches[:2]:
        metric.update(*(lay(i, x) for i, x in enumerate(batch)))
    return out + list(leaves(metric.compute()))


def as_one_process(mesh: weft.DeviceMesh, make: Callable[[], Any], batches: Batches) -> None:
    want = played(of_one_process(make()), batches, lambda i, x: x)

    def rows(x: torch.Tensor) -> torch.Tensor:
        return weft.distribute_tensor(x, ("a",) + (None,) * (x.dim() - 1), mesh)

    def replicated(x: torch.Tensor) -> torch.Tensor:
        return weft.distribute_tensor(x, (None,) * x.dim(), mesh)

    for name, lay in {
        "all sharded": lambda i, x: rows(x),
        "predictions sharded": lambda i, x: rows(x) if i == 0 else x,
        "replicated": lambda i, x: replicated(x),
    }.items():
        got = played(make(), batches, lay)
        assert len(got) == len(want)
        for g, w in zip(got, want, strict=True):
            same(g, w, name)


def of_plain_tensors(mesh: weft.DeviceMesh) -> None:
    """Each rank's own: added up over the ranks, after a run with sharded ones too."""
    metric = made("aggregation.SumMetric", {})
    metric.update(weft.distribute_tensor(torch.ones(7), ("a",), mesh))
    assert metric.compute().item() == 7
    metric.reset()
    metric.update(torch.full((2,), float(weft.rank() + 1)))
    assert metric.compute().item() == mesh.size * (mesh.size + 1)


def of_a_model(mesh: weft.DeviceMesh) -> None:
    """Outputs in every layout that a model may give."""
    (p, t), *_ = drawn(classes)
    want = of_one_process(made("classification.MulticlassConfusionMatrix", FIVE))
    want.update(p, t)
    for layout in every_layout(mesh, 2):
        metric = made("classification.MulticlassConfusionMatrix", FIVE)
        metric.update(weft.distribute_tensor(p, layout), t)
        same(metric.compute(), want.compute(), str(layout), exact=True)
        assert metric.confmat.tolist() == want.confmat.tolist()


CASES: dict[str, Callable[[weft.DeviceMesh], None]] = {
    name: lambda mesh, name=name, make=make, options=options: as_one_process(
        mesh, lambda: made(name, options), drawn(make)
    )
    for name, (make, options) in METRICS.items()
} | {
    "collection": lambda mesh: as_one_process(mesh, collection, drawn(classes)),
    "of_plain_tensors": of_plain_tensors,
    "of_a_model": of_a_model,
}

results, test_metric = cases_on_worlds(globals(), 2, 3)
