#include "local/masked.h"

#include <ATen/Functions.h>
#include <c10/util/Exception.h>

#include "comm/lockstep/failure.h"
#include "tensor/traced.h"

namespace weft {
namespace {

// An empty shard has no row 0 to read: one of zeros stands in.
at::Tensor with_a_row(const at::Tensor& t, int64_t dim) {
  if (t.size(dim) > 0) return t;
  auto sizes = t.sizes().vec();
  sizes[dim] = 1;
  return at::zeros(sizes, t.options());
}

}  // namespace

struct MaskedCall::Shifted {
  at::Tensor index, outside;  // outside: which entries lie in other shards
};

// Every rank masks what others hold, so an index that nobody holds is looked for first. On a GPU that would make the
// host wait for it: there it is masked everywhere, as core's own check is an assertion of the card.
void MaskedCall::check_range(const OpInfo& op, const at::Tensor& index, const at::Tensor& ignored) const {
  if (!index.is_cpu() || !recipe_.reads) return;
  const int64_t least = recipe_.wraps ? -global_size_ : 0;
  at::Tensor wrong = index.lt(least).logical_or_(index.ge(global_size_));
  if (ignored.defined()) wrong.logical_and_(ignored.logical_not());
  if (is_traced(wrong)) {  // whose values are known when the program runs
    const std::string text = c10::str("[W068] [", op.short_name, "] index out of range: not in [0, ", global_size_,
                                      "), the length of the dimension that is split");
    at::_assert_async(wrong.any().logical_not(), text);
    return;
  }
  TORCH_CHECK_INDEX(!wrong.any().item<bool>(), "[W068] [", op.short_name,
                    "] index out of range: ", index.masked_select(wrong)[0].item<int64_t>(), " is not in [", least,
                    ", ", global_size_, "), the length of the dimension that is split");
}

MaskedCall::Shifted MaskedCall::shift(const OpInfo& op, const at::Tensor& index, const at::Tensor& ignored) const {
  check_range(op, index, ignored);
  at::Tensor shifted = index - offset_;
  if (recipe_.wraps) shifted.add_(index.lt(0), global_size_);
  at::Tensor outside = shifted.lt(0).logical_or_(shifted.ge(length_));
  return {shifted.masked_fill_(outside, 0), outside};
}

namespace {

// The same memory as a dtype that all kernels know, in which 0 is 0: core looks rows of any dtype up, but does not fill
// those of some.
at::Tensor with_kernels(const at::Tensor& t) {
  const at::ScalarType dtype = t.scalar_type();
  if (c10::isFloat8Type(dtype)) return t.view(at::kByte);
  switch (dtype) {
    case at::kUInt16:
      return t.view(at::kShort);
    case at::kUInt32:
      return t.view(at::kInt);
    case at::kUInt64:
      return t.view(at::kLong);
    default:
      return t;
  }
}

}  // namespace

void MaskedCall::run(const OpInfo& op, Mesh, std::vector<c10::IValue>& stack) const {
  comm::run_local(op.short_name, [&] { run_shifted(op, stack); });
}

void MaskedCall::run_shifted(const OpInfo& op, std::vector<c10::IValue>& stack) const {
  const size_t base = stack.size() - op.arguments.size();
  c10::IValue& index = stack[base + recipe_.index];
  if (recipe_.ignored >= 0) {
    c10::IValue& given = stack[base + recipe_.ignored];
    const at::Tensor classes = index.toTensor().to(at::kLong);  // bytes hold no place of another shard
    const at::Tensor ignored = classes.eq(given.toInt());
    const Shifted s = shift(op, classes, ignored);
    constexpr int64_t kNone = -100;  // no place of the shard
    index = s.index.masked_fill(ignored.logical_or(s.outside), kNone);
    given = kNone;
    op.handle.callBoxed(&stack);
    return;
  }
  const Shifted s = shift(op, recipe_.element < 0 ? index.toTensor() : index.toListRef()[recipe_.element].toTensor());
  if (recipe_.element < 0) {
    index = s.index;
  } else {
    index.toList().set(recipe_.element, s.index);  // a list of this call's own
  }
  for (const Table& t : recipe_.tables) {
    stack[base + t.argument] = with_a_row(stack[base + t.argument].toTensor(), t.dim);
  }
  op.handle.callBoxed(&stack);
  const at::Tensor out = stack.back().toTensor();
  at::Tensor outside = s.outside;
  for (int64_t d = 0; d < recipe_.after; ++d) outside = outside.unsqueeze(-1);
  with_kernels(out).masked_fill_(outside, 0);
}

}  // namespace weft
