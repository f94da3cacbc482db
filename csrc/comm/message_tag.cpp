#include "comm/message_tag.h"

#include "comm/guard.h"

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

// TORCH_DISTRIBUTED_DEBUG=DETAIL puts a backend of c10d's around Gloo's. `wrapped` keeps what is within.
c10d::Backend& within(c10d::Backend& backend, c10::intrusive_ptr<c10d::Backend>& wrapped) {
  auto* wrapper = dynamic_cast<c10d::ProcessGroupWrapper*>(&backend);
  if (wrapper == nullptr) return backend;
  wrapped = wrapper->getWrappedPg();
  return *wrapped;
}

}  // namespace

bool has_tags(c10d::Backend& backend) {
  c10::intrusive_ptr<c10d::Backend> wrapped;
  c10d::Backend& inner = within(backend, wrapped);
  if (auto* tagged = dynamic_cast<Tagged*>(&inner)) return tagged->has_tags();
  return dynamic_cast<c10d::ProcessGroupGloo*>(&inner) != nullptr;
}

MessageTag::MessageTag(c10d::Backend& backend, uint64_t fingerprint) {
  if (!guarded()) return;
  c10d::Backend& inner = within(backend, wrapped_);
  const auto tag = static_cast<uint32_t>(fingerprint ^ fingerprint >> 32);
  if (auto* gloo = dynamic_cast<c10d::ProcessGroupGloo*>(&inner)) {
    counter_ = &Numbering::of(*gloo);
    kept_ = *counter_;
    *counter_ = tag;
  } else if (auto* tagged = dynamic_cast<Tagged*>(&inner); tagged != nullptr && tagged->has_tags()) {
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
