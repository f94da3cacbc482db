#pragma once
// Which call of an op this is, as the identity of its results (tensor/identity.h).
#include <string>

#include "rules/op_info.h"
#include "tensor/identity.h"
#include "tensor/op_history.h"
#include "tensor/sharded.h"

namespace weft {

struct CallIdentity {
  Identity identity = 0;
  const std::string* path = nullptr;  // of the first operand that is a tagged variable; null: none is
};

/// Identifies a call whose arguments are told one by one, those of each kind in order. Of its plain operands on CPUs a
/// sample of the values counts, but not of one that is scaled by zero, which the op does not read (by addmm's `beta`).
/// Where plain operands are to be compared (`set_check_plain`), raises the same ValueError on all ranks where they
/// differ.
class CallIdentifier {
 public:
  explicit CallIdentifier(const OpInfo& op) : op_(op) {}
  void add_tensor(const at::Tensor& tensor, size_t argument);
  void add_value(const c10::IValue& value, size_t argument);
  /// The same as add_value of the list.
  void add_ints(c10::IntArrayRef values);
  /// Puts the call into the thread's history.
  CallIdentity finish();

 private:
  void add_plain(const at::Tensor& plain, size_t argument);
  void compare(const at::Tensor& plain, size_t argument) const;

  const OpInfo& op_;
  OpHistory::Op call_;
  Identity copied_ = 0;                         // the last operand's: one that copies has one operand
  const std::string* path_ = nullptr;           // of the first operand that is a tagged variable
  const ShardedTensorImpl* sharded_ = nullptr;  // the last one; its layout may have to be waited for
  const at::Tensor* scaled_ = nullptr;          // the first operand, plain, until its scale is told
  int scale_ = -1;                              // the argument that scales it
};

/// The identity of a call with these arguments, of which there are as many as the op has.
CallIdentity identify(const OpInfo& op, const c10::IValue* arguments);

/// Whether each plain operand of an op on sharded tensors is compared between the ranks, whole and at once: a
/// collective each. Off: a sample of its values is, with the next collective.
bool checks_plain();
void set_check_plain(bool on);

}  // namespace weft
