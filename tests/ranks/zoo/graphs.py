"""Graph networks of torch_geometric: messages gathered along the edges and scattered to the nodes, and pooled."""

import importlib
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from .table import DROPOUT, TorchEntry
from .vision import CLASSES


class Graphs(nn.Module):
    """A network of nodes, its mean and greatest over each graph, and a classifier of the graphs."""

    def __init__(self, body: nn.Module, keys: tuple[str, ...], width: int) -> None:
        super().__init__()
        self.body, self.keys, self.head = body, keys, nn.Linear(2 * width, CLASSES)
        self.pools = importlib.import_module("torch_geometric.nn")

    def forward(self, batch: dict) -> torch.Tensor:
        out = self.body(*(batch[k] for k in ("x", "edge_index")), **{k: batch[k] for k in self.keys})
        of = batch["batch"]
        return self.head(torch.cat([self.pools.global_mean_pool(out, of), self.pools.global_max_pool(out, of)], 1))


class Layers(nn.Module):
    """Two layers of one kind."""

    def __init__(self, make: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleList([make(), make()])

    def forward(self, x: torch.Tensor, edge_index: torch.Tensor, **more: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = F.dropout(F.elu(layer(x, edge_index, **more)), DROPOUT, self.training)
        return x


def loss(model: nn.Module, batch: dict) -> torch.Tensor:
    return F.cross_entropy(model(batch), batch["labels"])


def entry(make: Callable[[Any], nn.Module], keys: tuple[str, ...] = (), width: int = 32) -> TorchEntry:
    """`make` is given torch_geometric.nn; `keys`: what of the batch its forward takes besides nodes and edges."""

    def build() -> nn.Module:
        return Graphs(make(importlib.import_module("torch_geometric.nn")), keys, width)

    return TorchEntry("graphs", build, "graphs", loss, library="torch_geometric")


def model(cls: str, **keywords: Any) -> TorchEntry:
    """One of torch_geometric's ready models."""
    return entry(lambda nn: getattr(nn, cls)(32, 32, 2, 32, dropout=DROPOUT, **keywords))


def layers(cls: str, *args: Any, keys: tuple[str, ...] = (), **keywords: Any) -> TorchEntry:
    return entry(lambda nn: Layers(lambda: getattr(nn, cls)(32, *args, **keywords)), keys)


def perceptron() -> nn.Module:
    return nn.Sequential(nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 32))


class Pooled(nn.Module):
    """A convolution, the best half of each graph's nodes, another, and an attention over all that are left."""

    def __init__(self, geometric: Any) -> None:
        super().__init__()
        self.first, self.second = geometric.GraphConv(32, 32), geometric.GraphConv(32, 32)
        self.pool = geometric.TopKPooling(32, 0.5)
        self.gather = geometric.AttentionalAggregation(nn.Linear(32, 1))
        self.head = nn.Linear(32, CLASSES)

    def forward(self, batch: dict) -> torch.Tensor:
        x = F.relu(self.first(batch["x"], batch["edge_index"]))
        x, edges, _, of, *_ = self.pool(x, batch["edge_index"], batch=batch["batch"])
        return self.head(self.gather(F.relu(self.second(x, edges)), of))


MODELS = {
    "pyg.gcn": model("GCN"),
    "pyg.graphsage": model("GraphSAGE", norm="batch_norm"),
    "pyg.gin": model("GIN", norm="layer_norm"),
    "pyg.gat": model("GAT", heads=4),
    "pyg.gatv2": model("GAT", heads=4, v2=True, jk="lstm"),
    "pyg.pna": model(
        "PNA", aggregators=["mean", "min", "max", "std"], scalers=["identity", "amplification"],
        deg=torch.tensor([0, 4, 8, 8, 4]),
    ),
    "pyg.edge_cnn": model("EdgeCNN", jk="max"),
    "pyg.transformer": layers("TransformerConv", 8, heads=4, edge_dim=6, keys=("edge_attr",)),
    "pyg.relational": layers("RGCNConv", 32, 3, num_bases=2, keys=("edge_type",)),
    "pyg.gated": entry(lambda nn: Layers(lambda: nn.GatedGraphConv(32, 2))),
    "pyg.crystal": layers("CGConv", 6, batch_norm=True, keys=("edge_attr",)),
    "pyg.gps": entry(
        lambda nn: Layers(lambda: nn.GPSConv(32, nn.GINConv(perceptron()), heads=4, dropout=DROPOUT)), ("batch",)
    ),
    "pyg.topk": TorchEntry(
        "graphs", lambda: Pooled(importlib.import_module("torch_geometric.nn")), "graphs", loss,
        library="torch_geometric",
    ),
}  # fmt: skip
