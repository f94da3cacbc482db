#include "dispatch/masked.h"

#include <ATen/Functions.h>
#include <c10/util/Exception.h>

namespace weft {
namespace {

using Stack = std::vector<c10::IValue>;

struct Shifted {
  at::Tensor index, outside;  // outside: which entries lie in other shards
};

// Every rank masks what others hold, so an index that nobody holds is looked for first. On a GPU that would make the
// host wait for it: there it is masked everywhere, as core's own check is an assertion of the card.
void check_range(const OpInfo& op, const at::Tensor& index, const Plan::Masked& m, const at::Tensor& ignored) {
  if (!index.is_cpu()) return;
  at::Tensor wrong = index.lt(0).logical_or_(index.ge(m.whole));
  if (ignored.defined()) wrong.logical_and_(ignored.logical_not());
  TORCH_CHECK_INDEX(!wrong.any().item<bool>(), "[", op.short_name,
                    "] index out of range: ", index.masked_select(wrong)[0].item<int64_t>(), " is not in [0, ", m.whole,
                    "), the length of the dimension that is split");
}

Shifted shift(const OpInfo& op, const at::Tensor& index, const Plan::Masked& m, const at::Tensor& ignored = {}) {
  check_range(op, index, m, ignored);
  at::Tensor shifted = index - m.offset;
  at::Tensor outside = shifted.lt(0).logical_or_(shifted.ge(m.length));
  return {shifted.masked_fill_(outside, 0), outside};
}

// An empty shard has no row 0 to read: one of zeros stands in.
at::Tensor with_a_row(const at::Tensor& t, int64_t dim) {
  if (t.size(dim) > 0) return t;
  auto sizes = t.sizes().vec();
  sizes[dim] = 1;
  return at::zeros(sizes, t.options());
}

}  // namespace

void run_masked(const OpInfo& op, const std::vector<Plan::Masked>& masked, Stack& stack) {
  TORCH_INTERNAL_ASSERT(masked.size() == 1, "[", op.short_name, "] one masked factor");
  const Plan::Masked& m = masked[0];
  const size_t base = stack.size() - op.arguments.size();
  auto at = [&](const char* name) -> c10::IValue& { return stack[base + op.argument(name)]; };
  if (op.short_name == "embedding") {
    const Shifted s = shift(op, at("indices").toTensor(), m);
    at("indices") = s.index;
    at("weight") = with_a_row(at("weight").toTensor(), 0);
    op.handle.callBoxed(&stack);
    at::Tensor out = stack.back().toTensor();
    out.masked_fill_(s.outside.unsqueeze(-1), 0);
  } else if (op.short_name == "gather") {
    const int64_t dim = at("dim").toInt();
    const Shifted s = shift(op, at("index").toTensor(), m);
    at("index") = s.index;
    at("self") = with_a_row(at("self").toTensor(), at::maybe_wrap_dim(dim, at("self").toTensor().dim()));
    op.handle.callBoxed(&stack);
    stack.back().toTensor().masked_fill_(s.outside, 0);
  } else if (op.short_name == "nll_loss_forward" || op.short_name == "nll_loss2d_forward" ||
             op.short_name == "nll_loss_backward" || op.short_name == "nll_loss2d_backward") {
    // What lies in other shards is ignored here, as ignore_index is.
    const int64_t ignore = -100;
    const at::Tensor target = at("target").toTensor();
    const at::Tensor ignored = target.eq(at("ignore_index").toInt());
    const Shifted s = shift(op, target, m, ignored);
    at("target") = s.index.masked_fill(ignored.logical_or(s.outside), ignore);
    at("ignore_index") = ignore;
    op.handle.callBoxed(&stack);
  } else {
    TORCH_INTERNAL_ASSERT(false, "[", op.short_name, "] has a masked factor but no way to run it");
  }
}

}  // namespace weft
