#include "debug/trace.h"

#include <c10/util/Exception.h>
#include <torch/csrc/autograd/function.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <map>
#include <mutex>

#include "comm/lockstep/event.h"
#include "comm/wire/span.h"
#include "mesh/context.h"
#include "mesh/log.h"
#include "tensor/running.h"

namespace weft {
namespace {

std::atomic<int> watchers{0};

struct Open {
  std::vector<TraceRow> rows;
  std::vector<int64_t> numbers;  // of the rows' collectives, ascending
};

// The traces of one rank.
struct Traces : ContextState {
  std::mutex mutex;
  std::map<int64_t, Open> open;
  int64_t next = 0, collectives = 0;
};

int64_t now() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

// Nodes that accumulate gradients have the largest number there is, and are of no op.
int64_t running_sequence() {
  const auto node = torch::autograd::get_current_node();
  return node == nullptr || node->sequence_nr() > INT64_MAX ? -1 : static_cast<int64_t>(node->sequence_nr());
}

void observe(const comm::Event& event) {
  if (watchers.load(std::memory_order_relaxed) == 0) return;
  TraceRow row;
  row.kind = event.kind;
  row.axis = event.mesh->axis_name(event.axis);
  row.bytes = event.bytes;
  const RunningFor running = RunningFor::now();
  if (running.op != nullptr) row.op = running.op;
  if (running.path != nullptr) row.path = *running.path;
  row.sequence = running_sequence();
  if (log_on(LogLevel::debug)) {
    const std::string what = c10::str(row.kind, " over '", row.axis, "' of ", event.mesh->str(), " for ",
                                      row.op.empty() ? "no op" : row.op, row.path.empty() ? "" : " on ", row.path);
    if (log_detail::first_time("collective:" + what)) {
      log(LogLevel::debug, what, ", ", row.bytes, " bytes (shown the first time only)");
    }
  }
  Traces& traces = context().state<Traces>();
  std::lock_guard<std::mutex> lock(traces.mutex);
  row.start = now();
  const int64_t number = ++traces.collectives;
  for (auto& [trace, open] : traces.open) {
    open.rows.push_back(row);
    open.numbers.push_back(number);
  }
  comm::Span::number_next(number);
}

void ended(int64_t number) {
  Traces& traces = context().state<Traces>();
  std::lock_guard<std::mutex> lock(traces.mutex);
  const int64_t end = now();
  for (auto& [trace, open] : traces.open) {
    const auto it = std::lower_bound(open.numbers.begin(), open.numbers.end(), number);
    if (it == open.numbers.end() || *it != number) continue;
    TraceRow& row = open.rows[it - open.numbers.begin()];
    row.duration = end - row.start;
  }
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
  TORCH_CHECK_VALUE(it != traces.open.end(), "[W029] trace_stop: no trace number ", trace, " is running");
  std::vector<TraceRow> rows = std::move(it->second.rows);
  traces.open.erase(it);
  watchers.fetch_sub(1, std::memory_order_relaxed);
  return rows;
}

void install_trace() {
  comm::span_ended.store(&ended, std::memory_order_release);
  comm::observer.store(&observe, std::memory_order_release);
  if (log_on(LogLevel::debug)) watchers.fetch_add(1, std::memory_order_relaxed);
}

}  // namespace weft
