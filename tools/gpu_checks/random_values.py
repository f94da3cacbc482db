"""Random values on 2 and 4 ranks of one card: the same whatever the layout; plain torch's own in replay mode."""

import torch
import torch.distributed as dist
import torch.nn.functional as F
import weft
from common import device_option, require, row, timing

SHAPE = (6, 10)
DRAWS = {
    "randn_like": torch.randn_like,
    "rand_like": torch.rand_like,
    "dropout": lambda t: F.dropout(t, 0.5),
    "normal_": lambda t: t.clone().normal_(1.0, 2.0),
    "bernoulli": lambda t: torch.bernoulli(torch.full_like(t, 0.3)),
    "randint_like": lambda t: torch.randint_like(t, 100),
    "exponential_": lambda t: t.clone().exponential_(),
}
LAYOUTS = {2: ((None, None), ("a", None), (None, "a")), 4: ((None, None), ("a", "b"), ("b", None), (None, ("a", "b")))}


def rank(device: str) -> list[str]:
    """Names of the draws that are as they must be."""
    size = dist.get_world_size()
    mesh = weft.DeviceMesh((2,) * (size // 2), ("a", "b")[: size // 2], device_type=device)
    full = torch.ones(SHAPE, device=device)
    for name, draw in DRAWS.items():
        for mode in ("counter", "replay"):
            weft.random_mode(mode)
            torch.manual_seed(3)
            # Replay mode's reference is plain torch; counter mode's the replicated tensor.
            want = draw(full) if mode == "replay" else None
            for axes in LAYOUTS[size]:
                torch.manual_seed(3)
                got = weft.full_tensor(draw(weft.distribute_tensor(full, axes, mesh)))
                want = got if want is None else want
                require(torch.equal(got, want), f"{name} in {mode} mode differs in layout {axes}")
    return list(DRAWS)


def main(device: str) -> None:
    for ranks in LAYOUTS:
        row(f"random values, {ranks} ranks", ", ".join(timing.gloo_ranks(ranks, rank, device)))


if __name__ == "__main__":
    main(device_option(__doc__))
