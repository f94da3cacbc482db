#pragma once
// Which call of an op this is, as the identity of its results (tensor/identity.h).
#include <string>

#include "rules/op_info.h"
#include "tensor/identity.h"

namespace weft {

struct CallIdentity {
  Identity identity = 0;
  const std::string* path = nullptr;  // of the first operand that is a tagged variable; null: none is
};

/// Of a call with these arguments, of which there are as many as the op has. Of its plain operands on CPUs a sample of
/// the values counts. Puts it into the thread's history. Where plain operands are to be compared (`set_check_plain`),
/// raises the same ValueError on all ranks where they differ.
CallIdentity identify(const OpInfo& op, const c10::IValue* arguments);

/// Whether each plain operand of an op on sharded tensors is compared between the ranks, whole and at once: a
/// collective each. Off: a sample of its values is, with the next collective.
bool checks_plain();
void set_check_plain(bool on);

}  // namespace weft
