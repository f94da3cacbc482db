#include "dispatch/overlap.h"

#include <ATen/MemoryOverlap.h>

#include <string>
#include <unordered_set>

#include "rules/overloads.h"
#include "tensor/below_autograd.h"
#include "tensor/overlap.h"

namespace weft {
namespace {

// Pointwise, and without that check.
const std::unordered_set<std::string>& unchecked() {
  static const auto* names = new std::unordered_set<std::string>{"masked_fill_", "threshold_", "conj_physical_"};
  return *names;
}

// Whether the op's kernels are TensorIterator's, which looks for overlaps.
bool is_checked(const OpInfo& op) {
  if (!op.writes || op.is_out || !op.arguments[0].written) return false;
  if (op.fills || unchecked().count(op.short_name.substr(0, op.short_name.find('.'))) != 0) return false;
  if (op.short_name == "copy_" || op.handle.hasTag(at::Tag::pointwise)) return true;
  if (op.is_foreach) return op.short_name.rfind("_foreach_", 0) == 0;
  const auto functional = rules::functional_of(op.schema());
  return functional && functional->hasTag(at::Tag::pointwise);
}

}  // namespace

void refuse_internal_overlap(const OpInfo& op, const at::Tensor& written) {
  if (written.layout() != at::kStrided || at::has_internal_overlap(written) != at::MemOverlap::Yes) return;
  if (!is_checked(op)) return;
  TORCH_CHECK(false, "[W068] [", op.short_name,
              "] unsupported operation: more than one element of the written-to tensor refers to a single memory "
              "location. Please clone() the tensor before performing the operation.");
}

void refuse_partial_overlap(const OpInfo& op, const at::Tensor& written, const at::Tensor& read) {
  if (!overlap_partially(written, read) || !is_checked(op)) return;
  TORCH_CHECK(false, "[W068] [", op.short_name,
              "] unsupported operation: some elements of the input tensor and the written-to tensor refer to a single "
              "memory location. Please clone() the tensor before performing the operation.");
}

at::Tensor apart_from(const at::Tensor& written, const at::Tensor& read) {
  if (at::get_overlap_status(written, read) != at::MemOverlapStatus::Partial) return read;
  BelowAutograd guard;
  return read.clone();
}

}  // namespace weft
