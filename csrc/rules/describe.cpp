#include "rules/describe.h"

#include <c10/util/Exception.h>
#include <nlohmann/json.hpp>

#include "rules/op_info.h"
#include "rules/validate.h"

namespace weft::rules {
namespace {

using Json = nlohmann::json;

Json factors(const BoundRule& bound, const std::map<std::string, int>& names) {
  Json out = Json::array();
  for (const auto& f : bound.factors) {
    const int number = static_cast<int>(out.size());
    std::string name = "factor " + std::to_string(number);
    for (const auto& [n, i] : names) {
      if (i == number) name = n;
    }
    out.push_back({{"name", name},
                   {"size", f.size},
                   {"splittable", f.splittable && !f.whole && (!f.contracted || f.reduction != Reduction::none)},
                   {"even", f.even},
                   {"free", f.free},
                   {"masked", f.masked},
                   {"contracted", f.contracted},
                   {"reduction", f.reduction == Reduction::none ? "" : to_string(f.reduction)}});
  }
  return out;
}

Json tensors(const std::vector<BoundRule::Tensor>& tensors) {
  Json out = Json::array();
  for (const auto& t : tensors) {
    Json dims = Json::array();
    for (const auto& d : t.dims) dims.push_back(std::vector<int>(d.begin(), d.end()));
    out.push_back({{"dims", dims}, {"ruled", t.ruled}, {"added_once", t.added_once}, {"shape_only", t.shape_only}});
  }
  return out;
}

// Adds a call's results: of an op that returns nothing, what it writes.
void add_results(Call& call, const std::vector<c10::IValue>& results) {
  std::vector<int> written;
  for (size_t a = 0; a < call.op.arguments.size(); ++a) {
    if (call.op.arguments[a].written) written.push_back(static_cast<int>(a));
  }
  for (size_t r = 0; r < results.size(); ++r) {
    const int number = call.op.results.empty() && r < written.size() ? -1 - written[r] : static_cast<int>(r);
    if (results[r].isTensor()) call.results.push_back(ResultInfo::of(number, -1, results[r].toTensor()));
    if (!results[r].isTensorList()) continue;
    int element = 0;
    for (const at::Tensor& t : results[r].toTensorVector())
      call.results.push_back(ResultInfo::of(number, element++, t));
  }
}

// The rules to try: that of the text, or the op's own where there is none. `given` keeps it.
std::vector<const RuleEntry*> entries_of(const OpInfo& op, const std::string& text, RuleEntry& given) {
  if (text.empty()) return op.rules;
  given.rule = parse_for(op, text);
  given.text = text;
  return {&given};
}

Json told(const Call& call, const RuleEntry& entry, const BoundRule& bound, const std::map<std::string, int>& names) {
  Json places = Json::array();  // argument and element of each tensor
  for (const TensorInfo& t : call.tensors) places.push_back({t.argument, t.element});
  Json pending = Json::array();
  for (const auto& p : bound.pending) pending.push_back({{"tensors", p.tensors}, {"carry", p.carry}});
  Json lengths = Json::array();
  for (const auto& l : bound.localized) {
    if (l.argument >= 0) lengths.push_back({{"argument", l.argument}, {"entry", l.entry}, {"factors", l.factors}});
  }
  return {{"text", entry.text},
          {"supports_empty_shards", entry.supports_empty_shards},
          {"factors", factors(bound, names)},
          {"places", places},
          {"tensors", tensors(bound.tensors)},
          {"results", tensors(bound.results)},
          {"pending", pending},
          {"lengths", lengths},
          {"replaced", !bound.replaced.empty() || bound.sizes_argument >= 0}};
}

}  // namespace

std::string describe_bound(const c10::OperatorHandle& handle, const std::string& text,
                           const std::vector<c10::IValue>& arguments, const std::vector<c10::IValue>& results) {
  const OpInfo op(handle);
  TORCH_CHECK_VALUE(arguments.size() == op.arguments.size(), "[W083] [", op.short_name, "] ", arguments.size(),
                    " arguments for an op of ", op.arguments.size());
  Call call = Call::of(op, arguments);
  add_results(call, results);
  RuleEntry given;
  const std::vector<const RuleEntry*> entries = entries_of(op, text, given);
  TORCH_CHECK_VALUE(!entries.empty(), "[W083] [", op.short_name, "] has no rule; give the text of one");
  std::string why;
  for (const RuleEntry* entry : entries) {
    BoundRule bound;
    std::map<std::string, int> names;
    const bool binds =
        entry->binder ? entry->binder(call, bound, why) : bind_named(entry->rule, call, bound, why, names);
    if (binds) return told(call, *entry, bound, names).dump();
  }
  TORCH_CHECK_VALUE(false, "[W083] [", op.short_name, "] ", why);
}

}  // namespace weft::rules
