#include "debug/trace.h"

#include <c10/util/Exception.h>

#include <atomic>
#include <map>
#include <mutex>

#include "comm/lockstep/event.h"
#include "mesh/context.h"
#include "mesh/log.h"
#include "tensor/identity.h"

namespace weft {
namespace {

std::atomic<int> watchers{0};

// The traces of one rank.
struct Traces : ContextState {
  std::mutex mutex;
  std::map<int64_t, std::vector<TraceRow>> open;
  int64_t next = 0;
};

void observe(const comm::Event& event) {
  if (watchers.load(std::memory_order_relaxed) == 0) return;
  TraceRow row;
  row.kind = event.kind;
  row.axis = event.mesh->axis_name(event.axis);
  row.bytes = event.bytes;
  // The outermost op, and the innermost path.
  for (const RunningOp* op = RunningOp::current(); op != nullptr; op = op->outer()) {
    row.op = op->name();
    if (row.path.empty() && op->path() != nullptr) row.path = *op->path();
  }
  if (log_on(LogLevel::debug)) {
    const std::string what = c10::str(row.kind, " over '", row.axis, "' of ", event.mesh->str(), " for ",
                                      row.op.empty() ? "no op" : row.op, row.path.empty() ? "" : " on ", row.path);
    if (log_detail::first_time("collective:" + what)) {
      log(LogLevel::debug, what, ", ", row.bytes, " bytes (shown the first time only)");
    }
  }
  Traces& traces = context().state<Traces>();
  std::lock_guard<std::mutex> lock(traces.mutex);
  for (auto& [number, rows] : traces.open) rows.push_back(row);
}

}  // namespace

int64_t trace_start() {
  Traces& traces = context().state<Traces>();
  std::lock_guard<std::mutex> lock(traces.mutex);
  traces.open[traces.next];
  watchers.fetch_add(1, std::memory_order_relaxed);
  return traces.next++;
}

std::vector<TraceRow> trace_stop(int64_t trace) {
  Traces& traces = context().state<Traces>();
  std::lock_guard<std::mutex> lock(traces.mutex);
  const auto it = traces.open.find(trace);
  TORCH_CHECK_VALUE(it != traces.open.end(), "trace_stop: no trace number ", trace, " is running");
  std::vector<TraceRow> rows = std::move(it->second);
  traces.open.erase(it);
  watchers.fetch_sub(1, std::memory_order_relaxed);
  return rows;
}

void install_trace() {
  comm::observer.store(&observe, std::memory_order_release);
  if (log_on(LogLevel::debug)) watchers.fetch_add(1, std::memory_order_relaxed);
}

}  // namespace weft
