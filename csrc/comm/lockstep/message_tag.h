#pragma once
// Messages of different collectives must not meet. Gloo matches those of two ranks by kind and by a tag, for which c10d
// takes the number of collectives that the group has begun: ranks that part exchange each other's data unseen, or end
// in Gloo's own thread where the lengths differ. With a hash of what is asked for as the tag they wait instead, and are
// told. Of two collectives that differ one pair in 2^32 has the same tag.
#include <torch/csrc/distributed/c10d/Backend.hpp>

#include <cstdint>

namespace weft::comm {

/// A backend of our own whose messages carry the tag.
class Tagged {
 public:
  virtual ~Tagged() = default;
  virtual bool has_tags() const = 0;
  uint32_t tag = 0;
  bool is_set = false;
};

/// Whether messages of the backend carry a tag.
bool has_tags(c10d::Backend& backend);

/// While it lives, a collective that this thread begins goes by that tag, where the backend has tags; those that others
/// begin in the group before and after it go by the numbers that they would have without.
class MessageTag {
 public:
  MessageTag(c10d::Backend& backend, uint64_t fingerprint);
  ~MessageTag();
  MessageTag(const MessageTag&) = delete;
  MessageTag& operator=(const MessageTag&) = delete;

 private:
  uint32_t* counter_ = nullptr;  // of c10d's Gloo; null: not that
  uint32_t kept_ = 0;
  Tagged* tagged_ = nullptr;
};

}  // namespace weft::comm
