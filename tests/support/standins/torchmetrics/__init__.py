"""As much of torchmetrics as its synchronization takes, for where it is not installed."""

from .metric import Metric

__all__ = ["Metric"]
