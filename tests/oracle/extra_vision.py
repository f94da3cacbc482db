"""Samples of torchvision's own ops."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
import torchvision.ops as tv


def r(*sizes: int) -> torch.Tensor:
    return torch.randn(sizes).requires_grad_()


def boxes(n: int, images: int, size: float) -> torch.Tensor:
    """[n, 5]: the image, then two corners."""
    corners = torch.rand(n, 2, 2).sort(1).values * size
    return torch.cat([torch.randint(0, images, (n, 1)).float(), corners.reshape(n, 4)], 1)


def vision() -> Iterator[tuple[str, Callable[..., Any], tuple, dict]]:
    image, some = r(3, 6, 9, 8), boxes(5, 3, 8.0)
    yield "roi_align", tv.roi_align, (image, some, (2, 3)), {}
    yield "roi_align.sampled", tv.roi_align, (image, some, 2), {"sampling_ratio": 2, "aligned": True}
    yield "roi_pool", tv.roi_pool, (image, some, (2, 3)), {}
    yield "ps_roi_align", tv.ps_roi_align, (r(3, 12, 9, 8), some, 2), {}
    yield "ps_roi_pool", tv.ps_roi_pool, (r(3, 12, 9, 8), some, 2), {}
    scores = torch.rand(7)
    yield "nms", tv.nms, (boxes(7, 1, 8.0)[:, 1:], scores, 0.2), {}
    for name, groups in (("deform_conv2d", 1), ("deform_conv2d.groups", 2)):
        weight, offset, mask = r(4, 6 // groups, 3, 2), r(3, 2 * 6, 7, 7), torch.rand(3, 6, 7, 7).requires_grad_()
        yield name, tv.deform_conv2d, (image, offset, weight, r(4)), {}
        yield name + ".mask", tv.deform_conv2d, (image, offset, weight, None), {"mask": mask}
