"""Rules of a program's own ops, and its ops that have none."""

import functools
import sys
from pathlib import Path

import pytest
import torch
import weft

sys.path.insert(0, str(Path(__file__).parent))

from support.cases import check, meshes, on_worlds, run_cases, same  # noqa: E402
from support.versions import COMPILED_GRAPHS  # noqa: E402
from user_ops import add_to, cube, ops, product  # noqa: E402

X = torch.linspace(-2, 2, 42).view(7, 6)
W = torch.linspace(-1, 1, 24).view(6, 4)


def moved(call):
    with weft.trace() as rows:
        result = call()
    return [r.kind for r in rows.rows], result


@functools.cache
def register():
    """Once for each process: rules stay."""
    weft.register_rule("weft_user::product", "m k, k n -> m n;  sum k;  linear 0|1")
    weft.register_rule("weft_user::scale", "... -> ...;  linear 0")
    weft.register_rule(add_to, "..., ... -> ...")
    weft.register_rule(ops.both.default, "b ... -> ...;  sum b;  unless mean")
    weft.register_rule("weft_user::repeat_rows.default", "1 n -> r n;  size r @rows")
    for when in ("whole q;  when is_causal", "unless is_causal"):
        weft.register_rule("weft_user::attend", f"q d, k d -> q d;  whole k;  whole d;  {when}")


def runs_on_shards(mesh):
    for a_axes, b_axes, kinds in (((None, "a"), ("a", None), []), (("a", None), (None, None), [])):
        a = weft.distribute_tensor(X, a_axes, mesh).requires_grad_()
        b = weft.distribute_tensor(W, b_axes, mesh).requires_grad_()
        x, w = X.clone().requires_grad_(), W.clone().requires_grad_()
        got, y = moved(lambda a=a, b=b: product(a, b))
        assert got == kinds, got
        same(y, X @ W)
        y.square().sum().backward()
        (x @ w).square().sum().backward()
        same(a.grad, x.grad)
        same(b.grad, w.grad)


def pending_sums_stay(mesh):
    pending = weft.from_local(X, weft.TensorLayout((None, None), mesh, {"a": "sum"}))
    whole = X * mesh.shape[0]
    kinds, y = moved(lambda: product(pending, W))
    assert kinds == [] and weft.layout_of(y).partial == {"a": "sum"}
    same(y, whole @ W)
    kinds, y = moved(lambda: ops.scale(pending, 3.0))
    assert kinds == []
    same(y, whole * 3)


def variants(mesh):
    x = weft.distribute_tensor(X, ("a", None), mesh)
    out = weft.distribute_tensor(torch.zeros(7, 6), ("a", None), mesh)
    many = [weft.distribute_tensor(X.clone(), axes, mesh) for axes in (("a", None), (None, "a"), (None, None))]

    def calls():
        y = ops.scale_(x, 2.0)
        assert y is x
        assert ops.scale.out(x, 2.0, out=out) is out
        fresh = ops._foreach_scale(many, 2.0)
        ops._foreach_scale_(many, 3.0)
        return fresh

    kinds, fresh = moved(calls)
    assert kinds == [], kinds
    same(x, 2 * X)
    same(out, 4 * X)
    for old, new in zip(many, fresh, strict=True):
        same(new, 2 * X)
        same(old, 3 * X)
        assert weft.layout_of(new) == weft.layout_of(old)


def returning_nothing(mesh):
    x = weft.distribute_tensor(X.clone(), ("a", None), mesh)
    y = weft.distribute_tensor(X, ("a", None), mesh)
    version = x._version
    kinds, _ = moved(lambda: add_to(x, y))
    assert kinds == [] and x._version > version
    same(x, 2 * X)
    other = weft.distribute_tensor(X, (None, "a"), mesh)
    add_to(x, other)  # brought to x's layout, or x to it and back
    same(x, 3 * X)
    assert weft.layout_of(x).axes == ("a", None)


def arguments_in_rules(mesh):
    x = weft.distribute_tensor(X, ("a", None), mesh)
    kinds, y = moved(lambda: ops.both(x, False))
    assert kinds == []
    same(y, X.sum(0))
    kinds, y = moved(lambda: ops.both(x, True))  # not covered: gathered
    assert kinds == ["all_gather"] or mesh.shape[0] == 1
    same(y, X.mean(0))
    row = weft.distribute_tensor(X[:1], (None, "a"), mesh)
    kinds, y = moved(lambda: ops.repeat_rows(row, 5))
    assert kinds == []
    same(y, X[:1].expand(5, 6))


def masked_by_place(mesh):
    """Two rules tell what one with `causal`, which only Weft's own have, would not do."""
    x = weft.distribute_tensor(X, ("a", None), mesh)
    for causal in (False, True):
        kinds, y = moved(lambda causal=causal: ops.attend(x, X, causal))
        assert (kinds == []) is not causal, kinds
        same(y, ops.attend(X, X, causal))


