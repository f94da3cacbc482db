"""One rank of a job that may lose a rank: restarts.py FOLDER [kill]. Steps are saved; a start goes on from there."""

import os
import signal
import sys
from pathlib import Path

import torch
import weft

STEPS, KILLED_AT = 6, 3
folder, kill = Path(sys.argv[1]), "kill" in sys.argv[2:]
weft.initialize()
torch.manual_seed(0)
mesh = weft.DeviceMesh((weft.world_size(),), ("a",), device_type="cpu")
model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 4))
saved = folder / "model.pt"
begin, state = torch.load(saved) if saved.exists() else (0, model.state_dict())
model.load_state_dict(state)
weft.distribute_module(model, {"0/weight": ("a", None), "2/weight": (None, "a")}, mesh=mesh)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for step in range(begin, STEPS):
    x = torch.randn(4, 8, generator=torch.Generator().manual_seed(step))
    loss = model(weft.shard_batch(x, mesh, "a")).square().mean()
    if kill and step == KILLED_AT and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0" and weft.rank() == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    value, state = loss.item(), {name: weft.full_tensor(t) for name, t in model.state_dict().items()}
    if weft.rank() == 0:
        torch.save((step + 1, state), saved.with_suffix(".new"))
        saved.with_suffix(".new").rename(saved)
        with open(folder / "losses", "a") as losses:
            losses.write(f"{step} {value:.6f}\n")
