#include "rules/describe.h"

#include <c10/util/Exception.h>
#include <nlohmann/json.hpp>

#include "rules/op_info.h"
#include "rules/validate.h"

namespace weft::rules {
namespace {

using Json = nlohmann::json;

template <class F>
void each_tensor(const c10::IValue& value, F f) {
  if (value.isTensor()) {
    f(-1, value.toTensor());
  } else if (value.isTensorList()) {
    int element = 0;
    for (const at::Tensor& t : value.toTensorVector()) f(element++, t);
  }
}

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

}  // namespace

std::string describe_bound(const c10::OperatorHandle& handle, const std::string& text,
                           const std::vector<c10::IValue>& arguments, const std::vector<c10::IValue>& results) {
  const OpInfo op(handle);
  TORCH_CHECK_VALUE(arguments.size() == op.arguments.size(), "[", op.short_name, "] ", arguments.size(),
                    " arguments for an op of ", op.arguments.size());
  Call call{op, arguments, {}, {}, nullptr};
  Json places = Json::array();  // argument and element of each tensor
  for (size_t a = 0; a < arguments.size(); ++a) {
    if (op.arguments[a].kind == OpInfo::Kind::value) continue;
    auto add = [&](int element, const at::Tensor& t) {
      TensorInfo info;
      info.argument = static_cast<int>(a);
      info.element = element;
      info.defined = t.defined();
      if (t.defined()) info.geometry = geometry_of(t), info.dtype = t.scalar_type();
      info.written = op.arguments[a].written;
      call.tensors.push_back(info);
      places.push_back({static_cast<int>(a), element});
    };
    if (arguments[a].isNone()) {
      if (op.arguments[a].kind == OpInfo::Kind::tensor) add(-1, {});
    } else {
      each_tensor(arguments[a], add);
    }
  }
  // An op that returns nothing has what it writes as its results.
  std::vector<int> written;
  for (size_t a = 0; a < arguments.size(); ++a) {
    if (op.arguments[a].written) written.push_back(static_cast<int>(a));
  }
  for (size_t r = 0; r < results.size(); ++r) {
    each_tensor(results[r], [&](int element, const at::Tensor& t) {
      ResultInfo info;
      info.result = op.results.empty() && r < written.size() ? -1 - written[r] : static_cast<int>(r);
      info.element = element;
      info.defined = t.defined();
      if (t.defined()) info.geometry = geometry_of(t), info.dtype = t.scalar_type();
      call.results.push_back(info);
    });
  }

  std::vector<RuleEntry> given(1);
  std::vector<const RuleEntry*> entries = op.rules;
  if (!text.empty()) {
    given[0].rule = parse_for(op, text);
    given[0].text = text;
    given[0].nonempty = true;
    entries = {&given[0]};
  }
  TORCH_CHECK_VALUE(!entries.empty(), "[", op.short_name, "] has no rule; give the text of one");
  std::string why;
  for (const RuleEntry* entry : entries) {
    BoundRule bound;
    std::map<std::string, int> names;
    if (entry->binder ? !entry->binder(call, bound, why) : !bind_named(entry->rule, call, bound, why, names)) continue;
    Json out;
    out["text"] = entry->text;
    out["nonempty"] = entry->nonempty;
    out["factors"] = factors(bound, names);
    out["places"] = places;
    out["tensors"] = tensors(bound.tensors);
    out["results"] = tensors(bound.results);
    out["pending"] = Json::array();
    for (const auto& p : bound.pending) out["pending"].push_back({{"tensors", p.tensors}, {"carry", p.carry}});
    out["lengths"] = Json::array();
    for (const auto& l : bound.localized) {
      if (l.argument >= 0)
        out["lengths"].push_back({{"argument", l.argument}, {"entry", l.entry}, {"factors", l.factors}});
    }
    out["replaced"] = !bound.replaced.empty() || bound.sizes_argument >= 0;
    return out.dump();
  }
  TORCH_CHECK_VALUE(false, "[", op.short_name, "] ", why);
}

}  // namespace weft::rules
