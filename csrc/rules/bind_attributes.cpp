// What a rule says of its factors and operands beside where they stand.
#include <algorithm>

#include "rules/binding.h"
#include "rules/op_info.h"

namespace weft::rules {

void Binding::read_attributes() {
  for (const Attribute& a : rule_.attributes) {
    switch (a.kind) {
      case Attribute::when:
      case Attribute::unless:
      case Attribute::exact:
        break;  // read_conditions
      case Attribute::size:
        add_length(a);
        break;
      case Attribute::linear:
      case Attribute::carry:
        add_pending(a);
        break;
      default:
        for (int f : factors_of(a.factor)) mark(f, a);
    }
  }
  for (auto& factor : bound_.factors) factor.splittable = factor.splittable && (windows_ || !factor.halo);
}

std::vector<int> Binding::factors_of(const std::string& name) const {
  std::vector<int> out;
  if (name == "...") {
    for (const auto& [n, f] : names_) {
      if (n.rfind("...", 0) == 0) out.push_back(f);
    }
  } else if (name[0] == '@') {
    for (int64_t d : call_.dims(name.substr(1), rank_)) {
      auto it = names_.find("..." + std::to_string(rank_ - trailing_ - 1 - d));
      if (it != names_.end()) out.push_back(it->second);
    }
  } else {
    for (const auto& [n, f] : names_) {
      if (n == name || n.rfind(name + "#", 0) == 0) out.push_back(f);
    }
  }
  return out;
}

// An argument that is the length of factors.
void Binding::add_length(const Attribute& a) {
  BoundRule::Localized l;
  l.argument = call_.op.argument(a.argument);
  const bool list = l.argument >= 0 && call_.arguments[l.argument].isIntList();
  l.entry = list ? std::max(a.entry, 0) : -1;
  for (const std::string& f : a.product) {
    auto it = names_.find(f);
    if (it != names_.end()) l.factors.push_back(it->second);
  }
  bound_.localized.push_back(std::move(l));
}

// Operands that may be pending together.
void Binding::add_pending(const Attribute& a) {
  for (const auto& group : a.groups) {
    BoundRule::Pending pending;
    pending.carry = a.kind == Attribute::carry;
    for (size_t i = 0; i < bound_.tensors.size(); ++i) {
      const bool in =
          std::any_of(group.begin(), group.end(), [&](int o) { return o < 0 || o == bound_.tensors[i].operand; });
      if (in && call_.tensors[i].defined) pending.tensors.push_back(static_cast<int>(i));
    }
    if (!pending.tensors.empty()) bound_.pending.push_back(std::move(pending));
  }
}

void Binding::mark(int f, const Attribute& a) {
  BoundRule::Factor& factor = bound_.factors[f];
  switch (a.kind) {
    case Attribute::halo:
      return slide(f, a);
    case Attribute::causal:
      factor.causal = call_.flag("is_causal");
      return;
    case Attribute::free:
      factor.free = true;
      return;
    case Attribute::whole:
      factor.whole = true;
      factor.via = a.via;
      return;
    case Attribute::masked:
      factor.masked = true;
      factor.index_operand = a.index_operand;
      factor.ignored = a.argument;
      factor.reduction = Reduction::sum;
      return;
    default:
      factor.reduction = a.reduction;
  }
}

// The window that slides over a factor; where one is not known, no such factor is split.
void Binding::slide(int f, const Attribute& a) {
  BoundRule::Factor& factor = bound_.factors[f];
  const auto& dims = bound_.tensors[0].dims;
  for (size_t d = 0; d < dims.size(); ++d) {
    if (dims[d].size() == 1 && dims[d][0] == f) factor.window = window_of(call_, dims.size() - d, a.window);
  }
  windows_ = windows_ && factor.window.has_value();
}

}  // namespace weft::rules
