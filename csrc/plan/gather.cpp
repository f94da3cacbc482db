#include "plan/gather.h"

#include <c10/util/Exception.h>
#include <c10/util/StringUtil.h>

#include <mutex>
#include <utility>

#include "comm/lockstep/failure.h"
#include "mesh/context.h"
#include "mesh/log.h"
#include "plan/strict.h"
#include "tensor/sharded.h"

namespace weft {
namespace {
struct GatherLog {
  std::mutex mutex;
  bool open = false;
  std::vector<GatheredCall> calls;
  bool add(const std::string& op, const std::string& reason, int64_t bytes) {
    std::lock_guard<std::mutex> lock(mutex);
    if (open) calls.push_back({op, reason, bytes});
    return open;
  }
};
GatherLog& gather_log() {
  static GatherLog* log = new GatherLog();
  return *log;
}
}  // namespace

int64_t bytes_to_gather(const at::Tensor& tensor) {
  const bool everywhere = !holds_shards(tensor) || sharded(tensor).layout()->is_replicated();
  return everywhere ? 0 : static_cast<int64_t>(tensor.nbytes());
}

void warn_gather(const std::string& op, const std::string& reason, int64_t bytes) {
  if (bytes == 0) return;
  if (strict()) {
    comm::run_local(op, [&] {  // the others may not be strict
      TORCH_CHECK_NOT_IMPLEMENTED(false, "[W062] [", op, "] ", reason, ", so its inputs would have to be gathered (",
                                  bytes,
                                  " bytes); strict mode refuses that: lay the inputs out anew, register a rule, or "
                                  "call weft.strict(False)");
    });
  }
  if (gather_log().add(op, reason, bytes)) return;
  if (log_on(LogLevel::debug)) log(LogLevel::debug, "[", op, "] run -> gathered (", bytes, " bytes)");
  if (context().rank() != 0) return;  // all ranks gather alike, so that one of them is enough to tell
  warn_once("gather:" + op, c10::str("[W063] [", op, "] ", reason, ": its inputs are gathered (", bytes,
                                     " bytes the first time) and every rank runs it whole"));
}

void gather_log_start() {
  GatherLog& log = gather_log();
  std::lock_guard<std::mutex> lock(log.mutex);
  log.open = true;
}

std::vector<GatheredCall> gather_log_stop() {
  GatherLog& log = gather_log();
  std::lock_guard<std::mutex> lock(log.mutex);
  log.open = false;
  return std::exchange(log.calls, {});
}

}  // namespace weft
