"""Lays out a scripted module with nothing of Weft but its library, computes with it, and saves the plain one.

    torchrun --nproc-per-node 2 examples/torchscript.py --library torch_ops/weft/lib/libweft.so --out /tmp/scripted.pt

The file is what examples/cpp/serve.cpp serves, without any Python.
"""

import argparse

import torch
from torch import nn


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(8, 32), nn.Linear(32, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.softmax(self.down(torch.relu(self.up(x))), -1)


def whole(x: torch.Tensor) -> torch.Tensor:
    """Scripted below, once the library is loaded: all of torch.ops.weft and torch.classes.weft may be used."""
    return torch.ops.weft.full_tensor(x) if torch.ops.weft.is_sharded(x) else x


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--library", default="torch_ops/weft/lib/libweft.so")
    parser.add_argument("--out", default="scripted.pt")
    args = parser.parse_args()

    torch.ops.load_library(args.library)
    torch.ops.weft.initialize()
    torch.manual_seed(0)
    module = torch.jit.script(Net())
    if torch.ops.weft.rank() == 0:
        module.save(args.out)

    x = torch.randn(3, 8)
    plain = module(x)
    mesh = torch.classes.weft.DeviceMesh([torch.ops.weft.world_size()], ["model"])
    layouts = torch.classes.weft.LayoutMap(mesh)
    layouts.insert("up/weight", ("model", None))
    layouts.insert("up/bias", ("model",))
    layouts.insert("down/weight", (None, "model"))
    torch.ops.weft.distribute_module(module, layouts)
    y = module(x)
    difference = (torch.jit.script(whole)(y) - plain).abs().max().item()
    if torch.ops.weft.rank() == 0:
        print(f"{torch.ops.weft.layout_of(module.up.weight).describe()}, largest difference {difference:.1e}")
    torch.ops.weft.finish_last_work([])  # last, in programs that load the library alone


if __name__ == "__main__":
    main()
