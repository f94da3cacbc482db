"""new_zeros and its like: laid out as the tensor they are called on where they are as long, whatever else they are."""

import torch
import weft
from support.cases import cases_on_worlds

SHAPES = {  # of new tensors, from one of 5 x 4 x 6 whose first dimension is split
    (5, 4, 6): ("x", None, None),
    (5, 9, 6): ("x", None, None),
    (5,): ("x",),
    (5, 2, 3, 4): ("x", None, None, None),
    (4, 5, 6): (None, None, None),
    (4,): (None,),
    (): (),
    (5, 0): ("x", None),
}


def makes(shape: tuple[int, ...], layout: tuple[str | None, ...]) -> None:
    mesh = weft.DeviceMesh((weft.world_size(),), ("x",), device_type="cpu")
    sharded = weft.distribute_tensor(torch.randn(5, 4, 6), ("x", None, None), mesh)
    with weft.trace() as trace:
        made = {
            0.0: sharded.new_zeros(shape),
            1.0: sharded.new_ones(shape, dtype=torch.int32),
            2.0: sharded.new_full(shape, 2),
            3.0: sharded.new_empty(shape).fill_(3),
        }
        reverse = torch.empty(tuple(reversed(shape))).permute(tuple(reversed(range(len(shape)))))
        made[4.0] = sharded.new_empty_strided(shape, reverse.stride()).fill_(4)
    assert not trace.rows, trace
    assert made[4.0].stride() == reverse.stride()
    for value, got in made.items():
        assert weft.layout_of(got) == weft.TensorLayout(layout, mesh), weft.layout_of(got)
        assert got.shape == shape
        torch.testing.assert_close(weft.full_tensor(got), torch.full(shape, value), check_dtype=value != 1.0)


def takes_a_batch() -> None:
    """What is written into the new tensor need not be gathered, as it was where that was whole."""
    mesh = weft.DeviceMesh((weft.world_size(),), ("x",), device_type="cpu")
    x = torch.randn(5, 4)
    sharded = weft.distribute_tensor(x, ("x", None), mesh)
    with weft.trace() as trace:
        padded = sharded.new_zeros(5, 7)
        padded[:, 2:6] = sharded
    assert not trace.rows, trace
    torch.testing.assert_close(weft.full_tensor(padded), torch.nn.functional.pad(x, (2, 1)))


CASES = {
    **{f"{shape}": lambda shape=shape, layout=layout: makes(shape, layout) for shape, layout in SHAPES.items()},
    "takes a batch": takes_a_batch,
}

results, test_new_tensors = cases_on_worlds(globals(), 2, 3, mesh=None)
