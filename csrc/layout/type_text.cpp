#include "layout/type_text.h"

#include <c10/util/StringUtil.h>

namespace weft {
namespace {

std::string short_dtype(c10::ScalarType dtype) {
  switch (dtype) {
    case c10::ScalarType::Float:
      return "f32";
    case c10::ScalarType::Double:
      return "f64";
    case c10::ScalarType::Half:
      return "f16";
    case c10::ScalarType::BFloat16:
      return "bf16";
    case c10::ScalarType::Char:
      return "i8";
    case c10::ScalarType::Short:
      return "i16";
    case c10::ScalarType::Int:
      return "i32";
    case c10::ScalarType::Long:
      return "i64";
    case c10::ScalarType::Byte:
      return "u8";
    case c10::ScalarType::UInt16:
      return "u16";
    case c10::ScalarType::UInt32:
      return "u32";
    case c10::ScalarType::UInt64:
      return "u64";
    case c10::ScalarType::Float8_e4m3fn:
      return "f8e4m3fn";
    case c10::ScalarType::Float8_e5m2:
      return "f8e5m2";
    case c10::ScalarType::Float8_e4m3fnuz:
      return "f8e4m3fnuz";
    case c10::ScalarType::Float8_e5m2fnuz:
      return "f8e5m2fnuz";
    case c10::ScalarType::Float8_e8m0fnu:
      return "f8e8m0fnu";
    case c10::ScalarType::Bool:
      return "b8";
    case c10::ScalarType::ComplexHalf:
      return "c32";
    case c10::ScalarType::ComplexFloat:
      return "c64";
    case c10::ScalarType::ComplexDouble:
      return "c128";
    default:
      return c10::toString(dtype);
  }
}

}  // namespace

std::string type_text(c10::ScalarType dtype, c10::IntArrayRef sizes, Layout layout) {
  std::string out = short_dtype(dtype) + "[";
  for (size_t d = 0; d < sizes.size(); ++d) {
    if (d > 0) out += ", ";
    out += std::to_string(sizes[d]);
    if (layout == nullptr) continue;
    for (const Split& split : layout->dim(static_cast<int64_t>(d))) {
      out += "@" + layout->mesh()->axis_name(split.axis);
      if (split.block != 0) out += "/" + std::to_string(split.block);
    }
  }
  out += "]";
  return layout == nullptr ? out : out + pending_text(*layout);
}

std::string pending_text(const TensorLayout& layout) {
  if (!layout.has_partial()) return "";
  std::string out;
  for (int axis = 0; axis < layout.mesh()->ndim(); ++axis) {
    if (layout.partial()[axis] == Reduction::none) continue;
    out += (out.empty() ? "{" : ", ") + layout.mesh()->axis_name(axis) + ": " + to_string(layout.partial()[axis]);
  }
  return out + "}";
}

}  // namespace weft
