// All of torch.ops.weft: every schema in one table. Registered by a guarded installer, not by static macros: a second
// copy of the library must leave the first one and the process alone.
#include <torch/csrc/distributed/c10d/GroupRegistry.hpp>
#include <torch/csrc/jit/api/module.h>
#include <torch/library.h>
#include <weft/weft.h>

#include <cstdlib>

#include "base/quote.h"
#include "checkpoint_ops.h"
#include "classes.h"
#include "comm/agree/check_same.h"
#include "comm/lockstep/failure.h"
#include "comm/lockstep/guard.h"
#include "comm/world/initialize.h"
#include "comm/world/last_work.h"
#include "comm/world/timeouts.h"
#include "debug/trace.h"
#include "dispatch/call_identity.h"
#include "dispatch/install.h"
#include "dispatch/opaque.h"
#include "mesh/context.h"
#include "module/set_data.h"
#include "module/variables.h"
#include "paths/adapter.h"
#include "plan/cache.h"
#include "plan/gather.h"
#include "random/mode.h"
#include "redistribute/tensors.h"
#include "rules/describe.h"
#include "rules/registry.h"
#include "rules/user_rules.h"
#include "tensor/sharded.h"

namespace weft {
namespace {

using Strings = std::vector<std::string>;
using OptionalMap = std::optional<LayoutMapPtr>;

std::shared_ptr<const LayoutMap> map_from(const OptionalMap& map) { return map && *map ? (*map)->map : nullptr; }
OptionalMap map_to(std::shared_ptr<const LayoutMap> map) {
  if (map == nullptr) return std::nullopt;
  return c10::make_intrusive<LayoutMapObject>(std::move(map));
}
// The map given, else the active one.
std::shared_ptr<const LayoutMap> map_or_active(const OptionalMap& map, const char* what) {
  auto found = map_from(map);
  if (found == nullptr) found = active_layouts();
  TORCH_CHECK_VALUE(found != nullptr, what,
                    ": no layout map given and none registered; pass one, or call "
                    "weft.register_layouts(layout_map) first");
  return found;
}

void distribute_scripted(const c10::IValue& module, const OptionalMap& map) {
  TORCH_CHECK_VALUE(module.isModule(),
                    "torch.ops.weft.distribute_module takes a scripted module; the Python package's "
                    "weft.distribute_module takes any torch.nn.Module");
  torch::jit::Module scripted = module.toModule();
  distribute_module(scripted, *map_or_active(map, "distribute_module"));
}

std::string set_random_mode(const std::string& mode) {
  TORCH_CHECK_VALUE(mode == "counter" || mode == "replay", "random_mode: ", quote(mode),
                    " is not a mode; known: counter, replay");
  const bool counter = random::mode() == random::Mode::counter;
  random::set_mode(mode == "counter" ? random::Mode::counter : random::Mode::replay);
  return counter ? "counter" : "replay";
}

void adopt_groups(const MeshPtr& mesh, const Strings& names) {
  TORCH_CHECK_VALUE(mesh, "adopt_groups: no mesh given");
  std::vector<Group> groups;
  for (const std::string& name : names) groups.push_back(c10d::resolve_process_group(name));
  context().adopt(mesh->mesh, std::move(groups));
}

void finish_last_work(const Strings& names) {
  std::vector<Group> groups;
  for (const std::string& name : names) groups.push_back(c10d::resolve_process_group(name));
  comm::finish_last_work(std::move(groups));
}

std::tuple<Strings, Strings, Strings, std::vector<int64_t>, Strings> stop_trace(int64_t number) {
  std::tuple<Strings, Strings, Strings, std::vector<int64_t>, Strings> columns;
  for (TraceRow& row : trace_stop(number)) {
    std::get<0>(columns).push_back(std::move(row.op));
    std::get<1>(columns).push_back(std::move(row.kind));
    std::get<2>(columns).push_back(std::move(row.axis));
    std::get<3>(columns).push_back(row.bytes);
    std::get<4>(columns).push_back(std::move(row.path));
  }
  return columns;
}

// The report as text and as JSON. `shapes` holds each variable's rank and sizes, one after the other.
std::tuple<std::string, std::string> report_of(const LayoutMapPtr& map, const Strings& paths,
                                               const std::vector<int64_t>& shapes,
                                               const std::vector<int64_t>& item_bytes, const Strings& module_types,
                                               const c10::List<std::optional<LayoutPtr>>& layouts) {
  std::vector<VariableInfo> variables;
  size_t at = 0;
  for (size_t i = 0; i < paths.size(); ++i) {
    VariableInfo v;
    v.path = paths[i];
    const int64_t ndim = shapes.at(at++);
    for (int64_t d = 0; d < ndim; ++d) v.shape.push_back(shapes.at(at++));
    v.item_bytes = item_bytes.at(i);
    v.module_type = module_types.at(i);
    const std::optional<LayoutPtr> layout = layouts.get(i);
    if (layout && *layout) v.layout = (*layout)->layout;
    variables.push_back(std::move(v));
  }
  const PathReport result = report(*map->map, variables);
  return {render(result), to_json(result)};
}

std::tuple<std::string, int64_t, int64_t, int64_t, std::string> find_rendezvous(
    const std::optional<std::string>& addresses, std::optional<int64_t> processes, std::optional<int64_t> process) {
  const auto r =
      comm::rendezvous_from(addresses, processes, process, [](const char* name) -> std::optional<std::string> {
        const char* text = std::getenv(name);
        if (text == nullptr) return std::nullopt;
        return text;
      });
  if (!r) return {"", 0, 0, 1, ""};
  return {r->host, r->port, r->rank, r->world_size, r->prefix};
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

Layout layout_from(const LayoutPtr& p) {
  TORCH_CHECK_VALUE(p, "no layout given");
  return p->layout;
}

// TorchScript takes an op for a pure function unless told otherwise, and drops or merges calls: these act on the
// process, or share memory with what they are given.
void define_ops(torch::Library& m) {
  const auto def = [&m](const char* schema, auto function) {
    m.def(torch::schema(schema, c10::AliasAnalysisKind::CONSERVATIVE), function);
  };
#define WEFT_CLASS "__torch__.torch.classes.weft."
  def("distribute_tensor(Tensor tensor, " WEFT_CLASS "TensorLayout layout) -> Tensor",
      [](const at::Tensor& t, const LayoutPtr& l) { return distribute_tensor(t, layout_from(l)); });
  // From Python an object of a class costs some microseconds to pass, an int nothing.
  def("_distribute_tensor(Tensor tensor, int layout) -> Tensor",
      [](const at::Tensor& t, int64_t layout) { return distribute_tensor(t, TensorLayout::from_id(layout)); });
  def("_distribute_batch(Tensor[] tensors, int[] layouts) -> Tensor[]",
      [](const std::vector<at::Tensor>& tensors, const std::vector<int64_t>& ids) {
        std::vector<Layout> layouts;
        for (int64_t id : ids) layouts.push_back(TensorLayout::from_id(id));
        return distribute_batch(tensors, layouts);
      });
  def("full_tensor(Tensor tensor) -> Tensor", [](const at::Tensor& t) { return full_tensor(t); });
  def("local_tensor(Tensor tensor) -> Tensor", [](const at::Tensor& t) { return local_tensor(t); });
  def("from_local(Tensor local, " WEFT_CLASS "TensorLayout layout, int[]? shape=None) -> Tensor",
      [](const at::Tensor& t, const LayoutPtr& l, std::optional<std::vector<int64_t>> shape) {
        return from_local(t, layout_from(l), std::move(shape));
      });
  def("is_sharded(Tensor tensor) -> bool", [](const at::Tensor& t) { return is_sharded(t); });
  def("is_replicated(Tensor tensor) -> bool",
      [](const at::Tensor& t) { return !is_sharded(t) || layout_of(t)->is_replicated(); });
  def("layout_of(Tensor tensor) -> " WEFT_CLASS "TensorLayout",
      [](const at::Tensor& t) { return c10::make_intrusive<LayoutObject>(layout_of(t)); });
  def("path_of(Tensor tensor) -> str", [](const at::Tensor& t) { return path_of(t); });
  def("set_path(Tensor tensor, str path) -> ()",
      [](const at::Tensor& t, const std::string& path) { set_path(t, path); });
  // Time-outs in seconds.
  def("initialize(str? job_addresses=None, int? num_processes=None, int? process_id=None, float? timeout=None, "
      "float? first_timeout=None) -> ()",
      [](std::optional<std::string> addresses, std::optional<int64_t> processes, std::optional<int64_t> process,
         std::optional<double> timeout, std::optional<double> first) {
        initialize(std::move(addresses), processes, process, comm::timeout_from(timeout, "timeout"),
                   comm::timeout_from(first, "first_timeout"));
      });
  def("set_timeouts(float? timeout, float? first_timeout) -> ()",
      [](std::optional<double> timeout, std::optional<double> first) {
        set_timeouts(comm::timeout_from(timeout, "timeout"), comm::timeout_from(first, "first_timeout"));
      });
  def("timeouts() -> (float? timeout, float? first_timeout)", []() {
    const auto seconds = [](std::optional<std::chrono::milliseconds> t) {
      return t ? std::make_optional(std::chrono::duration<double>(*t).count()) : std::nullopt;
    };
    return std::make_tuple(seconds(comm::timeouts().steady()), seconds(comm::timeouts().first()));
  });
  def("set_world(str group_name) -> ()", [](const std::string& name) { set_world(name); });
  def("rank() -> int", []() { return rank(); });
  def("world_size() -> int", []() { return world_size(); });
  def("rendezvous(str? job_addresses=None, int? num_processes=None, int? process_id=None)"
      " -> (str host, int port, int rank, int world_size, str prefix)",
      &find_rendezvous);
  def("adopt_groups(" WEFT_CLASS "DeviceMesh mesh, str[] group_names) -> ()", &adopt_groups);
  // soon: not waited for; raises at the next collective, or in finish_checks.
  // Without a mesh: what has to do with none.
  def("check_same(int[] words, str what, " WEFT_CLASS "DeviceMesh? mesh=None, bool soon=False) -> ()",
      [](const std::vector<int64_t>& words, const std::string& what, const std::optional<MeshPtr>& given, bool soon) {
        const Mesh mesh = given && *given ? (*given)->mesh : nullptr;
        soon ? comm::check_same_soon(words, what, mesh ? mesh : comm::world_mesh())
             : comm::check_same(words, what, mesh);
      });
  def("compared_by(str function) -> str", [](const std::string& function) { return compared_by(function); });
  def("finish_checks() -> ()", []() { comm::finish_checks(); });
  def("_guard(bool on) -> ()", [](bool on) { comm::guard_is_on = on; });
  // At the end of a program: of Weft's groups and these.
  def("finish_last_work(str[] group_names) -> ()", &finish_last_work);
  // This rank leaves the common program: the others raise the error at the next collective that they wait for.
  def("report_failure(str what, str error) -> ()", [](const std::string& what, const std::string& error) {
    try {
      throw std::runtime_error(error);
    } catch (...) {
      comm::report_failure(what);
    }
  });
  def("register_layouts(" WEFT_CLASS "LayoutMap? layout_map) -> " WEFT_CLASS "LayoutMap?",
      [](const OptionalMap& map) { return map_to(register_layouts(map_from(map))); });
  def("clear_layouts() -> ()", []() { register_layouts(nullptr); });
  def("active_layouts() -> " WEFT_CLASS "LayoutMap?", []() { return map_to(active_layouts()); });
  def("tag(Tensor variable, str path, str module_type='') -> Tensor",
      [](const at::Tensor& t, const std::string& path, const std::string& type) { return tag(t, path, type); });
  def("distribute_variable(Tensor variable, " WEFT_CLASS "TensorLayout layout) -> Tensor",
      [](const at::Tensor& t, const LayoutPtr& l) { return distribute_variable(t, layout_from(l)); });
  def("_lay_out_variable(Tensor variable, " WEFT_CLASS "TensorLayout layout, str path, str rule='') -> Tensor",
      [](const at::Tensor& t, const LayoutPtr& l, const std::string& path, const std::string& rule) {
        return lay_out_variable(t, layout_from(l), canonical_path(path), rule);
      });
  // `value` as the data of a sharded variable (module/set_data.h).
  def("_as_data_of(Tensor variable, Tensor value) -> Tensor",
      [](const at::Tensor& variable, const at::Tensor& value) { return as_data_of(variable, value); });
  // From now on `plain.data = sharded` of Python is seen to by the Python package.
  def("_python_sets_data() -> ()", []() { python_sets_data = true; });
  def("_empty(int[] size, " WEFT_CLASS "TensorLayout layout, *, ScalarType? dtype=None, Device? device=None) -> Tensor",
      [](const std::vector<int64_t>& size, const LayoutPtr& l, std::optional<at::ScalarType> dtype,
         std::optional<at::Device> device) {
        return empty_sharded(size, layout_from(l), at::TensorOptions().dtype(dtype).device(device));
      });
  // Of a sharded tensor: which memory it shares, and how often that was written in place.
  def("_writes(Tensor tensor) -> (int memory, int writes)", [](const at::Tensor& t) {
    const Cell& cell = sharded(t).cell();
    return std::make_tuple(reinterpret_cast<int64_t>(&cell), static_cast<int64_t>(cell.writes.load()));
  });
  def("distribute_module(Any module, " WEFT_CLASS "LayoutMap? layout_map=None) -> ()", &distribute_scripted);
  // Every spelling of a path that a map may know, with the order of its dimensions (empty: ours).
  def("spellings(str path, str module_type='') -> (str[] paths, int[][] orders)",
      [](const std::string& path, const std::string& type) {
        std::tuple<Strings, std::vector<std::vector<int64_t>>> out;
        for (const Spelling& s : spellings(canonical_path(path), type)) {
          for (const std::string& form : {s.path, torch_name(s.path)}) {
            if (!std::get<0>(out).empty() && form == std::get<0>(out).back()) continue;
            std::get<0>(out).push_back(form);
            std::get<1>(out).push_back(s.permutation);
          }
        }
        return out;
      });
  def("keras_path(str name) -> str", [](const std::string& name) { return canonical_path(name); });
  def("torch_name(str path, str prefix='') -> str",
      [](const std::string& path, const std::string& prefix) { return join_name({prefix, path}); });
  def("report(" WEFT_CLASS "LayoutMap map, str[] paths, int[] shapes, int[] item_bytes, str[] module_types, " WEFT_CLASS
      "TensorLayout?[] layouts) -> (str text, str json)",
      &report_of);
  def("trace_start() -> int", []() { return trace_start(); });
  def("trace_stop(int trace) -> (str[] op, str[] kind, str[] axis, int[] bytes, str[] path)", &stop_trace);
  def("random_mode(str mode) -> str", &set_random_mode);
  def("check_plain(bool on) -> bool", [](bool on) {
    const bool before = checks_plain();
    set_check_plain(on);
    return before;
  });
  def("strict(bool on) -> bool", [](bool on) {
    const bool before = strict();
    set_strict(on);
    return before;
  });
  def("check_finite(bool on) -> bool", [](bool on) { return check_finite(on); });
  def("plan_counts() -> (int, int)", []() {
    const PlanCounts c = plan_counts();
    return std::make_tuple(static_cast<int64_t>(c.misses), static_cast<int64_t>(c.stored));
  });
  def("register_rule(str op, str text) -> ()",
      [](const std::string& op, const std::string& text) { register_rule(op, text); });
  def("_bind_rule(str op, str text, Any arguments, Any results) -> str", &bind_rule);
  def("rules() -> str[]", []() {
    std::vector<std::string> lines;
    for (const auto* r : rules::all()) lines.push_back(r->op + ": " + r->text);
    return lines;
  });
#undef WEFT_CLASS
}

[[maybe_unused]] const bool installed = [] {
  install([](torch::Library& library) {
    register_classes();
    register_checkpoint_classes();
    define_ops(library);
    define_checkpoint_ops(library);
    install_trace();
  });
  return true;
}();

}  // namespace
}  // namespace weft
