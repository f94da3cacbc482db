// All of torch.ops.weft: every schema in one table. Registered by a guarded installer, not by static macros: a second
// copy of the library must leave the first one and the process alone.
#include <comm/collectives.h>
#include <dispatch/gather.h>
#include <dispatch/install.h>
#include <plan/cache.h>
#include <rules/registry.h>
#include <tensor/sharded.h>
#include <torch/library.h>
#include <weft/distributed.h>
#include <weft/tensor.h>

#include "classes.h"

namespace weft {
namespace {

Layout layout_from(const LayoutPtr& p) {
  TORCH_CHECK_VALUE(p, "no layout given");
  return p->layout;
}

void define_ops(torch::Library& m) {
#define WEFT_CLASS "__torch__.torch.classes.weft."
  m.def("distribute_tensor(Tensor tensor, " WEFT_CLASS "TensorLayout layout) -> Tensor",
        [](const at::Tensor& t, const LayoutPtr& l) { return distribute_tensor(t, layout_from(l)); });
  m.def("full_tensor(Tensor tensor) -> Tensor", [](const at::Tensor& t) { return full_tensor(t); });
  m.def("local_tensor(Tensor tensor) -> Tensor", [](const at::Tensor& t) { return local_tensor(t); });
  m.def("from_local(Tensor local, " WEFT_CLASS "TensorLayout layout, int[]? shape=None) -> Tensor",
        [](const at::Tensor& t, const LayoutPtr& l, std::optional<std::vector<int64_t>> shape) {
          return from_local(t, layout_from(l), std::move(shape));
        });
  m.def("is_sharded(Tensor tensor) -> bool", [](const at::Tensor& t) { return is_sharded(t); });
  m.def("layout_of(Tensor tensor) -> " WEFT_CLASS "TensorLayout",
        [](const at::Tensor& t) { return c10::make_intrusive<LayoutObject>(layout_of(t)); });
  m.def("path_of(Tensor tensor) -> str", [](const at::Tensor& t) { return path_of(t); });
  m.def("set_path(Tensor tensor, str path) -> ()",
        [](const at::Tensor& t, const std::string& path) { set_path(t, path); });
  m.def("initialize(str? job_addresses=None, int? num_processes=None, int? process_id=None) -> ()",
        [](std::optional<std::string> addresses, std::optional<int64_t> processes, std::optional<int64_t> process) {
          initialize(std::move(addresses), processes, process);
        });
  m.def("set_world(str group_name) -> ()", [](const std::string& name) { set_world(name); });
  m.def("rank() -> int", []() { return rank(); });
  m.def("world_size() -> int", []() { return world_size(); });
  m.def("strict(bool on) -> ()", [](bool on) { set_strict(on); });
  m.def("plan_counts() -> (int, int)", []() {
    const PlanCounts c = plan_counts();
    return std::make_tuple(static_cast<int64_t>(c.misses), static_cast<int64_t>(c.stored));
  });
  m.def("rules() -> str[]", []() {
    std::vector<std::string> lines;
    for (const auto* r : rules::all()) lines.push_back(r->op + ": " + r->text);
    return lines;
  });
#undef WEFT_CLASS
}

[[maybe_unused]] const bool installed = [] {
  install([](torch::Library& library) {
    register_classes();
    define_ops(library);
  });
  return true;
}();

}  // namespace
}  // namespace weft
