#include "rules/overloads.h"

#include <vector>

namespace weft::rules {

std::optional<c10::OperatorHandle> functional_of(const c10::FunctionSchema& variant) {
  // Arguments but for out= ones; in-place variants end in _.
  std::vector<const c10::Argument*> wanted;
  bool in_place = false;
  for (const c10::Argument& a : variant.arguments()) {
    const bool written = a.alias_info() != nullptr && a.alias_info()->isWrite();
    if (written && a.kwarg_only()) continue;
    in_place = in_place || written;
    wanted.push_back(&a);
  }
  std::string base = variant.name();
  if (in_place && base.back() == '_') base.pop_back();
  for (const auto& name : c10::Dispatcher::singleton().getAllOpNames()) {
    if (name.name != base) continue;
    auto handle = c10::Dispatcher::singleton().findSchema(name);
    if (!handle || handle->schema().is_mutable()) continue;
    const auto& arguments = handle->schema().arguments();
    bool same = arguments.size() == wanted.size();
    for (size_t a = 0; same && a < wanted.size(); ++a) {
      same = arguments[a].name() == wanted[a]->name() && *arguments[a].real_type() == *wanted[a]->real_type();
    }
    if (same) return handle;
  }
  return std::nullopt;
}

std::string view_of(std::string name) {
  if (name.size() > 5 && name.compare(name.size() - 5, 5, "_copy") == 0) name.resize(name.size() - 5);
  if (name.rfind("unsafe_", 0) == 0) name.erase(0, 7);
  return name;
}

}  // namespace weft::rules
