#include "comm/lockstep/message_tag.h"

#include "comm/lockstep/guard.h"
#include "comm/world/as_gloo.h"

#ifndef USE_C10D_GLOO
#define USE_C10D_GLOO  // without it the header below is empty
#endif
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>

namespace weft::comm {
namespace {

// c10d keeps the number that becomes the next collective's tag where classes derived from its own can reach it.
struct Numbering : c10d::ProcessGroupGloo {
  static uint32_t& of(c10d::ProcessGroupGloo& gloo) { return gloo.*(&Numbering::collectiveCounter_); }
};

}  // namespace

bool has_tags(c10d::Backend& backend) {
  if (auto* tagged = dynamic_cast<Tagged*>(&backend)) return tagged->has_tags();
  return as_gloo(backend) != nullptr;
}

MessageTag::MessageTag(c10d::Backend& backend, uint64_t fingerprint) {
  if (!guarded()) return;
  const auto tag = static_cast<uint32_t>(fingerprint ^ fingerprint >> 32);
  if (c10d::ProcessGroupGloo* gloo = as_gloo(backend)) {
    counter_ = &Numbering::of(*gloo);
    kept_ = *counter_;
    *counter_ = tag;
  } else if (auto* tagged = dynamic_cast<Tagged*>(&backend); tagged != nullptr && tagged->has_tags()) {
    tagged_ = tagged;
    tagged_->tag = tag;
    tagged_->is_set = true;
  }
}

MessageTag::~MessageTag() {
  if (counter_ != nullptr) *counter_ = kept_;
  if (tagged_ != nullptr) tagged_->is_set = false;
}

}  // namespace weft::comm
