#pragma once
// The one template of which all unboxed kernels are made.
#include <ATen/core/IListRef.h>
#include <ATen/core/boxing/impl/boxing.h>
#include <ATen/core/dispatch/Dispatcher.h>

#include <array>
#include <memory>
#include <optional>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "comm/lockstep/failure.h"
#include "comm/lockstep/guard.h"
#include "dispatch/handler.h"
#include "dispatch/how.h"
#include "dispatch/special.h"
#include "gradient/gradient.h"
#include "kernels/direct_call.h"
#include "kernels/install.h"
#include "kernels/sum_of_gradients.h"
#include "tensor/below_autograd.h"
#include "views/views.h"

namespace weft {

template <class T>
inline constexpr bool is_tensor_argument =
    std::is_same_v<std::decay_t<T>, at::Tensor> || std::is_same_v<std::decay_t<T>, std::optional<at::Tensor>>;
template <class T>
inline constexpr bool is_list_argument =
    std::is_same_v<std::decay_t<T>, at::TensorList> || std::is_same_v<std::decay_t<T>, at::ITensorListRef>;

template <class T>
inline constexpr bool is_ints_argument = std::is_same_v<T, at::IntArrayRef> || std::is_same_v<T, c10::SymIntArrayRef>;

template <class Signature>
class UnboxedKernel;

template <class Result, class... Arguments>
class UnboxedKernel<Result(Arguments...)> {
 public:
  /// Raises c10::Error for an op of another signature.
  explicit UnboxedKernel(const c10::OperatorHandle& op)
      : op_(std::make_shared<KnownOp>(op)), call_(op.typed<Result(Arguments...)>()) {}

  Result operator()(Arguments... arguments) const {
    register_queued_ops();
    const OpInfo& op = op_->info();
    if constexpr (std::is_same_v<Result(Arguments...), SumOfGradients>) {
      if (op.special == &run_add && C10_UNLIKELY(is_sum_of_gradients(arguments...))) return add_gradient(arguments...);
    }
    std::shared_ptr<const Plan> plan;
    if (C10_LIKELY(may_run_unboxed(op))) {
      DirectCall call(op);
      Places first{};
      if (C10_LIKELY(add(call, first, std::index_sequence_for<Arguments...>(), arguments...))) {
        plan = call.find_plan();
        if (C10_LIKELY(plan != nullptr && plan->direct)) {
          if (C10_LIKELY(!op.is_view)) return run(op, call, first, *plan, arguments...);
          if constexpr (may_be_view()) {
            if (at::Tensor view = call.view(*plan); view.defined()) {
              return wrap_view(op, call, *plan, std::move(view), arguments...);
            }
          }
        }
      }
    } else if constexpr (std::is_same_v<Result(Arguments...), at::Tensor(const at::Tensor&)>) {
      if (op.special == &run_alias) return alias(op, arguments...);
    }
    return run_boxed(op, std::move(plan), arguments...);
  }

 private:
  // A view of one tensor, by values alone.
  static constexpr bool may_be_view() {
    constexpr size_t others = (size_t{is_list_argument<Arguments>} + ... + 0);
    constexpr size_t tensors = (size_t{is_tensor_argument<Arguments>} + ... + 0);
    return std::is_same_v<Result, at::Tensor> && tensors == 1 && others == 0;
  }

  using Places = std::array<size_t, sizeof...(Arguments)>;  // of each argument's first operand

  template <size_t... I>
  static bool add(DirectCall& call, Places& first, std::index_sequence<I...>, const Arguments&... arguments) {
    if (!((first[I] = call.operands(), add_tensors(call, arguments, static_cast<int>(I))) && ...)) return false;
    return (add_value(call, arguments, static_cast<int>(I)) && ...);
  }

  template <class T>
  static bool add_tensors(DirectCall& call, const T& argument, int place) {
    if constexpr (std::is_same_v<T, at::Tensor>) {
      return call.add_operand(argument, place);
    } else if constexpr (std::is_same_v<T, std::optional<at::Tensor>>) {
      static const at::Tensor none;
      return call.add_operand(argument.has_value() ? *argument : none, place);
    } else if constexpr (is_list_argument<T>) {
      int element = 0;
      for (const at::Tensor& tensor : argument) {
        if (!call.add_operand(tensor, place, element++)) return false;
      }
    }
    return true;
  }

  // The ints of a list, or those that are no symbols; false: there are such.
  static bool ints_of(at::IntArrayRef list, at::IntArrayRef& ints) {
    ints = list;
    return true;
  }
  static bool ints_of(c10::SymIntArrayRef list, at::IntArrayRef& ints) {
    const auto all = c10::asIntArrayRefSlowOpt(list);
    if (all.has_value()) ints = *all;
    return all.has_value();
  }

  template <class T>
  static bool add_value(DirectCall& call, const T& argument, int place) {
    if constexpr (is_ints_argument<T>) {
      at::IntArrayRef ints;
      if (!ints_of(argument, ints)) return false;
      call.add_ints(ints, place);
    } else if constexpr (std::is_same_v<T, at::OptionalIntArrayRef>) {
      argument.has_value() ? call.add_ints(*argument, place) : call.add_value({}, place);
    } else if constexpr (!is_tensor_argument<T> && !is_list_argument<T>) {
      call.add_value(c10::IValue(argument), place);
    }
    return true;
  }

  template <size_t... I>
  [[gnu::noinline]] static CallIdentity identify(const OpInfo& op, std::index_sequence<I...>,
                                                 const Arguments&... arguments) {
    CallIdentifier call(op);
    (identify_one(call, arguments, I), ...);
    return call.finish();
  }

