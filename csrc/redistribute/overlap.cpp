// The switches of gathers ahead of their use.
#include <c10/util/Exception.h>
#include <weft/switches.h>

#include <string>

#include "comm/agree/settings.h"
#include "redistribute/gather_ahead.h"

namespace weft {
namespace {

// As settings are compared: nothing where it is as at first.
void register_overlap() {
  const int64_t bytes = gathered_ahead.load(std::memory_order_relaxed);
  std::string text = bytes == kGatheredAhead ? "" : std::to_string(bytes);
  if (gathered_kept.load(std::memory_order_relaxed)) text += " keep";
  comm::register_uniform_setting("overlap", text);
}

}  // namespace

int64_t overlap(int64_t bytes) {
  TORCH_CHECK_VALUE(bytes >= 0, "[W039] overlap: a budget of ", bytes,
                    " bytes; give 0 (nothing is gathered ahead) or more");
  const int64_t before = gathered_ahead.exchange(bytes, std::memory_order_relaxed);
  register_overlap();
  return before;
}

bool keep_gathered(bool keep) {
  const bool before = gathered_kept.exchange(keep, std::memory_order_relaxed);
  register_overlap();
  return before;
}

}  // namespace weft
