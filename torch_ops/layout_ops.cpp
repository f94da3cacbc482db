// Layout maps, paths, and modules laid out by them.
#include <torch/csrc/jit/api/module.h>
#include <weft/weft.h>

#include <tuple>

#include "module/script_attributes.h"
#include "ops.h"
#include "paths/adapter.h"

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
  TORCH_CHECK_VALUE(found != nullptr, "[W044] ", what,
                    ": no layout map given and none registered; pass one, or call "
                    "weft.register_layouts(layout_map) first");
  return found;
}

void distribute_scripted(const c10::IValue& module, const OptionalMap& map) {
  TORCH_CHECK_VALUE(module.isModule(),
                    "[W038] torch.ops.weft.distribute_module takes a scripted module; the Python package's "
                    "weft.distribute_module takes any torch.nn.Module");
  torch::jit::Module scripted = module.toModule();
  distribute_module(scripted, *map_or_active(map, "distribute_module"));
}

void replace_in_scripted(const c10::IValue& module, const std::vector<at::Tensor>& before,
                         const std::vector<at::Tensor>& made) {
  MadeOf made_of;
  for (size_t i = 0; i < before.size(); ++i) made_of[before[i].unsafeGetTensorImpl()] = made.at(i);
  replace_in_attributes(module.toModule(), made_of);
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

}  // namespace

void define_layout_ops(torch::Library& m) {
  const auto def = [&m](const char* schema, auto function) { define_op(m, schema, function); };
  def("register_layouts(" WEFT_CLASS "LayoutMap? layout_map) -> " WEFT_CLASS "LayoutMap?",
      [](const OptionalMap& map) { return map_to(register_layouts(map_from(map))); });
  // register_layouts(None), for scripts, which cannot pass None for a class.
  def("clear_layouts() -> ()", []() { register_layouts(nullptr); });
  def("active_layouts() -> " WEFT_CLASS "LayoutMap?", []() { return map_to(active_layouts()); });
  def("distribute_module(Any module, " WEFT_CLASS "LayoutMap? layout_map=None) -> ()", &distribute_scripted);
  // What distribute_module does where Python walks the module.
  def("_replace_in_attributes(Any module, Tensor[] before, Tensor[] made) -> ()", &replace_in_scripted);
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
  // A variable's name as Weft shows it: "a.b.c" becomes "a/b/c".
  def("keras_path(str name) -> str", [](const std::string& name) { return canonical_path(name); });
  // A variable's path as torch spells it: "a/b/c" becomes "a.b.c".
  def("torch_name(str path, str prefix='') -> str",
      [](const std::string& path, const std::string& prefix) { return join_name({prefix, path}); });
  def("report(" WEFT_CLASS "LayoutMap map, str[] paths, int[] shapes, int[] item_bytes, str[] module_types, " WEFT_CLASS
      "TensorLayout?[] layouts) -> (str text, str json)",
      &report_of);
}

}  // namespace weft