  template <class T>
  static void identify_one(CallIdentifier& call, const T& argument, size_t place) {
    if constexpr (std::is_same_v<T, at::Tensor>) {
      call.add_tensor(argument, place);
    } else if constexpr (std::is_same_v<T, std::optional<at::Tensor>>) {
      call.add_tensor(argument.has_value() ? *argument : at::Tensor(), place);
    } else if constexpr (is_list_argument<T>) {
      for (const at::Tensor& tensor : argument) call.add_tensor(tensor, place);
    } else if constexpr (is_ints_argument<T>) {
      at::IntArrayRef ints;
      ints_of(argument, ints);
      call.add_ints(ints);
    } else if constexpr (std::is_same_v<T, at::OptionalIntArrayRef>) {
      argument.has_value() ? call.add_ints(*argument) : call.add_value({}, place);
    } else {
      call.add_value(c10::IValue(argument), place);
    }
  }

  Result run(const OpInfo& op, DirectCall& call, const Places& first, const Plan& plan, Arguments... arguments) const {
    constexpr auto places = std::index_sequence_for<Arguments...>();
    const CallIdentity known = comm::guarded() ? identify(op, places, arguments...) : CallIdentity();
    const RunningOp running(op.short_name.c_str(), known.identity, known.path, op.copies);
    call.take_shards();
    if constexpr (std::is_void_v<Result> || std::is_lvalue_reference_v<Result>) {
      on_shards(op, call, first, places, arguments...);
      call.note_writes();
      if constexpr (std::is_lvalue_reference_v<Result>) return std::get<0>(std::forward_as_tuple(arguments...));
    } else {
      Result result = on_shards(op, call, first, places, arguments...);
      call.note_writes();
      wrap(call, plan, result);
      return result;
    }
  }

  // detach, alias.
  static at::Tensor alias(const OpInfo& op, const at::Tensor& self) {
    const CallIdentity known = comm::guarded() ? identify(op, std::index_sequence<0>(), self) : CallIdentity();
    const RunningOp running(op.short_name.c_str(), known.identity, known.path, op.copies);
    reduce_gradient_of_leaf(self);
    return share(self);
  }

  at::Tensor wrap_view(const OpInfo& op, const DirectCall& call, const Plan& plan, at::Tensor view,
                       const Arguments&... arguments) const {
    const CallIdentity known =
        comm::guarded() ? identify(op, std::index_sequence_for<Arguments...>(), arguments...) : CallIdentity();
    const RunningOp running(op.short_name.c_str(), known.identity, known.path, op.copies);
    c10::SmallVector<c10::IValue, 4> values;
    const auto push = [&](const auto& argument) {
      if constexpr (!is_tensor_argument<decltype(argument)>) values.emplace_back(argument);
    };
    (push(arguments), ...);
    return call.wrap_view(plan, std::move(view), values);
  }

  template <size_t... I>
  Result on_shards(const OpInfo& op, DirectCall& call, const Places& first, std::index_sequence<I...>,
                   const Arguments&... arguments) const {
    const BelowAutograd guard;
    try {
      return call_.call(
          local<Arguments>(call, first[I], I + 1 < first.size() ? first[I + 1] : call.operands(), arguments)...);
    } catch (...) {
      comm::report_failure(op.short_name);
      throw;
    }
  }

  // What the op gets in place of an argument whose operands lie between those places.
  template <class Argument, class T>
  static decltype(auto) local(DirectCall& call, size_t first, size_t end, const T& argument) {
    if constexpr (std::is_same_v<T, at::Tensor>) {
      return static_cast<Argument>(call.shard(first));
    } else if constexpr (std::is_same_v<T, std::optional<at::Tensor>>) {
      return argument.has_value() ? T(call.shard(first)) : T();
    } else if constexpr (is_list_argument<T>) {
      return T(call.shards(first, end - first));
    } else {
      return static_cast<const T&>(argument);
    }
  }

  static void wrap(const DirectCall& call, const Plan& plan, at::Tensor& result) {
    result = call.wrap(plan, 0, std::move(result));
  }
  static void wrap(const DirectCall& call, const Plan& plan, std::vector<at::Tensor>& results) {
    for (size_t i = 0; i < results.size(); ++i) results[i] = call.wrap(plan, i, std::move(results[i]));
  }
  template <class... Ts>
  static void wrap(const DirectCall& call, const Plan& plan, std::tuple<Ts...>& results) {
    size_t i = 0;
    std::apply([&](Ts&... each) { ((each = call.wrap(plan, i++, std::move(each))), ...); }, results);
  }

  // Not inlined, as identify(): once for each signature is enough to compile.
  [[gnu::noinline]] Result run_boxed(const OpInfo& op, std::shared_ptr<const Plan> plan, Arguments... arguments) const {
    torch::jit::Stack stack = c10::impl::boxArgs<Arguments...>(std::forward<Arguments>(arguments)...);
    run_op(op, stack, std::move(plan));
    if constexpr (std::is_lvalue_reference_v<Result>) {
      return std::get<0>(std::forward_as_tuple(arguments...));
    } else if constexpr (!std::is_void_v<Result>) {
      return c10::impl::PopResult<Result>::call(stack);
    }
  }

  std::shared_ptr<KnownOp> op_;
  c10::TypedOperatorHandle<Result(Arguments...)> call_;
};

}  // namespace weft
