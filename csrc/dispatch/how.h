#pragma once
// How an op is run on sharded tensors: the one place that decides. In this order:
//
// 1  a kernel of Weft's own, also above autograd        register_kernels: ops that read memory on their way
// 2  op by op, as core makes it of others               is_made_of_others: Weft's key is not asked
// 3  past rules and plans                               special_of: identity, memory, collectives, decompositions that
//                                                       always stand for an op, random numbers, out= variants
// 4  by a plan (plan/planner.cpp)                       a decomposition where a factor arrives split that it cannot
//                                                       split, else the op on the shards, else on gathered inputs;
//                                                       without boxing (kernels/) where may_run_unboxed says so and
//                                                       the plan asks for nothing else
#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/library.h>

#include <memory>
#include <string>
#include <vector>

#include "dispatch/sparse.h"
#include "dispatch/special.h"

namespace weft {

/// 1: registers them; `libraries` keeps the registrations.
void register_kernels(std::vector<std::unique_ptr<torch::Library>>& libraries);
/// 2: such ops get no kernel on Weft's key, which would break their backward.
bool is_made_of_others(const c10::OperatorHandle& op);
/// Between 1 and 2: whether it is made of others but on GPUs, where core has a kernel of it, and a backward of its own.
bool is_fused_on_gpus(const c10::OperatorHandle& op);
/// 3: null for nearly all ops.
Special special_of(const OpInfo& op);
/// 4: whether the op has nothing of its own to do that only its boxed kernel does.
bool may_run_unboxed(const OpInfo& op);
/// The kernel for calls with sparse tensors (dispatch/sparse.h), by the op's short name; null: it has none of its own.
SparseKernel sparse_kernel_of(const std::string& op);
/// Whether calls with sparse tensors are Weft's where core has no kernel for them.
bool has_rule_for_sparse(const std::string& op);
/// Whether the op takes each value of a sparse tensor by itself.
bool takes_values_one_by_one(const OpInfo& op);
/// Whether f(a + b) = f(a) + f(b), so that entries of the same place need not be added first.
bool adds_up(const std::string& op);
/// Whether the op, called with entries of a sparse tensor, only concerns identity, or knows entries itself.
bool leaves_entries_alone(const std::string& op);
/// Whether the op takes each entry by itself.
bool takes_entries_one_by_one(const OpInfo& op);

}  // namespace weft
