#pragma once
// One op call on sharded tensors. run() is the whole story.
#include <ATen/core/boxing/KernelFunction.h>
#include <ATen/core/stack.h>

#include "local/finite.h"
#include "plan/cache.h"
#include "plan/plan.h"
#include "random/draws.h"
#include "rules/op_info.h"

namespace weft {

class Handler {
 public:
  /// `plan`: of these very arguments, where it is known already.
  Handler(const OpInfo& op, torch::jit::Stack& stack, std::shared_ptr<const Plan> plan = nullptr);
  void run();

 private:
  /// A tensor of the arguments, lists flattened.
  struct Operand {
    at::Tensor tensor;
    ShardedTensorImpl* impl;  // null: plain or undefined
    at::Tensor local;         // what the op runs on
    int argument, element;
    bool written_back;
    bool stays = false;  // see TensorInfo
  };

  // From the call to its plan (handler.cpp).
  void take_operands();
  void count_list_writes() const;
  void find_mesh();
  void make_key();
  void find_plan();
  Call describe() const;
  bool carry_out_reductions();

  // Operands that lie in one memory (handler_overlap.cpp).
  void refuse_overlaps() const;
  void keep_apart();
  bool entries_depend() const;
  void call_entries();

  // On the shards (handler_local.cpp).
  void lay_out_inputs();
  void watch_inputs() const;
  void call_local();
  void call_composite();
  bool view_local();
  void put_back(bool locals);
  random::Draws draw() const;
  std::optional<FiniteCheck> finite_check() const;

  // Back to sharded tensors (handler_results.cpp).
  void write_back();
  void wrap_outputs();
  void order_outputs();
  at::Tensor wrap(size_t output, at::Tensor local, int element, const at::Tensor& base);

  const OpInfo& op_;
  torch::jit::Stack& stack_;
  const size_t base_;
  c10::SmallVector<Operand, 6> operands_;
  c10::SmallVector<c10::IValue, 4> view_arguments_;
  Mesh mesh_ = nullptr;
  PlanKey key_;
  std::shared_ptr<const Plan> plan_;
};

/// What is known of one op, looked up once for as long as its rules stay.
class KnownOp {
 public:
  explicit KnownOp(const c10::OperatorHandle& op) : handle_(op) {}
  const OpInfo& info();

 private:
  c10::OperatorHandle handle_;
  std::atomic<OpInfo*> info_{nullptr};  // made at the first call: most ops are never called
  std::atomic<uint64_t> version_{0};    // of the rules it was made with
};

/// A result of the op on the shards, as the sharded tensor that the plan says; undefined where nobody asked for it.
at::Tensor wrap_root(const OpInfo& op, Mesh mesh, const Plan& plan, size_t output, at::Tensor local);

/// Runs an op on sharded tensors: what its kernels, of whichever key, have in common.
/// `plan`: of these very arguments, where it is known already.
void run_op(const OpInfo& op, torch::jit::Stack& stack, std::shared_ptr<const Plan> plan = nullptr);
/// Runs an op past rules and plans (op.special).
void run_special(const OpInfo& op, torch::jit::Stack& stack);

/// What is known of an op, made once for as long as its rules stay.
const OpInfo& op_info(const c10::OperatorHandle& op);

}  // namespace weft
