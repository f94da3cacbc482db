"""Losses and reductions over split, uneven and empty dimensions."""

import sys
from pathlib import Path

import torch
import torch.nn.functional as F

sys.path.insert(0, str(Path(__file__).parent))

from everywhere import cases_in, everywhere  # noqa: E402
from support.cases import cases_on_worlds  # noqa: E402

torch.manual_seed(3)
EVEN, UNEVEN = torch.randn(6, 4), torch.randn(7, 5)
LOSSES = {
    "mse": F.mse_loss,
    "smooth_l1": F.smooth_l1_loss,
    "huber": F.huber_loss,
    "l1": F.l1_loss,
    "bce": lambda x, y, **k: F.binary_cross_entropy(x.sigmoid(), y.sigmoid().detach(), **k),
    "bce_with_logits": lambda x, y, **k: F.binary_cross_entropy_with_logits(x, y.sigmoid(), **k),
    "soft_margin": lambda x, y, **k: F.soft_margin_loss(x, y.sign().detach(), **k),
    "kl_div": lambda x, y, **k: F.kl_div(x, y.softmax(-1), **k),
    "poisson_nll": lambda x, y, **k: F.poisson_nll_loss(x, y.abs(), **k),
    "gaussian_nll": lambda x, y, **k: F.gaussian_nll_loss(x, y, y.detach().exp(), **k),
    "hinge_embedding": lambda x, y, **k: F.hinge_embedding_loss(x, y.sign().detach(), **k),
    "margin_ranking": lambda x, y, **k: F.margin_ranking_loss(x, y, y.sign().detach(), **k),
    "multilabel_soft_margin": lambda x, y, **k: F.multilabel_soft_margin_loss(x, y.sigmoid().detach(), **k),
    "cosine_embedding": lambda x, y, **k: F.cosine_embedding_loss(x, y, torch.ones(x.shape[0]), **k),
    "triplet": lambda x, y, **k: F.triplet_margin_loss(x, y, x * 0.5, **k),
}


def trap01_mean_loss_gradient_even(mesh):
    for loss in LOSSES.values():
        everywhere(mesh, loss, EVEN, EVEN.flip(0), pending=False)


def trap02_mean_loss_uneven(mesh):
    for loss in LOSSES.values():
        everywhere(mesh, loss, UNEVEN, UNEVEN.flip(0), pending=False)


def trap03_mean_var_std_uneven(mesh):
    for f in (torch.mean, torch.var, torch.std, torch.var_mean, torch.std_mean):
        everywhere(mesh, f, UNEVEN)
        for dim in (0, 1, (0, 1)):
            everywhere(mesh, lambda x, f=f, dim=dim: f(x, dim=dim), UNEVEN)


def trap04_class_weighted_nll(mesh):
    target = torch.tensor([0, 4, 1, -100, 2, 2, 3])
    weight = torch.linspace(0.5, 2, 5)
    for reduction in ("mean", "sum", "none"):
        everywhere(mesh, lambda x, w, r=reduction: F.cross_entropy(x, target, w.detach(), reduction=r), UNEVEN, weight)
        everywhere(mesh, lambda x, r=reduction: F.nll_loss(x.log_softmax(1), target, weight, reduction=r), UNEVEN)
        everywhere(mesh, lambda x, t, r=reduction: F.cross_entropy(x, t, reduction=r), UNEVEN, target, pending=False)


def trap05_amax_gradient_of_ties(mesh):
    ties = torch.tensor(
        [[1.0, 3, 3, 0], [3, 1, 3, 0], [3, 3, 0, 0], [2, 2, 2, 0], [3, 0, 1, 0], [0, 3, 3, 0], [1, 1, 1, 0]]
    )
    for f in (torch.amax, torch.amin):
        for dim in ((0,), (1,), (0, 1)):
            everywhere(mesh, lambda x, f=f, dim=dim: f(x, dim), ties)
    for f in (torch.max, torch.min):
        everywhere(mesh, f, ties)


def trap06_indices_of_extremes(mesh):
    ties = (UNEVEN * 2).round()
    for dim in (0, 1):
        for f in (torch.max, torch.min, torch.median, torch.mode, torch.cummax):
            everywhere(mesh, lambda x, f=f, dim=dim: f(x, dim), UNEVEN)
        for f in (torch.argmax, torch.argmin):
            everywhere(mesh, lambda x, f=f, dim=dim: f(x, dim), ties)
    everywhere(mesh, torch.argmax, ties)


def trap07_empty_shards(mesh):
    x = torch.randn(mesh.shape[0] - 1, 4)
    for f in (
        torch.max,
        lambda t: torch.max(t, 0),
        lambda t: torch.amax(t, 0),
        torch.argmin,
        lambda t: torch.argmax(t, 0),
        lambda t: t.norm(float("inf")),
        lambda t: torch.linalg.vector_norm(t, float("inf"), 0),
        torch.prod,
        lambda t: t.prod(0),
        lambda t: t.logsumexp(0),
        lambda t: t.softmax(0),
        lambda t: t.mean(0),
        torch.any,
        lambda t: t.sort(0),
        lambda t: F.mse_loss(t, t * 2),
    ):
        everywhere(mesh, f, x)


def trap08_over_the_split_dimension(mesh):
    for dim in (0, 1):
        for f in (
            lambda x, d: x.topk(3, d),
            lambda x, d: x.sort(d),
            lambda x, d: x.sort(d, descending=True),
            lambda x, d: x.cumsum(d),
            lambda x, d: x.cumprod(d),
            lambda x, d: x.softmax(d),
            lambda x, d: x.log_softmax(d),
            lambda x, d: x.logsumexp(d),
            lambda x, d: x.kthvalue(2, d),
            lambda x, d: x.logcumsumexp(d),
            lambda x, d: x.flip(d),
            lambda x, d: x.roll(2, d),
            lambda x, d: x.diff(dim=d),
        ):
            everywhere(mesh, lambda x, f=f, dim=dim: f(x, dim), UNEVEN)


def complaint21_masked_reductions(mesh):
    mask = UNEVEN > 0
    for f in (
        lambda x, m: x.masked_fill(m, 0).sum(),
        lambda x, m: x.masked_fill(m, float("-inf")).softmax(1).nan_to_num(),
        lambda x, m: x[m],
        lambda x, m: x.masked_select(m).sum(),
        lambda x, m: torch.where(m, x, 0).mean(0),
        lambda x, m: (x * m).sum() / m.sum(),
    ):
        everywhere(mesh, f, UNEVEN, mask)


def trap32_losses_over_split_features(mesh):
    y = torch.tensor([1.0, -1, 1, -1, 1, 1, -1])
    other = UNEVEN.roll(1, 0)  # no row is near its own: distances of 0 have no steady gradient
    everywhere(mesh, lambda a, b: F.cosine_embedding_loss(a, b, y, margin=0.2), UNEVEN, other)
    everywhere(mesh, lambda a, b: F.cosine_similarity(a, b, dim=1), UNEVEN, other)
    everywhere(mesh, lambda a, b: F.pairwise_distance(a, b), UNEVEN, other)
    everywhere(mesh, lambda x: F.adaptive_avg_pool2d(x, (2, 3)), torch.randn(3, 7, 6))
    everywhere(mesh, lambda x: F.normalize(x, dim=1), UNEVEN)


CASES = cases_in(globals())

results, test_trap = cases_on_worlds(globals(), 2, 3, timeout=280)
