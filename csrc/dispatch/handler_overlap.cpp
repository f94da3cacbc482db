// Operands of one op that lie in one memory, one of them written.
#include <algorithm>
#include <utility>
#include <vector>

#include "dispatch/handler.h"
#include "dispatch/overlap.h"
#include "tensor/below_autograd.h"

namespace weft {

void Handler::refuse_overlaps() const {
  if (!op_.writes || operands_.empty()) return;
  const auto is_written = [&](const Operand& o) { return op_.arguments[o.argument].written && o.impl != nullptr; };
  const auto entries = static_cast<size_t>(std::count_if(
      operands_.begin(), operands_.end(), [](const Operand& o) { return o.argument == 0 && o.element >= 0; }));
  for (size_t i = 0; i < operands_.size() && operands_[i].argument == 0; ++i) {
    if (!is_written(operands_[i])) continue;
    // Entries of lists of equal lengths follow each other so.
    for (size_t k = i + std::max<size_t>(entries, 1); k < operands_.size(); k += std::max<size_t>(entries, 1)) {
      if (operands_[k].element == operands_[i].element) {
        refuse_partial_overlap(op_, operands_[i].tensor, operands_[k].tensor);
      }
    }
  }
}

void Handler::keep_apart() {
  if (!op_.writes || operands_.empty() || operands_[0].element >= 0 || operands_[0].impl == nullptr) return;
  if (!op_.arguments[0].written) return;
  const Cell* cell = operands_[0].impl->known_cell();
  for (size_t i = 1; i < operands_.size() && cell != nullptr; ++i) {
    Operand& o = operands_[i];
    if (o.impl == nullptr || o.impl == operands_[0].impl || o.impl->known_cell() != cell) continue;
    o.local = apart_from(operands_[0].local, o.local);
  }
}

// Whether an entry of lists that are written in place reads or writes what another one writes, and not in the parts
// themselves, where it would see that.
bool Handler::entries_depend() const {
  if (!op_.is_foreach || !op_.writes) return false;
  bool moves = plan_->gathered || !plan_->write_backs.empty();
  for (size_t i = 0; i < operands_.size() && !moves; ++i) {
    const ShardedTensorImpl* impl = operands_[i].impl;
    const Layout wanted = plan_->inputs[i];
    moves = impl != nullptr && (impl->is_moved() || (wanted != nullptr && wanted != impl->layout()));
  }
  if (!moves) return false;
  struct Use {
    const void* memory;
    int element;
    bool written;
  };
  std::vector<Use> uses;
  for (const Operand& o : operands_) {
    if (!o.tensor.defined()) continue;
    const void* memory = o.tensor.unsafeGetTensorImpl();
    if (o.impl != nullptr && o.impl->known_cell() != nullptr) memory = o.impl->known_cell();
    if (o.impl == nullptr && o.tensor.has_storage()) memory = o.tensor.storage().unsafeGetStorageImpl();
    uses.push_back({memory, o.element, op_.arguments[o.argument].written});
  }
  std::sort(uses.begin(), uses.end(), [](const Use& a, const Use& b) { return a.memory < b.memory; });
  for (size_t first = 0, end = 0; first < uses.size(); first = end) {
    bool written = false, others = false;
    for (end = first; end < uses.size() && uses[end].memory == uses[first].memory; ++end) {
      written = written || uses[end].written;
      others = others || uses[end].element != uses[first].element;
    }
    if (written && others) return true;
  }
  return false;
}

// One after the other, as core's kernels do.
void Handler::call_entries() {
  const auto entries =
      std::count_if(operands_.begin(), operands_.end(), [](const Operand& o) { return o.argument == 0; });
  put_back(false);
  const std::vector<c10::IValue> arguments(stack_.begin() + static_cast<std::ptrdiff_t>(base_), stack_.end());
  BelowAutograd guard;
  for (int64_t e = 0; e < entries; ++e) {
    std::vector<c10::IValue> entry = arguments;
    for (size_t a = 0; a < entry.size(); ++a) {
      c10::IValue& v = entry[a];
      if (op_.schema().arguments()[a].name() == "scalars" && v.isTensor()) {
        v = v.toTensor().narrow(0, e, 1);
      } else if (v.isList() && v.toListRef().size() == static_cast<size_t>(entries)) {
        c10::impl::GenericList one(v.toList().elementType());
        one.push_back(v.toListRef()[static_cast<size_t>(e)]);
        v = std::move(one);
      }
    }
    op_.handle.callBoxed(&entry);
  }
  torch::jit::drop(stack_, op_.arguments.size());
  stack_.resize(stack_.size() + op_.results.size());
  wrap_outputs();
}

}  // namespace weft
