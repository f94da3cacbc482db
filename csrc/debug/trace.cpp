#include "debug/trace.h"

#include <c10/util/Exception.h>
#include <comm/collectives.h>
#include <mesh/context.h>
#include <tensor/sharded.h>

#include <map>
#include <mutex>

#include "debug/log.h"

namespace weft {
namespace {

struct Running {
  std::string op, path;
};
thread_local std::vector<Running> running;

// The traces of one rank.
struct Traces : ContextState {
  std::mutex mutex;
  std::map<int64_t, std::vector<TraceRow>> open;
  int64_t next = 0;
};

void observe(const comm::Event& event) {
  if (trace_detail::watchers.load(std::memory_order_relaxed) == 0) return;
  TraceRow row;
  row.kind = event.kind;
  row.axis = event.mesh->axis_name(event.axis);
  row.bytes = event.bytes;
  if (!running.empty()) row.op = running.front().op;
  for (size_t i = running.size(); i-- > 0 && row.path.empty();) row.path = running[i].path;
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

std::string first_path(const c10::IValue& value) {
  if (value.isTensor()) {
    const ShardedTensorImpl* impl = sharded_impl(value.toTensor());
    return impl != nullptr ? impl->path() : std::string();
  }
  if (!value.isTensorList()) return {};
  for (const at::Tensor& t : value.toTensorVector()) {
    const ShardedTensorImpl* impl = sharded_impl(t);
    if (impl != nullptr && !impl->path().empty()) return impl->path();
  }
  return {};
}

}  // namespace

void CurrentOp::begin(const std::string& name, const c10::IValue* arguments, size_t count) {
  std::string path;
  for (size_t i = 0; i < count && path.empty(); ++i) path = first_path(arguments[i]);
  begin(name, path);
}

void CurrentOp::begin(const std::string& name, const std::string& path) {
  running.push_back({name, path});
  begun_ = true;
}

void CurrentOp::end() { running.pop_back(); }

int64_t trace_start() {
  Traces& traces = context().state<Traces>();
  std::lock_guard<std::mutex> lock(traces.mutex);
  traces.open[traces.next];
  trace_detail::watchers.fetch_add(1, std::memory_order_relaxed);
  return traces.next++;
}

std::vector<TraceRow> trace_stop(int64_t trace) {
  Traces& traces = context().state<Traces>();
  std::lock_guard<std::mutex> lock(traces.mutex);
  const auto it = traces.open.find(trace);
  TORCH_CHECK_VALUE(it != traces.open.end(), "trace_stop: no trace number ", trace, " is running");
  std::vector<TraceRow> rows = std::move(it->second);
  traces.open.erase(it);
  trace_detail::watchers.fetch_sub(1, std::memory_order_relaxed);
  return rows;
}

void install_trace() {
  comm::set_observer(&observe);
  if (log_on(LogLevel::debug)) trace_detail::watchers.fetch_add(1, std::memory_order_relaxed);
}

}  // namespace weft
