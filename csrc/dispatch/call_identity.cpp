#include "dispatch/call_identity.h"

#include <c10/util/StringUtil.h>

#include <atomic>
#include <bit>
#include <limits>

#include "comm/agree/check_same.h"
#include "comm/agree/settings.h"
#include "tensor/op_history.h"
#include "tensor/sharded.h"

namespace weft {
namespace {

constexpr int64_t kSampled = 128;  // words of a plain operand: as much as a small op costs

std::atomic<bool> check_whole{false};

// Of an argument that is no tensor. What may rightly differ between ranks (a device, a generator) counts as nothing.
uint64_t hash_of(const c10::IValue& v) {
  if (v.isInt()) return static_cast<uint64_t>(v.toInt());
  if (v.isDouble()) return std::bit_cast<uint64_t>(v.toDouble());
  if (v.isBool()) return 2 + v.toBool();
  if (v.isIntList()) {
    const auto list = v.toIntList();
    uint64_t h = list.size();
    for (size_t i = 0; i < list.size(); ++i) h = mix(h, static_cast<uint64_t>(list.get(i)));
    return h;
  }
  if (v.isString()) return hash_text(v.toStringRef());
  if (v.isDoubleList()) {
    uint64_t h = 5;
    for (double d : v.toDoubleVector()) h = mix(h, std::bit_cast<uint64_t>(d));
    return h;
  }
  if (v.isBoolList()) {
    uint64_t h = 7;
    for (bool b : v.toBoolList()) h = mix(h, b);
    return h;
  }
  if (v.isComplexDouble()) {
    const auto z = v.toComplexDouble();
    return mix(mix(17, std::bit_cast<uint64_t>(z.real())), std::bit_cast<uint64_t>(z.imag()));
  }
  if (v.isList()) {  // of numbers, of lists
    uint64_t h = 13;
    for (const c10::IValue& item : v.toListRef()) h = mix(h, hash_of(item));
    return h;
  }
  return 11;
}

// What a call is made of.
class Parts {
 public:
  explicit Parts(const OpInfo& op) : op_(op) {}

  void add_tensor(const at::Tensor& t, size_t argument) {
    if (!t.defined()) {
      call_.tensors = mix(call_.tensors, 1);
    } else if (holds_shards(t)) {
      const ShardedTensorImpl& impl = sharded(t);
      call_.tensors = mix(call_.tensors, copied_ = impl.identity());
      if (path == nullptr) path = impl.interned_path();
      sharded_ = &impl;
    } else if (!op_.arguments[argument].written) {
      const uint64_t h = sample(t, kSampled);
      if (h == 0) return;
      call_.plain = mix(call_.plain, h);
      if (call_.plain_operand == nullptr) call_.plain_operand = op_.schema().arguments()[argument].name().c_str();
      if (C10_UNLIKELY(checks_plain())) compare(t, argument);
    }
  }
  void add_value(const c10::IValue& v) { call_.values = mix(call_.values, hash_of(v)); }

  Identity finish() {
    call_.name = op_.short_name.c_str();
    OpHistory::of_thread().add(call_);
    if (op_.copies) return copied_;
    return mix(mix(mix(op_.hash, call_.tensors), call_.values), call_.plain);
  }

  const std::string* path = nullptr;

 private:
  void compare(const at::Tensor& t, size_t argument) const {
    // Within another op it was compared as an operand of that, or made by it; without a mesh nothing is sharded yet.
    if (RunningOp::current() != nullptr || sharded_ == nullptr) return;
    const uint64_t whole = sample(t.is_cpu() ? t : t.cpu(), std::numeric_limits<int64_t>::max());
    comm::check_same({static_cast<int64_t>(whole)},
                     c10::str("[", op_.short_name, "] the plain operand '", op_.schema().arguments()[argument].name(),
                              "' of shape ", t.sizes(), " counts as the same value on all ranks, and"),
                     sharded_->layout()->mesh());
  }

  const OpInfo& op_;
  OpHistory::Op call_;
  Identity copied_ = 0;                         // the last operand's: one that copies has one operand
  const ShardedTensorImpl* sharded_ = nullptr;  // the last one; its layout may have to be waited for
};

}  // namespace

bool checks_plain() { return check_whole.load(std::memory_order_relaxed); }
void set_check_plain(bool on) {
  check_whole.store(on, std::memory_order_relaxed);
  comm::register_uniform_setting("check_plain", on ? "on" : "");
}

CallIdentity identify(const OpInfo& op, const c10::IValue* arguments) {
  const at::Tensor none;
  Parts parts(op);
  for (size_t a = 0; a < op.arguments.size(); ++a) {
    const c10::IValue& v = arguments[a];
    if (op.arguments[a].kind == OpInfo::Kind::tensor) {
      parts.add_tensor(v.isTensor() ? v.toTensor() : none, a);
    } else if (op.arguments[a].kind == OpInfo::Kind::value) {
      parts.add_value(v);
    } else if (v.isList()) {
      // By reference: a list's own interface counts each tensor up and down.
      for (const c10::IValue& item : v.toListRef()) parts.add_tensor(item.isTensor() ? item.toTensor() : none, a);
    }
  }
  return {parts.finish(), parts.path};
}

}  // namespace weft
