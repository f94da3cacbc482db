"""All rows of the fault matrix."""

from faults import (  # noqa: F401  (each adds its own)
    rows_ends,
    rows_in_step,
    rows_order,
    rows_shapes,
    rows_store,
    rows_threads,
    rows_training,
    rows_values,
)
from faults.row import ROWS
from support.versions import COMPILED_GRAPHS

if COMPILED_GRAPHS:
    from faults import rows_compiled  # noqa: F401

__all__ = ["ROWS"]
