// What a plan depends on, as the words of its key.
#include <algorithm>

#include "dispatch/handler.h"

namespace weft {
namespace {

// Whether the strides are exactly those that the sizes imply; unlike row_major, in dimensions of length 1 too.
bool told_by_sizes(c10::IntArrayRef sizes, c10::IntArrayRef strides) {
  int64_t next = 1;
  for (size_t d = sizes.size(); d-- > 0;) {
    if (strides[d] != next) return false;
    next *= std::max<int64_t>(sizes[d], 1);
  }
  return true;
}

}  // namespace

void Handler::make_key() {
  key_ = PlanKey();
  key_.push(&op_);
  for (const Operand& o : operands_) {
    if (!o.tensor.defined()) {
      key_.push(uint64_t{0});
      continue;
    }
    const auto* impl = o.tensor.unsafeGetTensorImpl();
    uint64_t head = static_cast<uint64_t>(o.tensor.dim()) << 16 | static_cast<uint64_t>(o.tensor.scalar_type()) << 1;
    if (impl->is_wrapped_number()) head |= uint64_t{1} << 32;
    const auto sizes = o.tensor.sizes(), strides = o.tensor.strides();
    const bool row_major = told_by_sizes(sizes, strides);
    if (row_major) head |= uint64_t{1} << 33;
    key_.push(head | 1);
    key_.push(o.impl != nullptr ? static_cast<const void*>(o.impl->layout()) : nullptr);
    key_.push_all(sizes);
    if (!row_major) key_.push_all(strides);
    if (op_.is_view) key_.push(static_cast<uint64_t>(o.tensor.storage_offset()));
    if (o.element >= 0) key_.push(static_cast<uint64_t>(o.argument) << 8);
  }
  for (size_t a = 0; a < op_.arguments.size(); ++a) {
    if (!op_.arguments[a].keyed) continue;
    const c10::IValue& v = stack_[base_ + a];
    if (v.isInt()) {
      key_.push(static_cast<uint64_t>(v.toInt()));
    } else if (v.isNone()) {
      key_.push(uint64_t{0xfff1});
    } else if (v.isBool()) {
      key_.push(uint64_t{0xfff2} + v.toBool());
    } else if (v.isIntList()) {
      const auto list = v.toIntList();
      key_.push(uint64_t{0xfff4} + list.size());
      for (size_t i = 0; i < list.size(); ++i) key_.push(static_cast<uint64_t>(list.get(i)));
    } else if (v.isString()) {
      key_.push_text(v.toStringRef());
    } else if (v.isBoolList()) {
      const auto list = v.toBoolList();
      uint64_t bits = 1;
      for (size_t i = 0; i < list.size(); ++i) bits = bits << 1 | static_cast<uint64_t>(list.get(i));
      key_.push(bits);
    } else if (!v.isDevice()) {
      key_.push_text(c10::str(v));
    }
  }
}

}  // namespace weft
