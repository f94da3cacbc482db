"""torch.export of sharded tensors is refused with what to do, whether or not torch.compile records them."""

from collections.abc import Iterator

import pytest
import torch
import weft
from support.versions import COMPILED_GRAPHS
from torch import nn

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(params=[False, pytest.param(True, marks=pytest.mark.skipif(not COMPILED_GRAPHS, reason="torch 2.15"))])
def graphs(request: pytest.FixtureRequest) -> Iterator[None]:
    before = weft.compile_graphs(request.param)
    yield
    weft.compile_graphs(before)


@pytest.fixture
def mesh() -> weft.DeviceMesh:
    return weft.DeviceMesh((1,), ("a",), device_type="cpu")


def net() -> nn.Module:
    return nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.Linear(8, 3))


@pytest.mark.parametrize("strict", [True, False])
def test_a_distributed_model_is_not_exported(graphs, mesh, strict):
    model = weft.distribute_module(net(), {"0/weight": ("a", None)}, mesh=mesh)
    with pytest.raises(NotImplementedError, match=r"\[W067\].*0\.weight is one.*before it is distributed"):
        torch.export.export(model, (torch.randn(6, 5),), strict=strict)
    with pytest.raises(NotImplementedError, match=r"\[W067\].*0\.weight is one"):
        torch.export.draft_export(model, (torch.randn(6, 5),))


@pytest.mark.parametrize("strict", [True, False])
def test_nor_is_one_for_sharded_inputs(graphs, mesh, strict):
    x = weft.distribute_tensor(torch.randn(6, 5), ("a", None), mesh)
    with pytest.raises(NotImplementedError, match=r"\[W067\].*the input \[0\] is one"):
        torch.export.export(net(), (x,), strict=strict)
    with pytest.raises(NotImplementedError, match=r"\[W067\].*the input \['input'\] is one"):
        torch.export.export(net(), (), {"input": x}, strict=strict)


class Closed(nn.Module):
    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__()
        self.weights = (weight,)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ self.weights[0]


def test_nor_one_that_uses_sharded_tensors_of_its_own(graphs, mesh):
    model = Closed(weft.distribute_tensor(torch.randn(5, 8), (None, "a"), mesh))
    hooks = dict(nn.modules.module._global_buffer_registration_hooks)
    with pytest.raises(Exception, match="weft"):
        torch.export.export(model, (torch.randn(6, 5),))
    assert nn.modules.module._global_buffer_registration_hooks == hooks


def test_plain_models_are_exported(graphs, tmp_path):
    model, x = net().eval(), torch.randn(6, 5)
    program = torch.export.export(model, (x,))
    torch.export.save(program, tmp_path / "program.pt2")
    torch.testing.assert_close(torch.export.load(tmp_path / "program.pt2").module()(x), model(x))
