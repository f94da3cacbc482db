"""A plugin of pytest for tools/foreign_tests: tells what becomes of each test and, on ranks, makes tensors sharded."""

import contextlib
import json
import os
import sys
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.testing import _comparison
from torch.testing._internal import common_utils

OUT_OF_STEP = 77  # the exit code of ranks that cannot go on
FACTORIES = {
    getattr(torch, name)
    for name in (
        "arange as_tensor empty empty_like eye from_numpy full full_like linspace logspace ones ones_like rand "
        "rand_like randint randn randn_like randperm scalar_tensor tensor zeros zeros_like"
    ).split()
}
told = Path(os.environ["WEFT_FOREIGN_OUT"])
chosen = os.environ.get("WEFT_FOREIGN_TESTS")  # a file with their names; else all
ranks = int(os.environ.get("WORLD_SIZE", "1"))
first = os.environ.get("RANK", "0") == "0"


def tell(**what: Any) -> None:
    if first:
        with told.open("a") as file:
            file.write(json.dumps(what) + "\n")


class Sharding(TorchFunctionMode):
    """What factories make for a test is sharded, by a layout that is drawn: the same on all ranks and in every run."""

    def __init__(self) -> None:
        super().__init__()
        import weft

        self.weft, self.test, self.made = weft, "", 0
        weft.initialize(timeout=40)
        weft.random_mode("replay")
        self.mesh = weft.DeviceMesh((ranks,), ("x",), device_type="cpu")
        close = _comparison.not_close_error_metas

        def compare(actual: Any, expected: Any, **options: Any) -> Any:
            return close(self.whole(actual), self.whole(expected), **options)

        _comparison.not_close_error_metas = common_utils.not_close_error_metas = compare

    def begin(self, test: str) -> None:
        self.test, self.made = test, 0

    def whole(self, value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return self.weft.full_tensor(value.detach()) if self.weft.is_sharded(value) else value
        if type(value) in (list, tuple):
            return type(value)(self.whole(v) for v in value)
        return {k: self.whole(v) for k, v in value.items()} if type(value) is dict else value

    def sharded(self, x: torch.Tensor) -> torch.Tensor:
        if type(x) is not torch.Tensor or self.weft.is_sharded(x) or x.layout != torch.strided or x.is_quantized:
            return x
        if x.device.type != "cpu" or torch._C._functorch.is_functorch_wrapped_tensor(x):
            return x
        self.made += 1
        lot = zlib.crc32(f"{os.environ['WEFT_FOREIGN_SEED']} {self.test} {self.made}".encode())
        dims = [None, *(d for d in range(x.dim()) if x.shape[d] > 1)]
        split = dims[lot % len(dims)]
        layout = self.weft.TensorLayout(["x" if d == split else None for d in range(x.dim())], self.mesh)
        with torch._C.DisableTorchFunction(), torch.no_grad():
            out = self.weft.distribute_tensor(x.detach(), layout)
        return out.requires_grad_() if x.requires_grad else out

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func not in FACTORIES or "out" in (kwargs or {}) or torch.jit.is_tracing():
            return out
        if sys._getframe(1).f_globals.get("__name__", "").partition(".")[0] == "weft":  # its own messages
            return out
        if func in (torch.empty, torch.empty_like):
            with torch.no_grad():
                out.detach().zero_()  # the same on all ranks
        return self.sharded(out)


sharding = Sharding() if ranks > 1 else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if chosen is not None:
        names = set(Path(chosen).read_text().split("\n"))
        items[:] = [item for item in items if item.nodeid in names]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    tell(begins=item.nodeid)
    with contextlib.ExitStack() as stack:
        if sharding is not None:
            sharding.begin(item.nodeid)
            stack.enter_context(sharding)
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo) -> Iterator[None]:
    report = yield
    if call.when == "call" or not report.passed:
        error = "" if call.excinfo is None else f"{call.excinfo.typename}: {call.excinfo.value}"
        tell(test=item.nodeid, outcome=report.outcome, error=error[:2000])
        if (
            sharding is not None
            and report.failed
            and any(code in str(report.longrepr) for code in ("[W091]", "[W095]"))
        ):
            time.sleep(0.3)
            os._exit(OUT_OF_STEP)
    return report
