// torch.ops.weft. Registered by a guarded installer, not by static macros: a second copy of the library must leave the
// first one and the process alone.
#include <torch/library.h>
#include <weft/weft.h>

#include <tuple>
#include <utility>
#include <vector>

#include "base/error_codes.h"
#include "base/quote.h"
#include "base/write_file.h"
#include "classes.h"
#include "comm/lockstep/apart.h"
#include "comm/wire/buffer.h"
#include "debug/compute_log.h"
#include "debug/memory_log.h"
#include "debug/trace.h"
#include "dispatch/call_identity.h"
#include "gradient/gradient_buckets.h"
#include "kernels/install.h"
#include "ops.h"
#include "plan/cache.h"
#include "plan/frozen.h"
#include "plan/gather.h"
#include "plan/strict.h"
#include "random/mode.h"
#include "redistribute/gather_ahead.h"
#include "redistribute/tensors.h"
#include "rules/describe.h"
#include "rules/registry.h"
#include "rules/user_rules.h"
#include "tensor/op_history.h"

namespace weft {
namespace {

using Strings = std::vector<std::string>;

std::string set_random_mode(const std::string& mode) {
  TORCH_CHECK_VALUE(mode == "counter" || mode == "replay", "[W029] random_mode: ", quote(mode),
                    " is not a mode; known: counter, replay");
  const bool counter = random::mode() == random::Mode::counter;
  random::set_mode(mode == "counter" ? random::Mode::counter : random::Mode::replay);
  return counter ? "counter" : "replay";
}

using Numbers = std::vector<int64_t>;
using TraceColumns = std::tuple<Strings, Strings, Strings, Numbers, Strings, Numbers, Numbers, Numbers>;
TraceColumns stop_trace(int64_t number) {
  TraceColumns columns;
  auto& [ops, kinds, axes, bytes, paths, starts, durations, sequences] = columns;
  for (TraceRow& row : trace_stop(number)) {
    ops.push_back(std::move(row.op));
    kinds.push_back(std::move(row.kind));
    axes.push_back(std::move(row.axis));
    bytes.push_back(row.bytes);
    paths.push_back(std::move(row.path));
    starts.push_back(row.start);
    durations.push_back(row.duration);
    sequences.push_back(row.sequence);
  }
  return columns;
}

std::tuple<Numbers, Numbers, Strings, Strings> stop_memory_log() {
  std::tuple<Numbers, Numbers, Strings, Strings> columns;
  auto& [blocks, bytes, ops, paths] = columns;
  for (const MemoryRow& row : memory_log_stop()) {
    blocks.push_back(row.block);
    bytes.push_back(row.bytes);
    ops.push_back(row.op != nullptr ? *row.op : "");
    paths.push_back(row.path != nullptr ? *row.path : "");
  }
  return columns;
}

std::tuple<Strings, Numbers, Numbers> stop_compute_log() {
  std::tuple<Strings, Numbers, Numbers> columns;
  auto& [ops, calls, all_ends] = columns;
  for (auto& [op, ends] : compute_log_stop()) {
    ops.push_back(std::move(op));
    calls.push_back(static_cast<int64_t>(ends.size()));
    all_ends.insert(all_ends.end(), ends.begin(), ends.end());
  }
  return columns;
}

// What one rank runs alone must not be in what ranks compare.
std::vector<OpHistory>& histories_aside() {
  static thread_local std::vector<OpHistory> aside;
  return aside;
}

std::tuple<Strings, Strings, Numbers> stop_gather_log() {
  std::tuple<Strings, Strings, Numbers> columns;
  for (GatheredCall& call : gather_log_stop()) {
    std::get<0>(columns).push_back(std::move(call.op));
    std::get<1>(columns).push_back(std::move(call.reason));
    std::get<2>(columns).push_back(call.bytes);
  }
  return columns;
}

// Values of a tuple, as the op's schema has them: an empty list has no type of its own when it comes as Any.
std::string bind_rule(const std::string& name, const std::string& text, const c10::IValue& arguments,
                      const c10::IValue& results) {
  const c10::OperatorHandle op = op_named(name);
  std::vector<c10::IValue> values;
  for (const c10::IValue& v : arguments.toTupleRef().elements()) {
    const bool empty = v.isTuple() && v.toTupleRef().elements().empty();
    values.push_back(empty ? c10::IValue(std::vector<int64_t>{}) : v);
  }
  return rules::describe_bound(op, text, values, results.toTupleRef().elements().vec());
}

// What is recorded of a program as it runs.
void define_logs(torch::Library& m) {
  const auto def = [&m](const char* schema, auto function) { define_op(m, schema, function); };
  // Begins a trace of this process's collectives; its number is for trace_stop.
  def("trace_start() -> int", []() { return trace_start(); });
  // Ends it. A row for each collective: the op that asked for it, its kind, the mesh axis, bytes, the variable; in
  // nanoseconds start and duration; its number of all.
  def("trace_stop(int trace) -> (str[] op, str[] kind, str[] axis, int[] bytes, str[] path, int[] start, "
      "int[] duration, int[] sequence)",
      &stop_trace);
  def("_memory_log_start() -> ()", []() { memory_log_start(); });
  def("_memory_log_length() -> int", []() { return memory_log_length(); });
  def("_memory_log_stop() -> (int[] block, int[] bytes, str[] op, str[] path)", &stop_memory_log);
  def("_memory_block(Tensor tensor) -> int", [](const at::Tensor& tensor) { return memory_block(tensor); });
  def("_compute_log_start() -> ()", []() { compute_log_start(); });
  def("_compute_log_stop() -> (str[] op, int[] calls, int[] ends)", &stop_compute_log);
  def("_forget_simulated() -> ()", []() {
    forget_simulated_backward();
    forget_simulated_gathers();
    forget_simulated_moves();
    comm::drop_simulated_buffers();
  });
  // What this rank does by itself until _end_apart is none of the program's that all ranks run.
  def("_begin_apart() -> ()", []() {
    histories_aside().push_back(std::exchange(OpHistory::of_thread(), OpHistory()));
    comm::begin_apart();
  });
  def("_end_apart() -> ()", []() {
    comm::end_apart();
    OpHistory::of_thread() = histories_aside().back();
    histories_aside().pop_back();
  });
  // Bytes, in place of what is there (base/write_file.h).
  def("_write_file(str path, Tensor content) -> ()", [](const std::string& path, const at::Tensor& content) {
    write_file(path, {static_cast<const char*>(content.const_data_ptr()), static_cast<size_t>(content.nbytes())});
  });
  def("_gather_log_start() -> ()", []() { gather_log_start(); });
  def("_gather_log_stop() -> (str[] op, str[] reason, int[] bytes)", &stop_gather_log);
}

void define_switches(torch::Library& m) {
  const auto def = [&m](const char* schema, auto function) { define_op(m, schema, function); };
  def("random_mode(str mode) -> str", &set_random_mode);
  def("check_plain(bool on) -> bool", [](bool on) {
    const bool before = checks_plain();
    set_check_plain(on);
    return before;
  });
  // Returns what it was before.
  def("strict(bool on, str[]? allow=None) -> (bool on, str[] allow)",
      [](bool on, std::optional<std::vector<std::string>> allow) {
        Strict before = set_strict({on, allow ? std::move(*allow) : std::vector<std::string>()});
        return std::make_tuple(before.on, std::move(before.allowed));
      });
  def("frozen(bool on) -> bool", [](bool on) { return set_frozen(on); });
  // -1: never.
  def("warn_relayout(int bytes) -> int", [](int64_t bytes) { return warn_relayout(bytes); });
  def("overlap(int budget, bool keep=False) -> (int budget, bool keep)", [](int64_t budget, bool keep) {
    const int64_t before = overlap(budget);
    return std::make_tuple(before, keep_gathered(keep));
  });
  // How many bytes a pass's first bucket of gathers holds, and a later one.
  def("_gather_bytes() -> (int first, int next)", []() { return std::make_tuple(kFirstGatherBytes, kGatherBytes); });
  def("check_finite(bool on) -> bool", [](bool on) { return check_finite(on); });
}

// Ops that tell of plans, rules and errors.
void define_knowledge(torch::Library& m) {
  const auto def = [&m](const char* schema, auto function) { define_op(m, schema, function); };
  // Ops that found no plan, and plans stored, since the library was loaded.
  def("plan_counts() -> (int, int)", []() {
    const PlanCounts c = plan_counts();
    return std::make_tuple(static_cast<int64_t>(c.misses), static_cast<int64_t>(c.stored));
  });
  def("register_rule(str op, str text) -> ()",
      [](const std::string& op, const std::string& text) { register_rule(op, text); });
  def("_bind_rule(str op, str text, Any arguments, Any results) -> str", &bind_rule);
  // What is known of the code that begins an error's text (weft/errors.h); empty: it has none.
  def("explain_error(str message) -> str", [](const std::string& message) { return explain_error(message); });
  def("_coded(str code, str text) -> str",
      [](const std::string& code, const std::string& text) { return coded(code, text); });
  // A line for each rule: the op, and the rule's text.
  def("rules() -> str[]", []() {
    std::vector<std::string> lines;
    for (const auto* r : rules::all()) lines.push_back(r->op + ": " + r->text);
    return lines;
  });
}

[[maybe_unused]] const bool installed = [] {
  install([](torch::Library& library) {
    register_classes();
    register_checkpoint_classes();
    register_traced_classes();
    define_tensor_ops(library);
    define_traced_ops(library);
    define_process_ops(library);
    define_layout_ops(library);
    define_checkpoint_ops(library);
    define_logs(library);
    define_switches(library);
    define_knowledge(library);
    install_trace();
  });
  return true;
}();

}  // namespace
}  // namespace weft
