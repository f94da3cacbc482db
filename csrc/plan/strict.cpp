#include "plan/strict.h"

#include <c10/util/Exception.h>
#include <c10/util/StringUtil.h>

#include <memory>
#include <mutex>
#include <utility>

#include "comm/agree/settings.h"
#include "comm/lockstep/failure.h"
#include "layout/type_text.h"
#include "mesh/context.h"
#include "mesh/log.h"
#include "paths/layout_map_state.h"
#include "paths/pattern.h"
#include "redistribute/route.h"
#include "tensor/sharded.h"

namespace weft {
namespace {

struct Settings {
  std::mutex mutex;
  Strict strict;
  std::shared_ptr<const PathMatcher> allowed;
  int64_t warn_bytes = -1;
};
Settings& settings() {
  static Settings* s = new Settings();
  return *s;
}

void note(const Settings& s) {
  strict_detail::watching.store(s.strict.on || s.warn_bytes >= 0, std::memory_order_relaxed);
  const std::string but = s.strict.allowed.empty() ? "" : ", but for " + c10::Join(", ", s.strict.allowed);
  comm::register_uniform_setting("strict", s.strict.on ? "on" + but : "");
}

// Whether parts of other ranks are needed, other than to be reduced.
bool moves(const at::Tensor& operand, Layout from, Layout to) {
  const auto sizes = operand.sizes();
  return !relayout::only_slices(relayout::state_of(from->without_partial(), sizes),
                                relayout::state_of(to->without_partial(), sizes));
}

}  // namespace

bool strict() {
  Settings& s = settings();
  std::lock_guard<std::mutex> lock(s.mutex);
  return s.strict.on;
}

Strict set_strict(Strict strict) {
  for (const std::string& pattern : strict.allowed) check_pattern(pattern);
  Settings& s = settings();
  std::lock_guard<std::mutex> lock(s.mutex);
  std::swap(s.strict, strict);
  s.allowed = std::make_shared<PathMatcher>(s.strict.allowed, PathMatcher::whole);
  note(s);
  return strict;
}

int64_t warn_relayout(int64_t bytes) {
  TORCH_CHECK_VALUE(bytes >= -1, "[W030] warn_relayout: ", bytes, " bytes; give 0 or more, or -1 for never");
  Settings& s = settings();
  std::lock_guard<std::mutex> lock(s.mutex);
  std::swap(s.warn_bytes, bytes);
  note(s);
  return bytes;
}

bool refuses_relayout(const std::string& path) {
  Settings& s = settings();
  std::unique_lock<std::mutex> lock(s.mutex);
  if (!s.strict.on) return false;
  const auto allowed = s.allowed;
  lock.unlock();
  return path.empty() || allowed == nullptr || allowed->match(forms_of(path, path)).empty();
}

void watch_relayout(const std::string& op, const at::Tensor& operand, Layout from, Layout to) {
  if (from == to || !moves(operand, from, to)) return;
  const std::string path = holds_shards(operand) ? sharded(operand).path() : "";
  Settings& s = settings();
  std::unique_lock<std::mutex> lock(s.mutex);
  const bool strict = s.strict.on;
  const int64_t warn_bytes = s.warn_bytes;
  lock.unlock();
  const bool refuses = refuses_relayout(path);
  if (strict && !refuses) return;
  const auto dtype = operand.scalar_type();
  const int64_t bytes =
      relayout::shard_bytes(relayout::state_of(to, operand.sizes()),
                            {to->mesh(), operand.sizes(), static_cast<int64_t>(c10::elementSize(dtype))});
  const std::string what = c10::str("[", op, "] ", path.empty() ? "an operand" : path, " ",
                                    type_text(dtype, operand.sizes(), from), " has to be laid out anew as ",
                                    type_text(dtype, operand.sizes(), to), " (", bytes, " bytes on each rank");
  if (refuses) {
    comm::run_local(op, [&] {  // the others may not be strict
      TORCH_CHECK_NOT_IMPLEMENTED(false, "[W062] ", what,
                                  "); strict mode refuses that: choose layouts that go together, call "
                                  "weft.distribute_tensor on it first, name the "
                                  "variable in weft.strict(allow=...), or call weft.strict(False)");
    });
  }
  if (warn_bytes < 0 || bytes < warn_bytes || context().rank() != 0) return;
  warn_once(what, "[W072] ", what, ", the first time)");
}

}  // namespace weft
