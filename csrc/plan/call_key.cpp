#include "plan/call_key.h"

#include <algorithm>

namespace weft {
namespace {

// Whether the strides are exactly those that the sizes imply; unlike row_major, in dimensions of length 1 too.
bool is_strictly_contiguous(c10::IntArrayRef sizes, c10::IntArrayRef strides) {
  int64_t next = 1;
  for (size_t d = sizes.size(); d-- > 0;) {
    if (strides[d] != next) return false;
    next *= std::max<int64_t>(sizes[d], 1);
  }
  return true;
}

// An argument may be of several kinds (`int?`, `Scalar`): each begins with a word that no other kind begins with.
// Numbers below kEscape, which most are, are that word themselves.
constexpr uint64_t kEscape = 0xfff0, kNone = 0xfff1, kBool = 0xfff2, kList = 0xfff4, kBools = uint64_t{1} << 40,
                   kText = uint64_t{1} << 41;

template <class Ints>
void push_list(PlanKey& key, const Ints& ints) {
  key.push(kList + ints.size());
  for (const int64_t value : ints) key.push(static_cast<uint64_t>(value));
}

}  // namespace

void push_operand(PlanKey& key, const OpInfo& op, int argument, int element, const at::Tensor& tensor,
                  const ShardedTensorImpl* impl, bool stays) {
  if (!tensor.defined()) return key.push(uint64_t{0});
  const c10::TensorImpl* any = tensor.unsafeGetTensorImpl();
  uint64_t head = static_cast<uint64_t>(tensor.dim()) << 16 | static_cast<uint64_t>(tensor.scalar_type()) << 1;
  if (any->is_wrapped_number()) head |= uint64_t{1} << 32;
  const auto sizes = tensor.sizes(), strides = tensor.strides();
  const bool row_major = is_strictly_contiguous(sizes, strides);
  if (row_major) head |= uint64_t{1} << 33;
  if (impl != nullptr && impl->interned_path() != nullptr) head |= uint64_t{1} << 34;
  if (stays) head |= uint64_t{1} << 35;
  key.push(head | 1);
  key.push(impl != nullptr ? static_cast<const void*>(impl->layout()) : nullptr);
  key.push_all(sizes);
  if (!row_major) key.push_all(strides);
  if (op.is_view) key.push(static_cast<uint64_t>(tensor.storage_offset()));
  if (element >= 0) key.push(static_cast<uint64_t>(argument) << 8);
}

void push_ints(PlanKey& key, c10::IntArrayRef values) { push_list(key, values); }

void push_value(PlanKey& key, const c10::IValue& v) {
  if (v.isInt()) {
    const auto number = static_cast<uint64_t>(v.toInt());
    if (number >= kEscape) key.push(kEscape);
    key.push(number);
  } else if (v.isNone()) {
    key.push(kNone);
  } else if (v.isBool()) {
    key.push(kBool + v.toBool());
  } else if (v.isIntList()) {
    push_list(key, v.toIntList());
  } else if (v.isString()) {
    key.push(kText);
    key.push_text(v.toStringRef());
  } else if (v.isBoolList()) {
    const auto list = v.toBoolList();
    key.push(kBools);
    uint64_t bits = 1;
    for (size_t i = 0; i < list.size(); ++i) bits = bits << 1 | static_cast<uint64_t>(list.get(i));
    key.push(bits);
  } else if (!v.isDevice()) {
    key.push(kText);
    key.push_text(c10::str(v));
  }
}

}  // namespace weft
