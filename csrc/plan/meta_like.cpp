#include "plan/meta_like.h"

#include <ATen/Operators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>

#include <unordered_map>

namespace weft {
namespace {

namespace op = at::_ops;

enum class Memory : uint8_t {
  contiguous,
  formatted,  // as the argument suggests: contiguous or channels last
  preserved,  // in the argument's order
};

struct Result {
  int argument;
  Memory memory = Memory::contiguous;
  int wanted = -1;  // the place in the op's output_mask; -1: always there
};
using Results = std::vector<Result>;
using Likes = std::unordered_map<c10::OperatorName, Results>;

template <class Op>
Likes::value_type op_with(Results results) {
  return {c10::OperatorName(Op::name, Op::overload_name), std::move(results)};
}

constexpr Result first{0}, second{1}, third{2};

Result where_wanted(int argument, int place) { return {argument, Memory::contiguous, place}; }
Result in_format(int argument) { return {argument, Memory::formatted}; }
Result in_order(int argument) { return {argument, Memory::preserved}; }

Likes all_likes() {
  return {
      op_with<op::_adaptive_avg_pool3d_backward>({second}),
      op_with<op::_prelu_kernel_backward>({in_order(1), in_order(1)}),
      op_with<op::_weight_norm_interface_backward>({second, third}),
      op_with<op::binary_cross_entropy_backward>({in_order(1)}),
      op_with<op::channel_shuffle>({in_format(0)}),
      op_with<op::flip>({in_order(0)}),
      op_with<op::fractional_max_pool3d_backward>({second}),
      op_with<op::glu_backward>({second}),
      op_with<op::grid_sampler_2d_backward>({where_wanted(1, 0), where_wanted(2, 1)}),
      op_with<op::grid_sampler_3d_backward>({where_wanted(1, 0), where_wanted(2, 1)}),
      op_with<op::huber_loss_backward>({second}),
      op_with<op::linalg_matrix_exp>({first}),
      {{"aten::linalg_matrix_sqrth", ""}, {first}},  // not in all versions of torch
      op_with<op::log_sigmoid_backward>({in_order(1)}),
      op_with<op::log_sigmoid_forward>({first, first}),
      op_with<op::max_pool3d_with_indices_backward>({in_format(1)}),
      op_with<op::multi_margin_loss_backward>({second}),
      op_with<op::multilabel_margin_loss_backward>({second}),
      op_with<op::nll_loss2d_backward>({second}),
      op_with<op::reflection_pad2d_backward>({in_format(1)}),
      op_with<op::replication_pad2d_backward>({in_format(1)}),
      op_with<op::replication_pad3d_backward>({in_format(1)}),
      op_with<op::smooth_l1_loss_backward>({second}),
      op_with<op::logcumsumexp>({first}),
      op_with<op::roll>({in_format(0)}),
  };
}

at::Tensor like(const at::Tensor& t, const Result& result) {
  if (result.memory == Memory::preserved) return at::empty_like(t, at::MemoryFormat::Preserve);
  const bool formatted = result.memory == Memory::formatted;
  return at::empty(t.sizes(),
                   t.options().memory_format(formatted ? t.suggest_memory_format() : at::MemoryFormat::Contiguous));
}

}  // namespace

bool run_meta_like(const c10::OperatorHandle& handle, std::vector<c10::IValue>& stack) {
  static const Likes* const known = new Likes(all_likes());
  const auto found = known->find(handle.operator_name());
  if (found == known->end()) return false;
  std::vector<c10::IValue> results;
  for (const Result& result : found->second) {
    const bool wanted = result.wanted < 0 || stack.back().toBoolList().get(result.wanted);
    results.emplace_back(wanted ? like(stack[result.argument].toTensor(), result) : at::Tensor());
  }
  stack = std::move(results);
  return true;
}

}  // namespace weft
