"""torchmetrics.metric: states, their update, their synchronization, by the names that torchmetrics has for them."""

import functools
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist


def distributed_available() -> bool:
    return dist.is_available() and dist.is_initialized()


def gather_all_tensors(result: torch.Tensor, group: Any = None) -> list[torch.Tensor]:
    gathered = [torch.zeros_like(result) for _ in range(dist.get_world_size(group))]
    dist.all_gather(gathered, result.contiguous(), group)
    return gathered


class Metric(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self._defaults: dict[str, Any] = {}
        self._reductions: dict[str, Callable] = {}
        self._update_count, self._computed = 0, None
        self.update, self.compute = self._wrap_update(self.update), self._wrap_compute(self.compute)

    def add_state(self, name: str, default: Any, dist_reduce_fx: Callable) -> None:
        setattr(self, name, [] if isinstance(default, list) else default.clone())
        self._defaults[name], self._reductions[name] = default, dist_reduce_fx

    def reset(self) -> None:
        for name, default in self._defaults.items():
            setattr(self, name, [] if isinstance(default, list) else default.clone())

    def _wrap_update(self, update: Callable) -> Callable:
        @functools.wraps(update)
        def wrapped(*args: Any, **kwargs: Any) -> None:
            self._computed = None
            self._update_count += 1
            update(*args, **kwargs)

        return wrapped

    def _wrap_compute(self, compute: Callable) -> Callable:
        @functools.wraps(compute)
        def wrapped() -> Any:
            own = {name: getattr(self, name) for name in self._defaults}
            self.sync()
            try:
                return compute()
            finally:
                for name, state in own.items():
                    setattr(self, name, state)

        return wrapped

    def sync(
        self,
        dist_sync_fn: Callable | None = None,
        process_group: Any = None,
        should_sync: bool = True,
        distributed_available: Callable = distributed_available,
    ) -> None:
        if should_sync and distributed_available():
            self._sync_dist(dist_sync_fn or gather_all_tensors, process_group)

    def _sync_dist(self, gather: Callable, group: Any) -> None:
        for name, reduce in self._reductions.items():
            state = getattr(self, name)
            if isinstance(state, list):
                setattr(self, name, gather(torch.cat(state), group))
            else:
                setattr(self, name, reduce(torch.stack(gather(state, group)), 0))
