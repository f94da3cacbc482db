"""What the oracle finds and nobody has to mend: op, dtype, kind of failure (patterns), and the reason."""

from fnmatch import fnmatch

EXCEPTIONS: list[tuple[str, str, str, str]] = [
    *(
        (
            op,
            "complex64",
            "value",
            "the phases of complex singular vectors are not defined (1e-7 more in the plain op's input may turn one by "
            "2e-3), and the gradient depends on them",
        )
        for op in ("svd_lowrank", "pca_lowrank")
    ),
    (
        "_foreach_norm",
        "int64",
        "value",
        "the plain op's norm of order -inf of integers is nan in its list kernel alone; linalg.vector_norm has a value",
    ),
    ("_foreach_norm", "bool", "value", "as for int64"),
    (
        "cov",
        "*",
        "value",
        "the gradient of the weights of two observations is nought; what is left of terms that cancel is rounding",
    ),
    (
        "index_reduce[[]prod]",
        "bfloat16",
        "raised",
        "core's kernel of bfloat16 fails on a tensor one column wide, sharded or not; a shard may be so",
    ),
    (
        "index_reduce[[]prod]",
        "bfloat16",
        "died",
        "as above, on the one of three ranks that has such a shard; it goes on with the next check, the others wait",
    ),
    (
        "nn.functional.gaussian_nll_loss",
        "bfloat16",
        "value",
        "the gradient of a target for five inputs: terms of up to 20 that cancel to 0.4, their parts in bfloat16",
    ),
]


def reason(op: str, dtype: str, kind: str) -> str | None:
    """Why a failure of that kind is none of the engine's, or None."""
    for a, b, c, text in EXCEPTIONS:
        if fnmatch(op, a) and fnmatch(dtype, b) and fnmatch(kind, c):
            return text
    return None
