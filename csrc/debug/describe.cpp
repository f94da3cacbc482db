#include <ATen/core/Formatting.h>
#include <ATen/core/grad_mode.h>
#include <c10/core/ScalarType.h>
#include <c10/util/StringUtil.h>
#include <weft/print.h>

#include <sstream>

#include "layout/type_text.h"
#include "mesh/context.h"
#include "tensor/sharded.h"

namespace weft {
namespace {

constexpr int64_t kColumns = 80;

std::string shape_of(at::IntArrayRef sizes) {
  return c10::str("(", c10::Join(", ", sizes), sizes.size() == 1 ? ",)" : ")");
}

std::string values_of(const at::Tensor& plain) {
  const at::NoGradGuard no_grad;
  std::ostringstream text;
  at::print(text, plain.defined() ? plain.detach() : plain, kColumns);
  return text.str();
}

std::string pending_of(Layout layout) {
  std::string text;
  for (int axis = 0; axis < layout->mesh()->ndim(); ++axis) {
    if (layout->partial()[axis] == Reduction::none) continue;
    text += c10::str(text.empty() ? "" : ", ", to_string(layout->partial()[axis]), " over ",
                     layout->mesh()->axis_name(axis));
  }
  return text;
}

}  // namespace

std::string describe(const at::Tensor& tensor) {
  if (!tensor.defined() || !holds_shards(tensor)) return values_of(tensor);
  const ShardedTensorImpl& impl = sharded(tensor);
  const Layout layout = impl.known_layout();  // one rank alone may print
  std::string facts = c10::str(type_text(tensor.scalar_type(), tensor.sizes(), layout), ", ", layout->mesh()->str(),
                               impl.path().empty() ? "" : ", path='" + impl.path() + "'");
  if (const auto& node = tensor.grad_fn()) {
    facts += c10::str(", grad_fn=<", node->name(), ">");
  } else if (tensor.requires_grad()) {
    facts += ", requires_grad=True";
  }
  // This rank's part of a pending sum looks like the sum and is none.
  if (const std::string pending = pending_of(layout); !pending.empty()) {
    return c10::str("pending ", pending, "\n  (", facts, "; weft::full_tensor(x), on every rank, gives the value)");
  }
  if (!impl.is_here()) return c10::str("sharded, its values on their way\n  (", facts, "; they are here once read)");
  const Mesh mesh = layout->mesh();
  const int64_t rank = mesh->is_simulated() ? mesh->simulated_rank() : context().rank();
  const std::string held = layout->is_replicated()
                               ? "the whole value"
                               : c10::str("rank ", rank, "'s part, of shape ", shape_of(impl.local().sizes()));
  if (impl.local().is_meta()) return c10::str("sharded, without values\n  (", facts, "; shown is ", held, ")");
  return c10::str("sharded\n", values_of(impl.local()), "\n  (", facts, "; shown is ", held, ")");
}

}  // namespace weft
