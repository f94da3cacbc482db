#include "local/finite.h"

#include <ATen/ATen.h>
#include <c10/util/Exception.h>
#include <weft/switches.h>

#include <cmath>

#include "base/quote.h"
#include "mesh/context.h"

namespace weft {
namespace {

NotFinite look(const at::Tensor& t) {
  if (!t.defined() || t.is_meta() || t.numel() == 0) return {};
  if (!at::isFloatingType(t.scalar_type()) && !at::isComplexType(t.scalar_type())) return {};
  at::Tensor values = t.is_complex() ? at::view_as_real(t.resolve_conj()) : t;
  if (values.element_size() == 1) values = values.to(at::kFloat);  // 8-bit floats have no isfinite
  const auto any = [](const at::Tensor& found) { return found.any().item<bool>(); };
  if (!any(values.isfinite().logical_not_())) return {};
  return {any(values.isnan()), any(values.isposinf()), any(values.isneginf())};
}

}  // namespace

bool check_finite(bool on) { return finite_detail::on.exchange(on); }

NotFinite& NotFinite::operator|=(const NotFinite& other) {
  nan = nan || other.nan;
  positive = positive || other.positive;
  negative = negative || other.negative;
  return *this;
}

void FiniteCheck::operand(at::Tensor local, const std::string& path, bool written) {
  operands_.push_back({local, path, written, written ? look(local) : NotFinite()});
}

void FiniteCheck::number(const c10::IValue& value) {
  if (!value.isDouble()) return;
  const double number = value.toDouble();
  if (std::isinf(number)) (number > 0 ? given_.positive : given_.negative) = true;
}

void FiniteCheck::results(const std::vector<c10::IValue>& stack) const {
  NotFinite found;
  for (size_t r = 0; r < op_.results.size(); ++r) {
    const c10::IValue& v = stack[stack.size() - op_.results.size() + r];
    if (op_.results[r].written_argument >= 0) continue;
    if (v.isTensor()) found |= look(v.toTensor());
    if (!v.isTensorList()) continue;
    for (const at::Tensor& t : v.toTensorVector()) found |= look(t);
  }
  for (const Operand& o : operands_) {
    if (o.written) found |= look(o.local);
  }
  if (!found.any()) return;

  NotFinite before = given_;
  const std::string *path = nullptr, *first_path = nullptr;
  for (const Operand& o : operands_) {
    const NotFinite mine = o.written ? o.before : look(o.local);
    before |= mine;
    if (o.path.empty()) continue;
    if (first_path == nullptr) first_path = &o.path;
    if (path == nullptr && mine.any()) path = &o.path;
  }
  const bool positive = found.positive && !given_.positive, negative = found.negative && !before.negative;
  if (!found.nan && !positive && !negative) return;
  const bool known = found.nan ? before.nan : positive ? before.positive : false;
  if (path == nullptr) path = first_path;
  TORCH_CHECK(false, "[W069] [", op_.short_name, "] makes ", found.nan ? "NaN" : "Inf", " on rank ", context().rank(),
              path != nullptr ? " from variable " + quote(*path) : "",
              known ? c10::str(", which had ", found.nan ? "NaN" : "Inf", " before") : "",
              " (weft.check_finite is on)");
}

}  // namespace weft
