"""What only looks at a sharded tensor gets the whole value, or core's own error, as plain torch gives it."""

import copy
import io
import json
import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import weft
from support.cases import check, every_layout, meshes, on_worlds, run_cases, whole
from torch.utils import data, dlpack

X = torch.arange(30.0).view(5, 3, 2) - 7  # of five rows: uneven on two ranks and on three


def complex_of(x: torch.Tensor) -> torch.Tensor:
    return torch.complex(x, x + 1)


def saved(save: Callable, x: Any) -> bytes:
    file = io.BytesIO()
    save(file, x)
    return file.getvalue()


def assigned(to: Any, index: Any, value: Any) -> Any:
    to[index] = value
    return to


ARRAYS: dict[str, Callable[[torch.Tensor], Any]] = {
    "numpy": lambda x: x.numpy(),
    "of a view": lambda x: x[1:].transpose(0, 1).numpy(),
    "detached": lambda x: x.requires_grad_().detach().cpu().numpy(),
    "requires grad": lambda x: x.requires_grad_().numpy(),
    "requires grad, forced": lambda x: x.requires_grad_().numpy(force=True),
    "requires grad, no_grad": lambda x: torch.no_grad()(lambda: x.requires_grad_().numpy())(),
    "inference": lambda x: torch.inference_mode()(lambda: x.requires_grad_().numpy())(),
    "a result that requires grad": lambda x: (x.requires_grad_() * 2).numpy(),
    "conjugate": lambda x: complex_of(x).conj().numpy(),
    "conjugate, forced": lambda x: complex_of(x).conj().numpy(force=True),
    "negative": lambda x: complex_of(x).conj().imag.numpy(),
    "negative, forced": lambda x: complex_of(x).conj().imag.numpy(force=True),
    "bfloat16": lambda x: x.bfloat16().numpy(),
    "bool": lambda x: (x > 0).numpy(),
    "empty": lambda x: x[:0].numpy(),
    "wrong argument": lambda x: x.numpy(1, 2),
    "strides": lambda x: x.transpose(0, 2).numpy().strides,
    "asarray": lambda x: np.asarray(x),
    "asarray of a dtype": lambda x: np.asarray(x, dtype="float64"),
    "array": lambda x: np.array(x),
    "array of rows": lambda x: np.array([*x]),
    "array of numbers": lambda x: np.array([*x.flatten()]),
    "array of floats": lambda x: np.asarray([float(v) for v in x.flatten()], dtype="float32"),
    "written after a copy": lambda x: assigned(np.array(x), 0, 1.0),
    "into an array": lambda x: assigned(np.zeros((6, 3, 2)), slice(1, None), x),
    "as an index": lambda x: np.arange(40)[x.long() + 7],
    "ufunc": lambda x: np.sqrt(np.abs(x)),
    "ufunc of two": lambda x: np.add(x, x),
    "array + x": lambda x: np.ones((5, 3, 2), dtype=np.float32) + x,
    "x + array": lambda x: x + np.ones((5, 3, 2), dtype=np.float32),
    "sum": lambda x: np.sum(x),
    "argmax": lambda x: np.argmax(x),
    "where": lambda x: np.where(x > 0, 1, 0),
    "unique": lambda x: np.unique(x.abs()),
    "concatenate": lambda x: np.concatenate([x, x]),
    "float32": lambda x: np.float32(x.sum()),
    "assert_allclose": lambda x: np.testing.assert_allclose(x, X.numpy()),
    "save": lambda x: saved(np.save, x),
    "tobytes": lambda x: x.numpy().tobytes(),
    "from_numpy": lambda x: torch.from_numpy(x.detach().cpu().numpy().copy()),
    "frombuffer": lambda x: torch.frombuffer(x.numpy(), dtype=torch.float32),
}
LISTS: dict[str, Callable[[torch.Tensor], Any]] = {
    "tolist": lambda x: x.tolist(),
    "of a number": lambda x: x.sum().tolist(),
    "of a view": lambda x: x[1:, ::2].tolist(),
    "empty": lambda x: x[:0].tolist(),
    "requires grad": lambda x: x.requires_grad_().tolist(),
    "conjugate": lambda x: complex_of(x).conj().tolist(),
    "bfloat16": lambda x: x.bfloat16().tolist(),
    "bool": lambda x: (x > 0).tolist(),
    "json": lambda x: json.dumps({"x": x.tolist()}),
    "split by it": lambda x: torch.arange(9).split((x[0, 0, :].abs() - 2).long().tolist()),
    "iterated": lambda x: [row.tolist() for row in x],
    "argmax": lambda x: x.flatten(1).argmax(-1).tolist(),
}
CAPSULES: dict[str, Callable[[torch.Tensor], Any]] = {
    "from_dlpack": torch.from_dlpack,
    "a copy": lambda x: torch.from_dlpack(x, copy=True),
    "to a device": lambda x: torch.from_dlpack(x, device="cpu"),
    "numpy": lambda x: np.from_dlpack(x),
    "to_dlpack": lambda x: torch.from_dlpack(dlpack.to_dlpack(x)),
    "old protocol": lambda x: torch.from_dlpack(x.__dlpack__()),
    "device": lambda x: x.__dlpack_device__(),
    "requires grad": lambda x: torch.from_dlpack(x.requires_grad_()),
    "conjugate": lambda x: torch.from_dlpack(complex_of(x).conj()),
    "bool": lambda x: torch.from_dlpack(x > 0),
    "of a view": lambda x: torch.from_dlpack(x.transpose(0, 2)[1:]),
}
NUMBERS: dict[str, Callable[[torch.Tensor], Any]] = {
    "bool": lambda x: bool(x[1, 0, 0] > 0),
    "int": lambda x: int(x[1, 0, 0]),
    "float": lambda x: float(x[1, 0, 0]),
    "complex": lambda x: complex(x[1, 0, 0]),
    "index": lambda x: [*range(9)][x[4, 0, 0].int() - 15],
    "range": lambda x: [*range(x[3, 0, 0].int())],
    "sizes": lambda x: torch.zeros(x[4, 0, 0].int(), 2),
    "format": lambda x: f"{x.sum():.3f} {x[1, 0, 0].long():d}",
    "percent": lambda x: f"{float(x.sum()):5.1f}" + " %.2f" % x.sum(),  # noqa: UP031
    "math": lambda x: (math.floor(x[0, 1, 1] / 3), math.isfinite(x.sum()), round(x[0, 1, 1].double() / 3, 2)),
    "item": lambda x: [v.item() for v in x.flatten()],
    "sum()": lambda x: sum(x),
    "sorted()": lambda x: [v.item() for v in sorted(x.flatten(), reverse=True)],
    "in": lambda x: (3.0 in x, 99.0 in x),
    "tensor": lambda x: torch.tensor(x).detach(),
    "tensor of numbers": lambda x: torch.tensor([x[0, 0, 0], x[4, 2, 1], 2.0]),
    "tensor of rows": lambda x: torch.tensor([[*row] for row in x[0]]),
    "as_tensor": lambda x: torch.as_tensor([*x[0, :, 0]]),
    "legacy": lambda x: torch.FloatTensor([x.sum(), 1.0]),
    "new": lambda x: (x.new([1.0, 2.0]), x.double().new(2, 3).shape, x.long().new([3]).dtype),
    "new_tensor": lambda x: (x.new_tensor([1, 2]), x.double().new_tensor(1).dtype, x.new_tensor(x)),
    "collate": lambda x: data.default_collate([{"x": x, "n": 1.0}] * 2)["x"],
    "loader": lambda x: [b for (b,) in data.DataLoader(data.TensorDataset(x), batch_size=2)],
}
WRITERS: dict[str, Callable[[torch.Tensor], Any]] = {
    "apply_": lambda x: x.apply_(lambda v: v * v),
    "apply_ on a view": lambda x: (x[1:3].apply_(lambda v: v + 1), x),
    "apply_ on a leaf": lambda x: x.requires_grad_().apply_(lambda v: v),
    "map_": lambda x: x.map_(x.flip(0), lambda v, w: v - 2 * w),
    "map_, plain operand": lambda x: x.map_(X.flip(1), lambda v, w: v - 2 * w),
    "map_ on a plain one": lambda x: X.clone().map_(x.flip(1), lambda v, w: v - 2 * w),
    "map2_": lambda x: x.map2_(x.flip(0), X, lambda v, w, u: v - 2 * w + u),
}
FAMILIES = {"array": ARRAYS, "list": LISTS, "capsule": CAPSULES, "number": NUMBERS, "writer": WRITERS}