def after_a_plan(mesh):
    """A rule counts from when it is told, for the op and what derives from it."""
    x = weft.distribute_tensor(X.clone(), ("a", None), mesh)
    for call in (lambda: ops.late(x), lambda: ops.late_(x)):
        assert "all_gather" in moved(call)[0]
    weft.register_rule("weft_user::late", "... -> ...")
    for call in (lambda: ops.late(x), lambda: ops.late_(x)):
        kinds, _ = moved(call)
        assert kinds == []
    same(ops.late(x), X + 3)
    with pytest.raises(ValueError, match="has a rule already"):
        weft.register_rule("weft_user::late", "a b -> a b")


def without_a_rule(mesh):
    """Gathered, right, and differentiable."""
    x = weft.distribute_tensor(X, ("a", None), mesh).requires_grad_()
    plain = X.clone().requires_grad_()
    y = cube(x)
    same(y, X**3)
    y.square().sum().backward()
    cube(plain).square().sum().backward()
    same(x.grad, plain.grad)
    assert weft.layout_of(x.grad) == weft.layout_of(x)
    same(ops.square(x.detach()), X * X)
    same(ops.composite(x.detach()), X.sin() + 1)
    assert ops.count(x.detach()) == 42


def tagged_pointwise(mesh):
    """An op that its program tagged as pointwise needs no rule."""
    a, b = weft.distribute_tensor(X, ("a", None), mesh), weft.distribute_tensor(X[:1] * 2, (None, None), mesh)
    kinds, y = moved(lambda: ops.mixed(a, b, 3.0))
    assert kinds == [] and weft.layout_of(y) == weft.layout_of(a)
    same(y, X + 3 * X[:1] * 2)
    kinds, _ = moved(lambda: ops.mixed_(a, b, 2.0))
    assert kinds == []
    same(a, X + 2 * X[:1] * 2)


def of_compilers(mesh):
    """What torch.compile records of optimizers, which exists once that is imported; on one rank first."""
    if weft.rank() == 0:
        import torch._inductor.inductor_prims
    weft.DeviceMesh(mesh.shape, [f"{name}_" for name in mesh.axis_names])  # ranks compare what rules there are
    import torch._inductor.inductor_prims  # noqa: F401, F811

    a, b = weft.distribute_tensor(X, ("a", None), mesh), weft.distribute_tensor(X * 2, ("a", None), mesh)
    kinds, y = moved(lambda: torch.ops.prims.fma(a, b, a))
    assert kinds == [] and weft.layout_of(y) == weft.layout_of(a)
    same(y, torch.ops.prims.fma(X, X * 2, X))


CASES = (
    runs_on_shards,
    pending_sums_stay,
    variants,
    returning_nothing,
    arguments_in_rules,
    masked_by_place,
    after_a_plan,
    without_a_rule,
    tagged_pointwise,
    *((of_compilers,) if COMPILED_GRAPHS else ()),  # torch before that has no prims.fma
)


def every_case(world):
    register()
    mesh = meshes(world)[0]
    return run_cases({f.__name__: functools.partial(f, mesh) for f in CASES})


results = on_worlds(every_case, 2, 3)


@pytest.mark.parametrize("name", [f.__name__ for f in CASES])
def test_own_op(results, name):
    check(results, name)


@pytest.mark.parametrize(
    ("op", "text", "words"),
    [
        ("product", "m k, k n", "expected '->' at column 9"),
        ("product", "m k, k n -> m n", "factor k is in no result.*at column 3"),
        ("product", "m k, k n -> m n; fold k", "unknown attribute 'fold'.*at column 18"),
        ("product", "m k -> m; sum k", "1 operand, but the op has 2 tensor arguments .a, b.*at column 1"),
        ("product", "m k, k n, n -> m n; sum k", "3 operands.*at column 11"),
        ("product", "m k, k n -> m n, m; sum k", "2 results, but the op returns 1 tensor at column 18"),
        ("product", "m k, k n -> m q; sum k; whole n", "factor q is in no operand.*at column 13"),
        ("product", "m m, m n -> m n", "factor m stands for two dimensions.*at column 1"),
        ("product", "m k, *k n -> m n; sum k", "b is one tensor, not a list.*at column 6"),
        ("product", "m k, k n -> m n; sum k; linear 2", "no operand 2.*at column 25"),
        ("product", "m k, k n -> m n; whole k via softmax", "only Weft's own rules"),
        ("product", "m k, k n -> m n; masked k 0 zero", "only Weft's own rules have masked factors, at column 18"),
        ("product", "m k, k n -> m n; sum k; halo m average", "only Weft's own rules have halo factors, at column 25"),
        ("product", "m k, k n -> m n; sum k; causal m", "only Weft's own rules have causal factors.*at column 25"),
        ("attend", "q d, k d -> q d; whole k; whole d; causal q", "only Weft's own.*whole f;  when is_causal"),
        ("both", "b n -> n; sum b; unless nope", "no argument 'nope'.*mean.*at column 18"),
        ("both", "b ... -> ...-@mean; sum b", "'mean' is a bool, not int"),
        ("_foreach_scale", "... -> ...", "x is a list, write"),
        ("count", "... -> ...", "returns something that is no tensor"),
        ("part", "... -> ...", "returns a view"),
        ("composite", "... -> ...", "made of other ops"),
        ("scale.out", "..., ... -> ...", "out= variant"),
        ("missing", "... -> ...", "no op weft_user::missing is registered"),
        ("scale.Tensor", "... -> ...", "there are weft_user::scale, weft_user::scale.out"),
    ],
)
def test_refused(op, text, words):
    for register_rule in (weft.register_rule, torch.ops.weft.register_rule):
        with pytest.raises(ValueError, match=words) as error:
            register_rule(f"weft_user::{op}", text)
        assert f"weft_user::{op}" in str(error.value)
        assert text in str(error.value) or "rule" not in str(error.value).split(";")[0]


