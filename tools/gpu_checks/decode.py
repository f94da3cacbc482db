"""A decode step of a Llama-like model on a group of one rank: eager, and as a CUDA graph, beside plain torch's.

Greedy decoding with a cache of keys and values, in bfloat16. Sharded and plain must choose the same tokens. Times are
CUDA events' around many steps, all candidates in turn; a graph is captured in weft's frozen mode. Without a GPU there
are no graphs, and times are the host's.
"""

import statistics
import time
from collections.abc import Callable

import torch
import torch.distributed as dist
import torch.nn.functional as F
import weft
from common import device_option, figures, require, row, timing
from torch import nn

WIDTH, HEADS, LAYERS, VOCABULARY, LENGTH = 1024, 16, 8, 4096, 256
LAYOUTS = {
    r".*(q|k|v|gate|up)/weight": ("model", None),
    r".*(o|down)/weight": (None, "model"),
    r".*(keys|values)": (None, "model", None, None),
    r"(embed|head)/weight": ("model", None),
}
Step = Callable[[], torch.Tensor]


def rotated(x: torch.Tensor, angles: torch.Tensor) -> torch.Tensor:
    """Rotary position embedding (Su et al. 2021); x: [batch, heads, 1, size], angles: [1, size / 2]."""
    one, two = x.chunk(2, -1)
    return torch.cat((one * angles.cos() - two * angles.sin(), two * angles.cos() + one * angles.sin()), -1)


class Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.before, self.between = nn.RMSNorm(WIDTH), nn.RMSNorm(WIDTH)
        self.q, self.k, self.v, self.o = (nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(4))
        self.gate, self.up = (nn.Linear(WIDTH, 3 * WIDTH, bias=False) for _ in range(2))
        self.down = nn.Linear(3 * WIDTH, WIDTH, bias=False)
        for name in ("keys", "values"):
            self.register_buffer(name, torch.zeros(1, HEADS, LENGTH, WIDTH // HEADS))

    def forward(self, x: torch.Tensor, place: torch.Tensor, angles: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
        h = self.before(x)
        q, k, v = (f(h).view(1, 1, HEADS, -1).transpose(1, 2) for f in (self.q, self.k, self.v))
        self.keys.index_copy_(2, place, rotated(k, angles))
        self.values.index_copy_(2, place, v)
        mixed = F.scaled_dot_product_attention(rotated(q, angles), self.keys, self.values, attn_mask=seen)
        x = x + self.o(mixed.transpose(1, 2).reshape(1, 1, WIDTH))
        h = self.between(x)
        return x + self.down(F.silu(self.gate(h)) * self.up(h))


class Decoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(VOCABULARY, WIDTH)
        self.layers = nn.ModuleList(Layer() for _ in range(LAYERS))
        self.norm, self.head = nn.RMSNorm(WIDTH), nn.Linear(WIDTH, VOCABULARY, bias=False)

    def forward(self, token: torch.Tensor, place: torch.Tensor) -> torch.Tensor:
        half = WIDTH // HEADS // 2
        rates = 10000 ** (-torch.arange(half, device=place.device) / half)
        angles = (place[:, None] * rates).to(self.norm.weight.dtype)
        seen = (torch.arange(LENGTH, device=place.device) <= place)[None, None, None]
        x = self.embed(token)
        for layer in self.layers:
            x = layer(x, place, angles, seen)
        return self.head(self.norm(x))


class Decoding:
    """A model and what its step reads and writes in place: the last token and its place."""

    def __init__(self, device: str, mesh: weft.DeviceMesh | None) -> None:
        torch.manual_seed(0)
        self.model = Decoder().to(device, torch.bfloat16).requires_grad_(False)
        if mesh is not None:
            weft.distribute_module(self.model, LAYOUTS, mesh=mesh)
        self.token = torch.zeros(1, 1, dtype=torch.long, device=device)
        self.place = torch.zeros(1, dtype=torch.long, device=device)

    def begin(self) -> None:
        self.token.zero_()
        self.place.zero_()

    @torch.no_grad()
    def step(self) -> torch.Tensor:
        chosen = self.model(self.token, self.place).argmax(-1)
        self.token.copy_(weft.full_tensor(chosen) if weft.is_sharded(chosen) else chosen)
        self.place.add_(1).remainder_(LENGTH)
        return self.token

    def tokens(self, step: Step, number: int) -> list[int]:
        self.begin()
        return [int(step()) for _ in range(number)]


def graph_of(decoding: Decoding) -> tuple[torch.cuda.CUDAGraph, Step]:
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            decoding.step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with weft.frozen(), torch.cuda.graph(graph):
        decoding.step()

    def replay() -> torch.Tensor:
        graph.replay()
        return decoding.token

    return graph, replay


def microseconds(step: Step, number: int, device: str) -> float:
    """Of one step: the card's time by events, or the host's where there is none."""
    if device == "cpu":
        begin = time.perf_counter()
        for _ in range(number):
            step()
        return (time.perf_counter() - begin) / number * 1e6
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    start.record()
    for _ in range(number):
        step()
    end.record()
    torch.cuda.synchronize()
    return start.elapsed_time(end) / number * 1e3


def show(name: str, weft_us: list[float], plain_us: list[float]) -> None:
    ratio, low, high = figures.interval([a / b for a, b in zip(weft_us, plain_us, strict=True)])
    row(
        f"decode step, {name}",
        f"{statistics.median(weft_us):.0f} us, plain torch {statistics.median(plain_us):.0f} us: "
        f"{ratio:.3f} ({low:.3f} - {high:.3f})",
    )


def main(device: str) -> None:
    timing.one_rank(device)
    mesh = weft.DeviceMesh((1,), ("model",), device_type=device)
    ours, plain = Decoding(device, mesh), Decoding(device, None)
    candidates: dict[str, Step] = {"weft": ours.step, "plain": plain.step}
    graphs = []
    want = plain.tokens(plain.step, 24)
    require(len(set(want)) > 4, f"the model repeats itself, which shows nothing: {want}")
    require(ours.tokens(ours.step, 24) == want, "other tokens than the plain model's")

    def frozen() -> torch.Tensor:
        with weft.frozen():
            return ours.step()

    require(ours.tokens(frozen, 24) == want, "other tokens in frozen mode")
    if device == "cuda":
        for name, decoding in (("weft", ours), ("plain", plain)):
            graph, candidates[f"{name}, graph"] = graph_of(decoding)
            graphs.append(graph)
            require(decoding.tokens(candidates[f"{name}, graph"], 24) == want, f"other tokens in the graph of {name}")
    number = 50 if device == "cuda" else 3
    turns = {who: lambda step=step: microseconds(step, number, device) for who, step in candidates.items()}
    found = timing.in_turns(turns, 20 if device == "cuda" else 5)
    show("eager", found["weft"], found["plain"])
    if graphs:
        show("as a CUDA graph (goal 1.02)", found["weft, graph"], found["plain, graph"])
    graphs.clear()
    candidates.clear()  # the graphs' replays: graphs go before the group
    dist.destroy_process_group()


if __name__ == "__main__":
    main(device_option(__doc__))
