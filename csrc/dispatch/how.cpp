#include "dispatch/how.h"

#include <string>
#include <unordered_map>
#include <unordered_set>

#include "composites/random_ops.h"
#include "composites/transformer_layers.h"
#include "dispatch/indexing.h"
#include "dispatch/memory_readers.h"
#include "dispatch/process_groups.h"
#include "dispatch/recurrent.h"
#include "dispatch/strided_views.h"
#include "local/finite.h"
#include "random/random.h"

namespace weft {
namespace {

// What no tag and no schema tells.
const std::unordered_map<std::string, Special>& special_ops() {
  static const auto* table = new std::unordered_map<std::string, Special>{
      {"detach", &run_alias},
      {"alias", &run_alias},
      {"lift", &run_alias},
      {"detach_", &run_identity},
      {"as_strided", &run_as_strided},
      {"_reshape_alias", &run_reshape_alias},
      {"add_.Tensor", &run_add},
      {"copy_", &run_copy},
      {"index.Tensor", &run_indexing},
      {"_unsafe_index.Tensor", &run_indexing},
      {"index_put", &run_indexing},
      {"index_put_", &run_indexing},
      {"_index_put_impl", &run_indexing},
      {"_index_put_impl_", &run_indexing},
      {"_unsafe_index_put", &run_indexing},
      {"_embedding_bag_backward", &run_embedding_bag_backward},
      {"is_set_to", &run_is_set_to},
      {"is_same_size", &run_is_same_size},
      {"set_.source_Tensor", &run_set},
      {"shallow_copy_data_", &run_copy_data},
      {"set_", &refuse_memory},
      {"set_.source_Storage", &refuse_memory},
      {"set_.source_Storage_storage_offset", &refuse_memory},
      {"set_.source_Tensor_storage_offset", &refuse_memory},
      {"resize_as_", &refuse_memory},
      {"resize_", &run_resize},
      {"record_stream", &run_on_local},
      {"is_pinned", &run_on_local},
      {"is_coalesced", &run_on_local},
      {"dense_dim", &run_on_local},
      {"sparse_dim", &run_on_local},
      {"_has_same_storage_numel", &run_has_same_storage_numel},
  };
  return *table;
}

const std::unordered_map<std::string, SparseKernel>& sparse_kernels() {
  static const auto* table = new std::unordered_map<std::string, SparseKernel>{
      {"sparse_dim", &run_sparse_dim},
      {"_dimI", &run_sparse_dim},
      {"dense_dim", &run_dense_dim},
      {"_dimV", &run_dense_dim},
      {"_nnz", &run_count},
      {"is_coalesced", &run_is_coalesced},
      {"_coalesced_", &run_set_coalesced},
      {"_indices", &run_indices},
      {"indices", &run_indices},
      {"_values", &run_values},
      {"values", &run_values},
      {"_coalesce", &run_coalesce},
      {"_to_dense", &run_to_dense},
      {"detach", &run_sparse_alias},
      {"alias", &run_sparse_alias},
      {"detach_", &run_sparse_identity},
      {"add.Tensor", &run_sparse_sum},
      {"add_.Tensor", &run_sparse_sum},
      {"sub.Tensor", &run_sparse_sum},
      {"sub_.Tensor", &run_sparse_sum},
      {"sparse_mask", &run_sparse_mask},
      {"_sparse_coo_tensor_with_dims_and_tensors", &run_sparse_make},
      {"zero_", &run_sparse_zero},
      {"copy_", &run_sparse_copy},
      {"sum", &run_sparse_reduction},
      {"norm.Scalar", &run_sparse_reduction},
      {"norm.ScalarOpt_dtype", &run_sparse_reduction},
      {"native_norm", &run_sparse_reduction},
  };
  return *table;
}

// What no tag tells of ops on sparse tensors' values and entries, by base names, for every overload.
struct OnEntries {
  bool values_one_by_one = false;
  bool entries_one_by_one = false;
  bool adds_up = false;
  bool leaves_alone = false;
};
const std::unordered_map<std::string, OnEntries>& entries_ops() {
  static const auto* table = new std::unordered_map<std::string, OnEntries>{
      {"clone", {.adds_up = true}},
      {"neg", {.adds_up = true}},
      {"mul", {.adds_up = true}},
      {"div", {.adds_up = true}},
      {"_to_copy", {.values_one_by_one = true, .entries_one_by_one = true, .adds_up = true}},
      {"copy_", {.entries_one_by_one = true}},
      {"zero_", {.entries_one_by_one = true}},
      {"fill_", {.entries_one_by_one = true}},
      {"detach", {.leaves_alone = true}},
      {"alias", {.leaves_alone = true}},
      {"detach_", {.leaves_alone = true}},
      {"_sparse_coo_tensor_with_dims_and_tensors", {.leaves_alone = true}},
  };
  return *table;
}
OnEntries on_entries(const std::string& op) {
  const auto it = entries_ops().find(op.substr(0, op.find('.')));
  return it == entries_ops().end() ? OnEntries() : it->second;
}

// Made of others, and read memory on their way: on the full tensor, above autograd.
const char* const kGathered[] = {"quantile", "quantile.scalar", "nanquantile", "nanquantile.scalar", "ctc_loss.Tensor"};
// Only the lengths that these are given are read; all else is made of other ops.
const char* const kReadLengths[] = {"lstm.data",
                                    "gru.data",
                                    "rnn_tanh.data",
                                    "rnn_relu.data",
                                    "_pad_packed_sequence",
                                    "_pack_padded_sequence_backward"};

bool has_out(const c10::FunctionSchema& schema) {
  for (const c10::Argument& a : schema.arguments()) {
    if (a.kwarg_only() && a.alias_info() != nullptr && a.alias_info()->isWrite()) return true;
  }
  return false;
}

bool views_one_tensor(const OpInfo& op) {
  return op.is_view && op.arguments[0].kind == OpInfo::Kind::tensor && op.results.size() == 1 &&
         op.results[0].kind == OpInfo::Kind::tensor;
}

}  // namespace

void register_kernels(std::vector<std::unique_ptr<torch::Library>>& libraries) {
  register_memory_readers(libraries, kGathered, kReadLengths);
  register_recurrent(libraries);
  register_strided_views(libraries);
  register_transformer_layers(libraries);
}

bool is_fused_on_gpus(const c10::OperatorHandle& op) {
  const auto has = [&](c10::DispatchKey key) { return op.hasKernelForDispatchKey(key); };
  return op.operator_name().name.rfind("aten::", 0) == 0 && has(c10::DispatchKey::CompositeImplicitAutograd) &&
         has(c10::DispatchKey::CUDA) && !has(c10::DispatchKey::CPU) && !has_out(op.schema());
}

// But for out=, which has no backward, and looks into the memory of what it writes, and for what is made of others only
// for backends that lack a kernel of it.
bool is_made_of_others(const c10::OperatorHandle& op) {
  static const auto* with_kernels = new std::unordered_set<std::string>{"aten::silu_backward", "aten::mish_backward"};
  return op.hasKernelForDispatchKey(c10::DispatchKey::CompositeImplicitAutograd) && !has_out(op.schema()) &&
         with_kernels->count(op.operator_name().name) == 0 && !is_fused_on_gpus(op);
}

Special special_of(const OpInfo& op) {
  const auto& table = special_ops();
  if (const auto it = table.find(op.short_name); it != table.end()) return it->second;
  if (op.handle.hasTag(at::Tag::inplace_view)) return &run_in_place_view;
  if (is_collective(op)) return &run_collective;
  if (op.decomposition != nullptr) return &run_decomposition;
  if (random::find_sampler(op.handle.operator_name()) != nullptr) return &run_random;
  if (op.is_out) return &run_out;
  return nullptr;
}

bool may_run_unboxed(const OpInfo& op) {
  // run_add differs from a plan for a gradient that is on its way alone, which goes the boxed kernel's way.
  const bool by_plan = op.special == nullptr || op.special == &run_add;
  return by_plan && (!op.is_view || views_one_tensor(op)) && !op.tells && !op.random && !checks_finite();
}

SparseKernel sparse_kernel_of(const std::string& op) {
  const auto it = sparse_kernels().find(op);
  return it == sparse_kernels().end() ? nullptr : it->second;
}

bool has_rule_for_sparse(const std::string& op) {
  return on_entries(op).values_one_by_one || sparse_kernel_of(op) != nullptr;
}

bool takes_values_one_by_one(const OpInfo& op) {
  return op.handle.hasTag(at::Tag::pointwise) || on_entries(op.short_name).values_one_by_one;
}

bool adds_up(const std::string& op) { return on_entries(op).adds_up; }

bool leaves_entries_alone(const std::string& op) { return on_entries(op).leaves_alone; }

bool takes_entries_one_by_one(const OpInfo& op) {
  if (op.results.size() != 1 || op.results[0].kind != OpInfo::Kind::tensor || op.is_out) return false;
  return op.handle.hasTag(at::Tag::pointwise) || on_entries(op.short_name).entries_one_by_one;
}

}  // namespace weft
