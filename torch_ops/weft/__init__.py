"""Weft: unchanged torch code on sharded tensors.

A plugin of PyTorch's C++ dispatcher. A tensor is laid out over a mesh of processes once, by its variable path or by
hand; every op on it then runs on the local shards, with the collectives it needs.

    import torch, weft
    weft.initialize()                                       # under torchrun; else a world of one process
    mesh = weft.DeviceMesh((2, 2), ("data", "model"))
    layouts = weft.LayoutMap(mesh)
    layouts[r"layers/.*/(q|k|v)_proj/weight"] = ("model", None)
    weft.distribute_module(model, layouts)                  # in place; the model's code stays as it is
    loss = model(**weft.shard_batch(batch, mesh, "data")).loss
    loss.backward()
"""

from . import at_exit as _at_exit  # noqa: F401
from . import hf, layouts
from ._library import library_path, torch_version_built_for
from .assignment import install as _install_assignment
from .check_report import Check, Difference
from .checking import check
from .checkpoint import Loaded, PendingSave, async_save, load, save
from .compiling import compile_graphs
from .compiling import install as _install_compiling
from .costs import Cost, cost
from .dcp import install as _install_dcp
from .display import install as _install_display
from .drawing import Drawing, draw
from .errors import explain_error
from .filling import install as _install_filling
from .filling import unfilled_paths
from .hf.adapters import install as _install_hf_adapters
from .hf.loading import install as _install_hf_loading
from .hf.one_process import install as _install_hf_one_process
from .hf.saving import install as _install_hf_saving
from .hf.trainer import install as _install_hf_trainer
from .interop import from_dtensor, to_dtensor
from .interop import install as _install_interop
from .layout_map import LayoutMap, LayoutMatch
from .maps import active_layouts, register_layouts
from .mesh import DeviceMesh, TensorLayout
from .metrics import install as _install_metrics
from .module import distribute_module, tag
from .object_lists import install as _install_object_lists
from .planned import Gathered, Planned, PlannedVariable
from .planning import plan
from .process import get_device_count, initialize, list_devices, rank, world_size
from .process_groups import install as _install_process_groups
from .reporting import Report, report
from .rule_check import RuleCheck
from .rules import check_rule, register_rule
from .safetensors_files import install as _install_safetensors
from .savers import install as _install_savers
from .search_found import Candidate, Found
from .searching import search
from .switches import check_finite, check_plain, frozen, overlap, random_mode, strict, warn_relayout
from .tensors import (
    distribute_tensor,
    distribute_variable,
    from_local,
    full_tensor,
    is_sharded,
    layout_of,
    local_tensor,
    path_of,
    shard_batch,
)
from .torch_debug import install as _install_torch_debug
from .tracing import Trace, TraceRow, trace

_install_assignment()
_install_compiling()
_install_dcp()
_install_display()
_install_filling()
_install_hf_adapters()
_install_hf_loading()
_install_hf_one_process()
_install_hf_saving()
_install_hf_trainer()
_install_interop()
_install_metrics()
_install_object_lists()
_install_process_groups()
_install_safetensors()
_install_savers()
_install_torch_debug()

__version__ = "0.1.0"

__all__ = [
    "active_layouts",
    "async_save",
    "Candidate",
    "check",
    "Check",
    "check_finite",
    "check_plain",
    "check_rule",
    "compile_graphs",
    "cost",
    "Cost",
    "DeviceMesh",
    "Difference",
    "distribute_module",
    "distribute_tensor",
    "distribute_variable",
    "draw",
    "Drawing",
    "explain_error",
    "Found",
    "from_dtensor",
    "from_local",
    "frozen",
    "full_tensor",
    "Gathered",
    "get_device_count",
    "hf",
    "initialize",
    "is_sharded",
    "layout_of",
    "LayoutMap",
    "LayoutMatch",
    "layouts",
    "library_path",
    "list_devices",
    "load",
    "Loaded",
    "local_tensor",
    "overlap",
    "path_of",
    "PendingSave",
    "plan",
    "Planned",
    "PlannedVariable",
    "random_mode",
    "rank",
    "register_layouts",
    "register_rule",
    "report",
    "Report",
    "RuleCheck",
    "save",
    "search",
    "shard_batch",
    "strict",
    "tag",
    "TensorLayout",
    "torch_version_built_for",
    "to_dtensor",
    "trace",
    "Trace",
    "TraceRow",
    "unfilled_paths",
    "warn_relayout",
    "world_size",
]
