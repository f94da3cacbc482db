"""The lines that random programs are made of: each function draws one for the tensors that there are, or ""."""

import random

from support.programs import Names, Step

VIEWS: list[Step] = []
OPS: list[Step] = []


def line(rng: random.Random, names: Names, expression: str) -> str:
    return f"v{len(names)} = {expression}"


def pick(rng: random.Random, names: Names) -> str:
    return rng.choice(list(names))


def dim(rng: random.Random, names: Names, x: str) -> int:
    return rng.randrange(max(1, names[x].dim()))


def dims(rng: random.Random, names: Names, x: str) -> tuple[int, ...]:
    n = names[x].dim()
    return tuple(rng.sample(range(n), rng.randint(min(1, n), n)))


def bounds(rng: random.Random, size: int) -> tuple[int, int]:
    start = rng.randint(0, size)
    return start, rng.randint(start, size)


def factored(rng: random.Random, names: Names, x: str) -> tuple[int, ...]:
    """Sizes with as many elements: dimensions merged, then split."""
    sizes = list(names[x].shape)
    for _ in range(rng.randrange(3)):
        if len(sizes) > 1:
            d = rng.randrange(len(sizes) - 1)
            sizes[d : d + 2] = [sizes[d] * sizes[d + 1]]
    for _ in range(rng.randrange(3)):
        if sizes:
            d = rng.randrange(len(sizes))
            inner = [k for k in range(1, sizes[d] + 1) if sizes[d] % k == 0]
            if inner:
                k = rng.choice(inner)
                sizes[d : d + 1] = [sizes[d] // k, k]
    return tuple(sizes)


def index(rng: random.Random, names: Names, x: str) -> str:
    """The inside of brackets: slices, integers, `None` and an ellipsis."""
    parts = []
    for size in names[x].shape:
        start, stop = bounds(rng, size)
        kinds = [":", f"{start}:{stop}", f"{start}::{rng.randint(1, 3)}", str(start - size if size else 0), "None, :"]
        parts.append(rng.choice(kinds))
    return ", ".join([*parts[: rng.randint(0, len(parts))], "..."])


def view(rng: random.Random, names: Names, x: str) -> str:
    """A view of `x`."""
    t = names[x]
    d, e = dim(rng, names, x), dim(rng, names, x)
    size = t.shape[d] if t.dim() else 0
    start, stop = bounds(rng, size)
    order = tuple(rng.sample(range(t.dim()), t.dim()))
    larger = tuple(rng.randint(1, 3) if n == 1 else n for n in t.shape)
    inner = rng.choice([k for k in range(1, size + 1) if size % k == 0] or [1])
    return x + rng.choice(
        [
            f".view({factored(rng, names, x)})",
            f".reshape({factored(rng, names, x)})",
            f".flatten({min(d, e)}, {max(d, e)})",
            f".unflatten({d}, ({inner}, -1))",
            f".permute({order})",
            f".transpose({d}, {e})",
            ".squeeze()",
            f".squeeze({d})",
            f".unsqueeze({d})",
            f".expand({larger})",
            f".expand({(2, *larger)})",
            f".select({d}, {start})",
            f".narrow({d}, {start}, {stop - start})",
            f".diagonal(0, {d}, {e})",
            f".unfold({d}, {max(1, stop - start)}, {rng.randint(1, 2)})",
            f".movedim({d}, {e})",
            f".chunk(2, {d})[{rng.randrange(2)}]",
            f".split({max(1, start)}, {d})[-1]",
            f"[{index(rng, names, x)}]",
        ]
    )


def step(kinds: list[Step]):
    def add(f: Step) -> Step:
        kinds.append(f)
        return f

    return add


@step(VIEWS)
@step(OPS)
def a_view(rng: random.Random, names: Names) -> str:
    return line(rng, names, view(rng, names, pick(rng, names)))


@step(VIEWS)
@step(OPS)
def a_copy(rng: random.Random, names: Names) -> str:
    return line(rng, names, f"{pick(rng, names)}{rng.choice(['.clone()', ' * 1.5', '.contiguous()'])}")


@step(VIEWS)
@step(OPS)
def a_write(rng: random.Random, names: Names) -> str:
    """A line that writes in place, to a tensor or a view of it."""
    x, y = pick(rng, names), pick(rng, names)
    target = rng.choice([x, view(rng, names, x)])
    return rng.choice(
        [f"{target}.mul_(1.25)", f"{target}.add_({y})", f"{target}.copy_({y})", f"{target}.zero_()"]
        + [f"{x}[{index(rng, names, x)}] = {rng.choice(['0.5', y])}"]
    )


@step(OPS)
def pointwise(rng: random.Random, names: Names) -> str:
    x, y = pick(rng, names), pick(rng, names)
    one = [f"{x}.{f}()" for f in ("tanh", "sigmoid", "sin", "relu", "neg", "abs", "square", "erf")]
    one += [f"F.gelu({x})", f"F.silu({x})", f"{x}.clamp(-1, 0.5)", f"2 - {x}", f"{x} / 3"]
    two = [f"{x} {op} {y}" for op in "+-*"] + [f"{x} / ({y}.abs() + 1)", f"torch.maximum({x}, {y})"]
    two += [f"torch.where({x} > {y}, {x}, {y} * 2)", f"torch.lerp({x}, {y}, 0.25)", f"{x}.masked_fill({y} > 0, -1)"]
    return line(rng, names, rng.choice(rng.choice([one, two])))


@step(OPS)
def reduction(rng: random.Random, names: Names) -> str:
    x, keep = pick(rng, names), rng.choice([True, False])
    ds, d = dims(rng, names, x), dim(rng, names, x)
    several = [f"{x}.{f}({ds}, keepdim={keep})" for f in ("sum", "mean", "amax", "amin", "logsumexp", "var")]
    one = [f"{x}.max({d}, keepdim={keep})[0]", f"{x}.cumsum({d})", f"{x}.prod({d})", f"{x}.sort({d})[0]"]
    everything = [f"{x}.sum()", f"{x}.mean()", f"{x}.max()", f"{x}.norm()", f"{x}.std()", f"{x}.argmax().double()"]
    one += [f"{x}.norm(2, {d})", f"{x}.argmin({d}).double()", f"{x}.topk(2, {d})[0]", f"{x}.flip({d})"]
    return line(rng, names, rng.choice(rng.choice([several, one, everything])))


@step(OPS)
def product(rng: random.Random, names: Names) -> str:
    x, y = pick(rng, names), pick(rng, names)
    two = [f"{x} @ {y}", f"{x} @ {y}.mT", f"{x}.mT @ {y}", f"F.linear({x}, {y})", f"{x}.t() @ {y}"]
    return line(rng, names, rng.choice([*two, f"torch.einsum('...i,...j->...ij', {x}, {y})"]))


@step(OPS)
def joined(rng: random.Random, names: Names) -> str:
    x, y = pick(rng, names), pick(rng, names)
    d = dim(rng, names, x)
    return line(
        rng,
        names,
        rng.choice(
            [
                f"torch.cat([{x}, {y}], {d})",
                f"torch.cat([{x}, {x}, {y}], {d})",
                f"torch.stack([{x}, {y}], {d})",
                f"{x}.roll(1, {d})",
                f"F.pad({x}, (1, 2))",
                f"{x}.repeat_interleave(2, {d})",
                f"torch.tril({x})",
            ]
        ),
    )


@step(OPS)
def indexed(rng: random.Random, names: Names) -> str:
    x, y = pick(rng, names), pick(rng, names)
    d = dim(rng, names, x)
    size = names[x].shape[d] if names[x].dim() else 1
    chosen = [rng.randrange(max(1, size)) for _ in range(rng.randint(1, 4))]
    return line(
        rng,
        names,
        rng.choice(
            [
                f"{x}[torch.tensor({chosen})]",
                f"{x}[..., torch.tensor({chosen})]",
                f"{x}.index_select({d}, torch.tensor({chosen}))",
                f"{x}.index_add({d}, torch.tensor({chosen}), {y})",
                f"{x}.gather({d}, {x}.argsort({d}))",
                f"{x}.scatter_add({d}, {x}.argsort({d}), {y})",
                f"{x}.take_along_dim({x}.argmax({d}, keepdim=True), {d})",
            ]
        ),
    )


@step(OPS)
def normalized(rng: random.Random, names: Names) -> str:
    x, d = pick(rng, names), dim(rng, names, pick(rng, names))
    last = tuple(names[x].shape[-1:])
    expressions = [
        f"{x}.softmax({d})",
        f"{x}.log_softmax({d})",
        f"F.layer_norm({x}, {last})",
        f"F.rms_norm({x}, {last})",
    ]
    return line(rng, names, rng.choice([*expressions, f"F.normalize({x}, dim={d})"]))


@step(OPS)
def cast(rng: random.Random, names: Names) -> str:
    """There and back: later lines stay in double precision. Whole numbers, which come about often, are moved away from
    where the last digit decides."""
    x = pick(rng, names)
    whole = f"({x} + 0.137).long().double()"
    return line(rng, names, rng.choice([f"{x}.float().double()", whole, f"({x} > 0).double()"]))