def plain_form(v: Any) -> Any:
    """What can be compared: values, with dtypes, shapes and kinds."""
    if isinstance(v, torch.Tensor):
        return "tensor", str(v.dtype), tuple(v.shape), whole(v).tolist()
    if isinstance(v, np.ndarray):
        return "array", str(v.dtype), v.shape, v.tolist()
    return [plain_form(e) for e in v] if isinstance(v, (list, tuple)) else v


def outcome(read: Callable[[torch.Tensor], Any], x: torch.Tensor) -> str:
    try:
        return repr(plain_form(read(x)))
    except Exception as e:
        return f"{type(e).__name__}: {e}"


def as_plain(mesh: weft.DeviceMesh, read: Callable[[torch.Tensor], Any]) -> None:
    want = outcome(read, X.clone())
    for layout in every_layout(mesh, 3):
        got = outcome(read, weft.distribute_tensor(X, layout))
        assert got == want, f"{layout}: {got}, not {want}"


def shares_nothing(mesh: weft.DeviceMesh) -> None:
    """A snapshot, whatever the layout; an array says that writing to it is of no use."""
    for layout in every_layout(mesh, 3):
        x = weft.distribute_tensor(X, layout)
        array, capsule = x.numpy(), torch.from_dlpack(x)
        assert not array.flags.writeable and np.array(x).flags.writeable
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1
        capsule.zero_()
        assert np.array_equal(x.numpy(), X.numpy()), layout
        x.zero_()
        assert np.array_equal(array, X.numpy()), layout
        with pytest.raises(BufferError, match=r"copy=False.*weft\.local_tensor"):
            torch.from_dlpack(x, copy=False)


