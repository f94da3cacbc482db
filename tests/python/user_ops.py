"""Ops that a program defines itself, in each of Python's ways, after Weft was loaded."""

import torch
import weft  # noqa: F401  loaded first

LIBRARY = torch.library.Library("weft_user", "DEF")
ops = torch.ops.weft_user


def define(schema: str, run, meta=None) -> None:
    name = schema.split("(")[0]
    LIBRARY.define(schema)
    LIBRARY.impl(name, run, "CPU")
    if meta is not None:
        LIBRARY.impl(name, meta, "Meta")


def scale_in_place(x, by):
    return x.mul_(by)


@torch.library.custom_op("weft_user::product", mutates_args=())
def product(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return a @ b


@product.register_fake
def _(a, b):
    return a.new_empty(a.shape[0], b.shape[1])


def product_setup(ctx, inputs, output):
    ctx.save_for_backward(*inputs)


def product_backward(ctx, grad):
    a, b = ctx.saved_tensors
    return product(grad, b.t().contiguous()), product(a.t().contiguous(), grad)


product.register_autograd(product_backward, setup_context=product_setup)


@torch.library.custom_op("weft_user::add_to", mutates_args={"x"})
def add_to(x: torch.Tensor, y: torch.Tensor) -> None:
    x.add_(y)


@torch.library.custom_op("weft_user::cube", mutates_args=())
def cube(x: torch.Tensor) -> torch.Tensor:
    return x**3


@cube.register_fake
def _(x):
    return torch.empty_like(x)


cube.register_autograd(
    lambda ctx, g: 3 * ctx.saved_tensors[0] ** 2 * g,
    setup_context=lambda ctx, inputs, output: ctx.save_for_backward(*inputs),
)

define("scale(Tensor x, float by) -> Tensor", lambda x, by: x * by, lambda x, by: torch.empty_like(x))
define("scale.out(Tensor x, float by, *, Tensor(a!) out) -> Tensor(a!)", lambda x, by, out: out.copy_(x * by))
define("scale_(Tensor(a!) x, float by) -> Tensor(a!)", scale_in_place, lambda x, by: x)
define(
    "_foreach_scale(Tensor[] x, float by) -> Tensor[]",
    lambda x, by: [t * by for t in x],
    lambda x, by: [torch.empty_like(t) for t in x],
)
define("_foreach_scale_(Tensor(a!)[] x, float by) -> ()", lambda x, by: [t.mul_(by) for t in x] and None)
LIBRARY.define("mixed(Tensor x, Tensor y, float by) -> Tensor", tags=(torch.Tag.pointwise,))
LIBRARY.define("mixed_(Tensor(a!) x, Tensor y, float by) -> Tensor(a!)", tags=(torch.Tag.pointwise,))
LIBRARY.impl("mixed", lambda x, y, by: x + by * y, "CPU")
LIBRARY.impl("mixed", lambda x, y, by: torch.empty_like(x + y), "Meta")
LIBRARY.impl("mixed_", lambda x, y, by: x.add_(y, alpha=by), "CPU")
define("late(Tensor x) -> Tensor", lambda x: x + 1, lambda x: torch.empty_like(x))
define("late_(Tensor(a!) x) -> Tensor(a!)", lambda x: x.add_(1), lambda x: x)
define("square(Tensor x) -> Tensor", lambda x: x * x)  # no meta kernel
define("both(Tensor x, bool mean) -> Tensor", lambda x, mean: x.mean(0) if mean else x.sum(0), lambda x, mean: x[0])
define(
    "repeat_rows(Tensor x, int rows) -> Tensor",
    lambda x, rows: x.new_ones(rows, 1) * x,
    lambda x, rows: x.new_empty(rows, x.shape[-1]),
)
define("count(Tensor x) -> int", lambda x: x.numel())
define("part(Tensor(a) x) -> Tensor(a)", lambda x: x[:1])
LIBRARY.define("composite(Tensor x) -> Tensor")
LIBRARY.impl("composite", lambda x: x.sin() + 1, "CompositeImplicitAutograd")


def attend(x, y, is_causal):
    scores = x @ y.t()
    seen = torch.ones_like(scores).tril().bool() if is_causal else torch.ones_like(scores).bool()
    return scores.masked_fill(~seen, -1e9).softmax(-1) @ y


define("attend(Tensor x, Tensor y, bool is_causal) -> Tensor", attend, lambda x, y, is_causal: torch.empty_like(x))