@torch.jit.script
def tell(op: str, text: str):
    torch.ops.weft.register_rule(op, text)


def test_from_torchscript():
    with torch.library._scoped_library("weft_scripted", "DEF") as lib:
        lib.define("op(Tensor x) -> Tensor")
        lib.impl("op", lambda x: x + 1, "CPU")
        tell("weft_scripted::op", "... -> ...")
        assert "weft_scripted::op: ... -> ..." in torch.ops.weft.rules()
        with pytest.raises(Exception, match="has a rule already"):
            tell("weft_scripted::op", "... -> ...")


def checked(*args, **kwargs):
    return str(weft.check_rule(*args, **kwargs))


def test_a_right_rule_is_found_right():
    report = weft.check_rule("weft_user::product", "m k, k n -> m n;  sum k;  linear 0|1", (X, W))
    assert report and report.checks >= 9, str(report)
    for op, args in (
        ("addmm", (torch.randn(4), X, W)),
        ("sum.dim_IntList", (X, [1])),
        ("bmm", (torch.randn(5, 4, 7), torch.randn(5, 7, 6))),
        ("max.dim", (torch.randn(5, 8), 0)),
    ):
        assert weft.check_rule(op, None, args), checked(op, None, args)
    assert weft.check_rule("weft_user::repeat_rows", "1 n -> r n; size r @rows", (X[:1], 5))
    assert weft.check_rule(add_to, "..., ... -> ...", (X, X))
    assert weft.check_rule(cube, "... -> ...", (X,))


@pytest.mark.parametrize(
    ("op", "text", "args", "words"),
    [
        (product, "m k, k n -> m n; max k", (X, W), ("splitting k", "operand 0 (a)", "its parts combine by sum")),
        (
            product,
            "m k, k n -> m n; whole k; linear 0+1",
            (X, W),
            ("pending sum", "not linear in operand 0 (a) and op"),
        ),
        (cube, "... -> ...; linear 0", (X,), ("pending sum", "not linear in operand 0 (x)")),
        ("cumsum", "a b -> a b", (X, 1), ("splitting b", "more than its part of operand 0 (self)")),
        ("_softmax", "a b -> a b", (X, 1, False), ("splitting b", "more than its part of operand 0 (self)")),
        ("mean.dim", "a b -> a; sum b", (X, [1]), ("its parts combine by none of", "say whole b")),
        ("weft_user::square", "... -> ...", (X,), ("no meta kernel",)),
    ],
)
def test_a_wrong_rule_is_told_apart(op, text, args, words):
    report = weft.check_rule(op, text, args)
    assert not report
    for word in words:
        assert word in str(report), str(report)


def test_a_gradient_that_is_wrong_on_parts_is_found():
    with torch.library._scoped_library("weft_gradient", "DEF") as lib:
        lib.define("op(Tensor x) -> Tensor")
        lib.impl("op", lambda x: x * 2, "CPU")
        lib.impl("op", torch.empty_like, "Meta")
        torch.library.register_autograd("weft_gradient::op", lambda ctx, g: g / g.shape[0], lib=lib)
        report = weft.check_rule("weft_gradient::op", "a b -> a b", (X,))
        assert "splitting a" in str(report) and "the gradient of operand 0 (x)" in str(report), str(report)


def test_what_arguments_cannot_show_is_said():
    report = weft.check_rule(product, "m k, k n -> m n; sum k", (X[:1], W))
    assert report and any("factor m: of length 1" in u for u in report.unchecked), str(report)
    with pytest.raises(ValueError, match="argument b is missing"):
        weft.check_rule(product, "m k, k n -> m n; sum k", (X,))
    with pytest.raises(ValueError, match="does not fit a tensor of 3 dimensions"):
        weft.check_rule(cube, "a b -> a b", (torch.ones(2, 3, 4),))
    with pytest.raises(ValueError, match="has no rule"):
        weft.check_rule(cube, None, (X,))
