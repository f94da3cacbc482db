#include "dispatch/call_identity.h"

#include <c10/util/StringUtil.h>

#include <atomic>
#include <bit>
#include <limits>

#include "comm/agree/check_same.h"
#include "comm/agree/settings.h"

namespace weft {
namespace {

std::atomic<bool> check_whole{false};

// A hash of an argument that is no tensor. What may rightly differ between ranks (a device, a generator) counts as
// nothing.
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

// The argument that scales what an op of core adds to a product; -1: it adds nothing so.
int scale_of_first(const OpInfo& op) {
  if (op.rules.empty() || op.short_name.find("::") != std::string::npos) return -1;
  const auto& operands = op.rules.front()->rule.operands;
  return !operands.empty() && operands[0].added_once ? op.argument("beta") : -1;
}

}  // namespace

bool checks_plain() { return check_whole.load(std::memory_order_relaxed); }
void set_check_plain(bool on) {
  check_whole.store(on, std::memory_order_relaxed);
  comm::register_uniform_setting("check_plain", on ? "on" : "");
}

void CallIdentifier::add_tensor(const at::Tensor& t, size_t argument) {
  if (!t.defined()) {
    call_.tensors = mix(call_.tensors, 1);
  } else if (holds_shards(t)) {
    const ShardedTensorImpl& impl = sharded(t);
    call_.tensors = mix(call_.tensors, copied_ = impl.identity());
    if (path_ == nullptr) path_ = impl.interned_path();
    sharded_ = &impl;
  } else if (!op_.arguments[argument].written) {
    if (argument == 0 && (scale_ = scale_of_first(op_)) >= 0) {
      scaled_ = &t;
    } else {
      add_plain(t, argument);
    }
  }
}

void CallIdentifier::add_plain(const at::Tensor& t, size_t argument) {
  const uint64_t h = sample(t, kOperandWords);
  if (h == 0) return;
  call_.plain = mix(call_.plain, h);
  if (call_.plain_operand == nullptr) call_.plain_operand = op_.schema().arguments()[argument].name().c_str();
  if (C10_UNLIKELY(checks_plain())) compare(t, argument);
}

void CallIdentifier::add_value(const c10::IValue& v, size_t argument) {
  call_.values = mix(call_.values, hash_of(v));
  if (C10_UNLIKELY(scaled_ != nullptr) && static_cast<int>(argument) == scale_) {
    if (!v.isScalar() || v.toScalar().toComplexDouble() != 0.) add_plain(*scaled_, 0);
  }
}

void CallIdentifier::add_ints(c10::IntArrayRef values) {
  uint64_t h = values.size();
  for (int64_t value : values) h = mix(h, static_cast<uint64_t>(value));
  call_.values = mix(call_.values, h);
}

CallIdentity CallIdentifier::finish() {
  call_.name = op_.short_name.c_str();
  OpHistory::of_thread().add(call_);
  if (op_.copies) return {copied_, path_};
  return {mix(mix(mix(op_.hash, call_.tensors), call_.values), call_.plain), path_};
}

void CallIdentifier::compare(const at::Tensor& t, size_t argument) const {
  // Within another op it was compared as an operand of that, or made by it; without a mesh nothing is sharded yet.
  if (RunningOp::current() != nullptr || sharded_ == nullptr) return;
  const uint64_t whole = sample(t.is_cpu() ? t : t.cpu(), std::numeric_limits<int64_t>::max());
  comm::check_same({static_cast<int64_t>(whole)},
                   c10::str("[", op_.short_name, "] the plain operand '", op_.schema().arguments()[argument].name(),
                            "' of shape ", t.sizes(), " counts as the same value on all ranks, and"),
                   sharded_->layout()->mesh());
}

CallIdentity identify(const OpInfo& op, const c10::IValue* arguments) {
  const at::Tensor none;
  CallIdentifier call(op);
  for (size_t a = 0; a < op.arguments.size(); ++a) {
    const c10::IValue& v = arguments[a];
    if (op.arguments[a].kind == OpInfo::Kind::tensor) {
      call.add_tensor(v.isTensor() ? v.toTensor() : none, a);
    } else if (op.arguments[a].kind == OpInfo::Kind::value) {
      call.add_value(v, a);
    } else if (v.isList()) {
      // They are taken by reference: a list's own interface counts each tensor up and down.
      for (const c10::IValue& item : v.toListRef()) call.add_tensor(item.isTensor() ? item.toTensor() : none, a);
    }
  }
  return call.finish();
}

}  // namespace weft
