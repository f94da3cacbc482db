#include "dispatch/process_groups.h"

#include <c10/util/StringUtil.h>
#include <torch/csrc/distributed/c10d/GroupRegistry.hpp>
#include <torch/csrc/distributed/c10d/Work.hpp>

#include <algorithm>
#include <unordered_map>
#include <unordered_set>

#include "comm/wire/reduction.h"
#include "layout/type_text.h"
#include "mesh/context.h"
#include "tensor/below_autograd.h"
#include "tensor/sharded.h"

namespace weft {
namespace {

using Stack = std::vector<c10::IValue>;

/// A collective for which nothing had to move.
struct Done final : c10d::Work {
  explicit Done(std::vector<at::Tensor> tensors) : tensors_(std::move(tensors)) { finish(); }
  std::vector<at::Tensor> result() override { return tensors_; }
  c10::intrusive_ptr<c10::ivalue::Future> getFuture() override {
    auto future = c10::make_intrusive<c10::ivalue::Future>(c10::ListType::ofTensors());
    future->markCompleted(tensors_);
    return future;
  }

 private:
  std::vector<at::Tensor> tensors_;
};

void add_tensors(const c10::IValue& v, std::vector<at::Tensor>& out) {
  if (v.isTensor() && v.toTensor().defined()) out.push_back(v.toTensor());
  if (!v.isList()) return;
  for (const c10::IValue& item : v.toListRef()) add_tensors(item, out);
}

// What a collective does to one value that all ranks hold together.
enum class Effect : uint8_t {
  exchanges,  // it would count the value once for each rank, or make it differ between ranks
  copies,     // one rank's value comes to the others, who have the same
  reduces,    // equal values are combined
  waits,      // it follows a functional collective, on results that are here
};

// The effects by name, without "_" and "_coalesced" at its end.
const std::unordered_map<std::string, Effect>& effects() {
  static const auto* table = new std::unordered_map<std::string, Effect>{
      {"broadcast", Effect::copies},
      {"allreduce", Effect::reduces},
      {"all_reduce", Effect::reduces},
      {"reduce", Effect::reduces},
      {"wait_tensor", Effect::waits},
      {"wait_tensors", Effect::waits},
      {"_wrap_tensor_autograd", Effect::waits},
  };
  return *table;
}

// "_c10d_functional::all_reduce_coalesced_" has the same as "c10d::allreduce_".
Effect effect_of(const OpInfo& op) {
  std::string name = op.short_name.substr(op.short_name.find("::") + 2);
  for (const std::string end : {"_", "_coalesced"}) {
    if (name.size() > end.size() && name.ends_with(end)) name.resize(name.size() - end.size());
  }
  const auto it = effects().find(name);
  return it == effects().end() ? Effect::exchanges : it->second;
}

const c10::IValue* argument(const OpInfo& op, const Stack& stack, const char* name) {
  const int i = op.argument(name);
  return i < 0 ? nullptr : &stack[stack.size() - op.arguments.size() + static_cast<size_t>(i)];
}

std::string reduction_of(const c10::IValue& v) {
  return v.isString() ? v.toStringRef() : comm::name_of(v.toCustomClass<c10d::ReduceOp>()->op_);
}

int ranks_of(const OpInfo& op, const Stack& stack) {
  if (const c10::IValue* group = argument(op, stack, "process_group")) {
    return group->toCustomClass<c10d::ProcessGroup>()->getSize();
  }
  const c10::IValue* name = argument(op, stack, "group_name");
  if (name == nullptr) return static_cast<int>(context().world_size());
  return name->isString() ? c10d::resolve_process_group(name->toStringRef())->getSize()
                          : name->toCustomClass<c10d::ProcessGroup>()->getSize();
}

[[noreturn]] void refuse(const OpInfo& op, const at::Tensor& t, const std::string& why) {
  TORCH_CHECK_VALUE(false, "[W066] ", refusal_of_collective(op.short_name, t, why));
}

// The tensor to name: the input, where there is an output too. Lists of one tensor for each rank may be given on one
// rank alone.
at::Tensor named(const OpInfo& op, const Stack& stack) {
  at::Tensor last;
  for (size_t i = 0; i < op.arguments.size(); ++i) {
    if (op.arguments[i].kind == OpInfo::Kind::value) continue;
    std::vector<at::Tensor> tensors;
    add_tensors(stack[stack.size() - op.arguments.size() + i], tensors);
    for (const at::Tensor& t : tensors) {
      if (holds_shards(t)) last = t;
    }
  }
  return last;
}

// Raises where the value of the tensors would change, or some are not sharded.
void check_leaves_value(const OpInfo& op, const Stack& stack, const std::vector<at::Tensor>& all) {
  const at::Tensor one = named(op, stack);
  const Effect effect = effect_of(op);
  if (effect == Effect::exchanges) refuse(op, one, "");
  if (!std::all_of(all.begin(), all.end(), [](const at::Tensor& t) { return holds_shards(t); })) {
    refuse(op, one, "plain tensors are in the same call; give them one of their own");
  }
  if (effect != Effect::reduces) return;
  static const std::unordered_set<std::string> idempotent{"avg", "max", "min", "band", "bor"};
  const c10::IValue* reduce_op = argument(op, stack, "reduce_op");
  TORCH_INTERNAL_ASSERT(reduce_op != nullptr, "[", op.short_name, "] reduces by no argument reduce_op");
  const std::string reduction = reduction_of(*reduce_op);
  const int ranks = ranks_of(op, stack);
  if (ranks == 1 || idempotent.count(reduction) > 0) return;
  refuse(op, one,
         c10::str("that is one value, which the ranks hold together, and a ", reduction, " over ", ranks,
                  " ranks would count it ", ranks, " times"));
}

}  // namespace

std::string refusal_of_collective(const std::string& op, const at::Tensor& t, const std::string& why) {
  const std::string reason =
      why.empty() ? "that is one value, which the ranks hold together, and no rank has one of its own to exchange"
                  : why;
  const Layout layout = sharded(t).layout();
  return c10::str("[", op, "] got a sharded tensor, ", type_text(t.scalar_type(), t.sizes(), layout), " over ",
                  layout->mesh()->str(), ": ", reason,
                  ". Leave the call out, as in a program of one process, where the tensor is meant; else pass plain "
                  "tensors: weft.local_tensor(x), this rank's part, or weft.full_tensor(x), the whole on every rank");
}

bool is_collective(const OpInfo& op) {
  static const std::unordered_set<std::string> spaces{"c10d", "_c10d_functional", "_c10d_functional_autograd",
                                                      "symm_mem", "_dtensor"};
  return spaces.count(op.name.substr(0, op.name.find("::"))) > 0;
}

void run_collective(const OpInfo& op, Stack& stack) {
  std::vector<at::Tensor> all;
  for (size_t i = stack.size() - op.arguments.size(); i < stack.size(); ++i) add_tensors(stack[i], all);
  check_leaves_value(op, stack, all);
  const c10::IValue given = stack[stack.size() - op.arguments.size()];
  const auto& returns = op.schema().returns();
  // What is not in place by its name gives tensors of their own.
  const bool in_place = op.name.ends_with("_") || effect_of(op) == Effect::waits;
  torch::jit::drop(stack, op.arguments.size());
  for (const c10::Argument& result : returns) {
    if (!result.type()->isSubtypeOf(*c10::TensorType::get()) &&
        !result.type()->isSubtypeOf(*c10::ListType::ofTensors())) {
      stack.emplace_back(c10::intrusive_ptr<c10d::Work>(c10::make_intrusive<Done>(all)));
    } else if (in_place) {
      stack.push_back(given);
    } else {
      BelowAutograd guard;
      for (at::Tensor& t : all) t = t.clone();
      stack.push_back(given.isTensor() ? c10::IValue(all[0]) : c10::IValue(all));
    }
  }
}

}  // namespace weft
