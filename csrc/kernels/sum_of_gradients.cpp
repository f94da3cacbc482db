#include "kernels/sum_of_gradients.h"

#include <ATen/core/dispatch/Dispatcher.h>

#include "comm/lockstep/failure.h"
#include "comm/lockstep/guard.h"
#include "dispatch/call_identity.h"
#include "dispatch/handler.h"
#include "dispatch/how.h"
#include "dispatch/special.h"
#include "kernels/direct_call.h"
#include "tensor/below_autograd.h"

namespace weft {
namespace {

const OpInfo& add_info() {
  static KnownOp add(c10::Dispatcher::singleton().findSchemaOrThrow("aten::add", "Tensor"));
  return add.info();
}

// Whether what `add` gives goes where the sum is: on the shards as they are, of one dtype, laid out and in memory
// alike.
bool fits(const Plan& plan, const at::Tensor& sum, const at::Tensor& gradient) {
  if (!plan.direct) return false;
  const Plan::Output& result = plan.outputs[0];
  return sharded(sum).owns_shard_alone() && sum.scalar_type() == gradient.scalar_type() &&
         result.layout == sharded(sum).layout() && sum.sizes().equals(result.geometry.sizes) &&
         sum.strides().equals(result.geometry.strides);
}

CallIdentity identify_add(const OpInfo& op, const at::Tensor& sum, const at::Tensor& gradient,
                          const at::Scalar& alpha) {
  CallIdentifier call(op);
  call.add_tensor(sum, 0);
  call.add_tensor(gradient, 1);
  call.add_value(alpha, 2);
  return call.finish();
}

// False: nothing was done.
bool add_on_shards(const at::Tensor& sum, const at::Tensor& gradient, const at::Scalar& alpha) {
  const OpInfo& op = add_info();
  if (!may_run_unboxed(op)) return false;
  DirectCall call(op);
  if (!call.add_operand(sum, 0) || !call.add_operand(gradient, 1)) return false;
  call.add_value(alpha, 2);
  const auto plan = call.find_plan();
  if (plan == nullptr || !fits(*plan, sum, gradient)) return false;
  const CallIdentity known = comm::guarded() ? identify_add(op, sum, gradient, alpha) : CallIdentity();
  const RunningOp running(op.short_name.c_str(), known.identity, known.path);
  call.take_shards();
  const BelowAutograd guard;
  comm::run_local(op.short_name, [&] { call.shard(0).add_(call.shard(1), alpha); });
  sharded(sum).end_sum();
  sharded(sum).set_identity(new_identity());
  return true;
}

}  // namespace

at::Tensor& add_gradient(at::Tensor& sum, const at::Tensor& gradient, const at::Scalar& alpha) {
  if (!add_on_shards(sum, gradient, alpha)) become_sum(sum, gradient, alpha);
  return sum;
}

}  // namespace weft
