#pragma once
// A call whose plan asks for nothing but the op on the shards as they are (plan/direct.h): from its arguments, which
// are never boxed, to the shards. Boxing counts each tensor up and down, for which core takes Python's lock where
// Python holds the only other reference, and makes lists of its own.
#include <ATen/core/Tensor.h>
#include <c10/util/ArrayRef.h>

#include <memory>

#include "dispatch/call_identity.h"
#include "plan/cache.h"
#include "plan/plan.h"
#include "rules/op_info.h"
#include "tensor/sharded.h"

namespace weft {

class DirectCall {
 public:
  explicit DirectCall(const OpInfo& op) : op_(op) { key_.push(&op); }

  /// All tensors in order, lists entry by entry. False: this call is not for us, whatever its plan.
  bool add_operand(const at::Tensor& tensor, int argument, int element = -1);
  /// Then all values.
  void add_value(const c10::IValue& value, int argument) {
    if (op_.arguments[argument].keyed) push_value(value);
  }
  void add_ints(c10::IntArrayRef values, int argument);
  /// Null: there is none yet.
  std::shared_ptr<const Plan> find_plan() const { return weft::find_plan(key_, key_.hash()); }

  /// What the op runs on: all operands as they were added.
  c10::ArrayRef<at::Tensor> take_shards();
  at::Tensor& shard(size_t operand) { return shards_[operand]; }
  c10::ArrayRef<at::Tensor> shards(size_t first, size_t count) const { return {shards_.data() + first, count}; }
  size_t operands() const { return operands_.size(); }
  /// After the op ran: what it wrote has other values.
  void note_writes() const;
  at::Tensor wrap(const Plan& plan, size_t output, at::Tensor local) const;

  /// What a view op makes of the shard; undefined where that is not remembered.
  at::Tensor view(const Plan& plan) const { return plan.local_view.of(operands_[0].impl->local()); }
  /// The same as a view of the operand. `arguments`: the op's values in order.
  at::Tensor wrap_view(const Plan& plan, at::Tensor view, c10::ArrayRef<c10::IValue> arguments) const;

 private:
  void push_value(const c10::IValue& value);
  void look_for_overlaps();

  struct Operand {
    const at::Tensor* tensor;  // the caller's
    ShardedTensorImpl* impl;   // null: plain or undefined
    bool written, in_list;
  };
  const OpInfo& op_;
  PlanKey key_;
  static constexpr size_t kMost = 32;  // without memory of their own
  c10::SmallVector<Operand, kMost> operands_;
  c10::SmallVector<at::Tensor, kMost> shards_;
};

}  // namespace weft
