"""The parallel styles of transformers' plans: which dimension of a parameter each of them splits.

What else a style does there (hooks that gather, reduce or cut activations) has no counterpart: the planner moves what
an op needs moved, so a style that names no split leaves its parameters whole.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

Split = Callable[[torch.nn.Module, str, int], int | None]  # of (owner, leaf name, dimensions): the one that is split


def _columns(owner: torch.nn.Module, leaf: str, ndim: int) -> int | None:
    """A linear layer's outputs, [..., outputs, inputs] and its bias."""
    return max(ndim - 2, 0)


def _rows(owner: torch.nn.Module, leaf: str, ndim: int) -> int | None:
    """A linear layer's inputs: its bias has none. Of a table of embeddings the words."""
    if isinstance(owner, torch.nn.Embedding):
        return 0
    return None if leaf == "bias" else ndim - 1


def _packed_rows(owner: torch.nn.Module, leaf: str, ndim: int) -> int | None:
    return None if ndim == 1 else ndim - 1


def _first(owner: torch.nn.Module, leaf: str, ndim: int) -> int | None:
    return 0


def _second(owner: torch.nn.Module, leaf: str, ndim: int) -> int | None:
    return 1 if ndim > 1 else None


def _replicated(owner: torch.nn.Module, leaf: str, ndim: int) -> int | None:
    return None


_NAMES: dict[Split, str] = {
    _columns: "colwise colwise_rep colwise_gather_output local_colwise packed_colwise local_packed_colwise",
    _rows: "rowwise rowwise_rep rowwise_split_input local_rowwise",
    _packed_rows: "packed_rowwise local_packed_rowwise",
    _first: "embedding_rowwise grouped_gemm",
    _second: "embedding_colwise",
    _replicated: (
        "replicate replicated_with_grad_allreduce sequence_parallel all_reduce mla_kv_a_proj local_params local "
        "isolated gather moe_tp_experts moe_identity_expert ep_dispatch_experts ep_router"
    ),
}
# Styles by name: those of the transformers that is installed, and of earlier releases back to 4.50.
STYLES: dict[str, Split] = {name: split for split, names in _NAMES.items() for name in names.split()}