def plain_ones_as_ever(mesh: weft.DeviceMesh) -> None:
    plain = X.clone()
    plain.numpy()[0] = 5
    torch.from_dlpack(plain)[1] = 6
    assert plain[0, 0, 0] == 5 and plain[1, 0, 0] == 6
    assert torch.from_dlpack(plain, copy=False).data_ptr() == plain.data_ptr()


def refuses_what_shares_memory(mesh: weft.DeviceMesh) -> None:
    x = weft.distribute_tensor(X, ("a", None, None), mesh)
    for call in (x.data_ptr, x.untyped_storage, x.storage, x.share_memory_, lambda: copy.copy(x)):
        with pytest.raises(NotImplementedError, match=r"weft\.full_tensor.*weft\.local_tensor"):
            call()


OTHERS = (shares_nothing, plain_ones_as_ever, refuses_what_shares_memory)
CASES: dict[str, Callable[[weft.DeviceMesh], None]] = {
    f"{family}: {name}": lambda mesh, read=read: as_plain(mesh, read)
    for family, readers in FAMILIES.items()
    for name, read in readers.items()
} | {case.__name__: case for case in OTHERS}


def run(world: int) -> dict[str, str]:
    warnings.filterwarnings("ignore", category=UserWarning)  # core's, of tensors made of tensors
    mesh = meshes(world)[0]
    return run_cases({name: lambda case=case: case(mesh) for name, case in CASES.items()})


results = on_worlds(run, 2, 3)


@pytest.mark.parametrize("name", CASES)
def test_reads(results, name):
    check(results, name)
