"""All rows of the fault matrix."""

import torch
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

if torch.__version__ >= "2.15":  # what weft.compile_graphs needs
    from faults import rows_compiled  # noqa: F401

__all__ = ["ROWS"]
