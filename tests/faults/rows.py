"""All rows of the fault matrix."""

from faults import rows_ends, rows_order, rows_shapes, rows_store, rows_threads, rows_training, rows_values  # noqa: F401
from faults.matrix import ROWS

__all__ = ["ROWS"]
