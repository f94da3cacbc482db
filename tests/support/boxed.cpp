#include "support/boxed.h"

#include <ATen/Functions.h>
#include <c10/util/StringUtil.h>
#include <weft/tensor.h>

#include <functional>

namespace weft::test {
namespace {

c10::IValue with_tensors(const c10::IValue& value, const std::function<at::Tensor(const at::Tensor&)>& make) {
  if (value.isTensor()) return value.toTensor().defined() ? make(value.toTensor()) : value;
  if (value.isTensorList()) {
    c10::List<at::Tensor> list;
    for (const at::Tensor& t : value.toTensorVector()) list.push_back(make(t));
    return list;
  }
  return value;
}

std::string tensors_differ(const at::Tensor& got, const at::Tensor& plain, double tolerance) {
  if (got.defined() != plain.defined()) return got.defined() ? "is defined" : "is undefined";
  if (!got.defined()) return {};
  if (got.scalar_type() != plain.scalar_type()) return c10::str(got.scalar_type(), " for ", plain.scalar_type());
  if (!got.sizes().equals(plain.sizes())) return c10::str(got.sizes(), " for ", plain.sizes());
  const at::Tensor full = full_tensor(got);
  const bool same = at::isFloatingType(plain.scalar_type()) || at::isComplexType(plain.scalar_type())
                        ? at::allclose(full, plain, tolerance, tolerance / 100, /*equal_nan=*/true)
                        : at::equal(full, plain);
  return same ? "" : c10::str(full, " for ", plain);
}

}  // namespace

c10::OperatorHandle op_named(const std::string& name) {
  const size_t dot = name.find('.');
  const std::string base = name.substr(0, dot);
  return c10::Dispatcher::singleton().findSchemaOrThrow(
      (base.find("::") == std::string::npos ? "aten::" + base : base).c_str(),
      dot == std::string::npos ? "" : name.substr(dot + 1).c_str());
}

Values call(const std::string& op, Values arguments) {
  op_named(op).callBoxed(&arguments);
  return arguments;
}

Values laid_out(const Values& arguments, const std::vector<Layout>& layouts) {
  size_t next = 0;
  Values out;
  for (const c10::IValue& value : arguments) {
    out.push_back(with_tensors(value, [&](const at::Tensor& t) {
      const Layout layout = next < layouts.size() ? layouts[next] : nullptr;
      ++next;
      return layout == nullptr ? t.clone() : distribute_tensor(t.clone(), layout);
    }));
  }
  return out;
}

std::string difference(const Values& got, const Values& plain, double tolerance) {
  if (got.size() != plain.size()) return c10::str(got.size(), " results for ", plain.size());
  for (size_t i = 0; i < got.size(); ++i) {
    std::string differs;
    if (plain[i].isTensor()) {
      differs = tensors_differ(got[i].isTensor() ? got[i].toTensor() : at::Tensor(), plain[i].toTensor(), tolerance);
    } else if (plain[i].isTensorList()) {
      const auto of_list = [](const c10::IValue& list) {
        const auto tensors = list.toTensorVector();
        return Values(tensors.begin(), tensors.end());
      };
      differs = difference(of_list(got[i]), of_list(plain[i]), tolerance);
    } else if (got[i] != plain[i]) {
      differs = c10::str(got[i], " for ", plain[i]);
    }
    if (!differs.empty()) return c10::str("result ", i, ": ", differs);
  }
  return {};
}

}  // namespace weft::test
