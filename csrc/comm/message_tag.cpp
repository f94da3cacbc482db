#include "comm/message_tag.h"

#ifndef USE_C10D_GLOO
#define USE_C10D_GLOO  // without it the headers below are empty
#endif
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupWrapper.hpp>

namespace weft::comm {
namespace {

// c10d keeps the number that becomes the next collective's tag where classes derived from its own can reach it.
struct Numbering : c10d::ProcessGroupGloo {
  static uint32_t& of(c10d::ProcessGroupGloo& gloo) { return gloo.*(&Numbering::collectiveCounter_); }
};

}  // namespace

MessageTag::MessageTag(c10d::Backend& backend, uint64_t fingerprint) {
  // TORCH_DISTRIBUTED_DEBUG=DETAIL puts a backend of c10d's around Gloo's.
  if (auto* wrapper = dynamic_cast<c10d::ProcessGroupWrapper*>(&backend)) wrapped_ = wrapper->getWrappedPg();
  c10d::Backend& inner = wrapped_ ? *wrapped_ : backend;
  const auto tag = static_cast<uint32_t>(fingerprint ^ fingerprint >> 32);
  if (auto* gloo = dynamic_cast<c10d::ProcessGroupGloo*>(&inner)) {
    counter_ = &Numbering::of(*gloo);
    kept_ = *counter_;
    *counter_ = tag;
  } else if (auto* tagged = dynamic_cast<Tagged*>(&inner)) {
    tagged_ = tagged;
    tagged_->tag = tag;
    tagged_->has_tag = true;
  }
}

MessageTag::~MessageTag() {
  if (counter_ != nullptr) *counter_ = kept_;
  if (tagged_ != nullptr) tagged_->has_tag = false;
}

}  // namespace weft::comm
