"""Shapes that differ between the ranks."""

import torch
import weft
from faults.part import Part
from faults.row import DIFFERENT, row
from torch import nn


@row(*DIFFERENT, r"f32\[2, 4\]", r"f32\[2, 2\]")
def gather_of_other_shapes(p: Part) -> None:
    """another slice on one rank, then a gather."""
    plain, sharded = p.rows()
    stop = p.pick(4, 2)
    p.check_full(sharded[:, :stop], plain[:, :stop])


@row(*DIFFERENT, r"f32\[4, 4\]", r"f32\[4, 2\]", ranks=4)
def gather_of_other_shapes_on_four(p: Part) -> None:
    """another slice on one rank, then a gather, four ranks."""
    gather_of_other_shapes(p)


@row(*DIFFERENT, r"f32\[256\]", r"f32\[128\]")
def sum_of_other_shapes(p: Part) -> None:
    """another slice on one rank of a pending sum."""
    plain, sharded = p.pending(width=256)
    stop = p.pick(256, 128)
    p.check_full(sharded[:stop], plain[:stop])


@row(*DIFFERENT, r"f32\[524288\]", r"f32\[262144\]")
def large_sum_of_other_shapes(p: Part) -> None:
    """an all_reduce of 2 MiB against one of 1 MiB."""
    plain, sharded = p.pending(width=2**19)
    stop = p.pick(2**19, 2**18)
    p.check_full(sharded[:stop], plain[:stop])


@row(*DIFFERENT, r"f32\[524288\]", r"f32\[262144\]", ranks=4)
def large_sum_of_other_shapes_on_four(p: Part) -> None:
    """an all_reduce of 2 MiB against one of 1 MiB, four ranks."""
    large_sum_of_other_shapes(p)


@row(*DIFFERENT)
def reduced_dimension_differs(p: Part) -> None:
    """a sum over another dimension, of as many elements."""
    plain, sharded = p.rows(width=p.ranks)
    dim = p.pick(0, 1)
    p.check_full(sharded.sum(dim), plain.sum(dim))


@row(*DIFFERENT)
def depth_differs(p: Part) -> None:
    """a model whose depth depends on data, deeper on one rank."""
    layer = nn.Linear(8, 8)
    plain = torch.randn(4, 8)
    weft.distribute_module(layer, {"weight": (None, "a")}, mesh=p.mesh)
    with torch.no_grad():
        weight, bias = (weft.full_tensor(t) for t in (layer.weight, layer.bias))
        x, want = p.lay(plain, (None, None)), plain
        for _ in range(p.pick(2, 4)):
            x, want = torch.tanh(layer(x)), torch.tanh(want @ weight.t() + bias)
    p.check_full(x, want)
    p.go_on()


@row(r"rank 1\b", "distribute_tensor")
def plain_shape_differs_at_layout(p: Part) -> None:
    """a plain tensor of another shape is laid out."""
    p.lay(torch.ones(4, p.pick(4, 5)), ("a", None))
