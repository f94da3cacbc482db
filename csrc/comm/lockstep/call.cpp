#include "comm/lockstep/call.h"

#include <c10/util/StringUtil.h>

#include "base/hash.h"
#include "layout/type_text.h"

namespace weft::comm {

Call Call::of(const Event& event) {
  Call call;
  call.event = event;
  // The outermost op is what the program asked for; what concerns a variable is told nearest to it.
  for (const RunningOp* op = RunningOp::current(); op != nullptr; op = op->outer()) {
    call.op = op->name();
    if (call.path == nullptr) call.path = op->path();
    call.identity = mix(call.identity, op->identity());
  }
  if (const Moving* moving = Moving::current()) {
    call.from = moving->from;
    call.to = moving->to;
    call.sizes.assign(moving->sizes.begin(), moving->sizes.end());
  }
  if (const Comparing* comparing = Comparing::current()) call.comparing = comparing->what;
  return call;
}

std::string Call::str() const {
  if (event.mesh == nullptr) return event.kind;
  std::string text = event.kind;
  if (event.reduction != Reduction::none) text += c10::str(' ', to_string(event.reduction));
  text += c10::str(" over '", event.mesh->axis_name(event.axis), "' of ", event.mesh->str());
  if (op != nullptr) text += c10::str(" for [", op, "]");
  if (path != nullptr) text += c10::str(" of ", *path);
  if (!comparing.empty()) return text + " that compares \"" + comparing + '"';
  if (from == nullptr) return text + ", " + c10::toString(event.dtype);
  return text + ", " + type_text(event.dtype, sizes, from) + " to " + type_text(event.dtype, sizes, to);
}

uint64_t Call::hash() const {
  uint64_t h = hash_text(event.kind);
  if (event.mesh == nullptr) return mix(h, identity);
  h = mix(h, event.mesh->hash());
  h = mix(h, static_cast<uint64_t>(event.axis) << 32 | static_cast<uint64_t>(event.reduction) << 8 |
                 static_cast<uint64_t>(event.dtype));
  h = mix(h, identity);
  if (from == nullptr) return h;
  h = mix(mix(h, from->hash()), to->hash());
  for (int64_t size : sizes) h = mix(h, static_cast<uint64_t>(size));
  return h;
}

}  // namespace weft::comm
