// Saving and loading as torch.ops.weft and torch.classes.weft have them.
#include <ATen/ops/empty.h>
#include <torch/custom_class.h>
#include <weft/checkpoint.h>

#include <tuple>
#include <utility>

#include "checkpoint/background.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/part.h"
#include "ops.h"

namespace weft {
namespace {

using Strings = std::vector<std::string>;
using TensorsByName = c10::Dict<std::string, at::Tensor>;

NamedTensors as_named(const TensorsByName& tensors) {
  NamedTensors named;
  for (const auto& entry : tensors) named.emplace_back(entry.key(), entry.value());
  return named;
}

struct PendingSaveObject : torch::CustomClassHolder {
  explicit PendingSaveObject(PendingSave save) : save(std::move(save)) {}
  const PendingSave save;
};
using PendingSavePtr = c10::intrusive_ptr<PendingSaveObject>;

// What a folder holds, not read yet.
struct CheckpointObject : torch::CustomClassHolder {
  explicit CheckpointObject(std::string folder) : folder(std::move(folder)), contents(checkpoint::open(this->folder)) {}
  const std::string folder;
  const checkpoint::Contents contents;
};
using CheckpointPtr = c10::intrusive_ptr<CheckpointObject>;

// A group's tensors by all of their names, on the meta device, and which of them were sharded.
std::tuple<Strings, std::vector<at::Tensor>, c10::List<bool>> tensors_of(const CheckpointPtr& self,
                                                                         const std::string& group) {
  std::tuple<Strings, std::vector<at::Tensor>, c10::List<bool>> columns;
  const checkpoint::StoredGroup* found = self->contents.group(group);
  if (found == nullptr) return columns;
  const auto add = [&](const std::string& name, const checkpoint::StoredTensor& tensor) {
    std::get<0>(columns).push_back(name);
    std::get<1>(columns).push_back(at::empty(tensor.shape, at::TensorOptions(tensor.dtype).device(at::kMeta)));
    std::get<2>(columns).push_back(!tensor.layout.empty());
  };
  for (const checkpoint::StoredTensor& tensor : found->tensors) add(tensor.name, tensor);
  const auto named = by_name(*found);
  for (const auto& [alias, target] : found->aliases) add(alias, *named.at(target));
  return columns;
}

// Tensor i is filled with names[i] of the group groups[i].
std::tuple<Strings, Strings> load_groups(const CheckpointPtr& self, const Strings& groups, const Strings& names,
                                         const std::vector<at::Tensor>& tensors, const c10::List<bool>& has_value,
                                         bool strict) {
  std::vector<checkpoint::Target> targets;
  for (size_t i = 0; i < tensors.size(); ++i) {
    targets.push_back({{groups.at(i), names.at(i), tensors[i]}, has_value.get(i)});
  }
  checkpoint::Loaded loaded = checkpoint::load(self->folder, self->contents, targets, strict);
  return {std::move(loaded.missing), std::move(loaded.unexpected)};
}

// Tensor i is named names[i] in the group groups[i]; `values` is JSON.
PendingSavePtr save_groups(const std::string& folder, const Strings& groups, const Strings& names,
                           const std::vector<at::Tensor>& tensors, const std::string& values,
                           std::optional<int64_t> step, bool wait) {
  std::vector<checkpoint::Item> items;
  for (size_t i = 0; i < tensors.size(); ++i) items.push_back({groups.at(i), names.at(i), tensors[i]});
  return c10::make_intrusive<PendingSaveObject>(checkpoint::save(folder, items, values, step, wait));
}

}  // namespace

void register_checkpoint_classes() {
  static auto pending = torch::class_<PendingSaveObject>("weft", "PendingSave")
                            .def("done", [](const PendingSavePtr& self) { return self->save.done(); })
                            .def("wait", [](const PendingSavePtr& self) { self->save.wait(); });
  static auto checkpoint =
      torch::class_<CheckpointObject>("weft", "Checkpoint")
          .def(torch::init([](const std::string& folder) { return c10::make_intrusive<CheckpointObject>(folder); }))
          .def("step", [](const CheckpointPtr& self) { return self->contents.step; })
          .def("values", [](const CheckpointPtr& self) { return self->contents.values; })
          .def("tensors", &tensors_of)
          .def("load", &load_groups);
}

void define_checkpoint_ops(torch::Library& library) {
  const auto def = [&](const char* schema, auto function) { define_op(library, schema, function); };
  def("save(str folder, Dict(str, Tensor) tensors, int? step=None) -> ()",
      [](const std::string& folder, const TensorsByName& tensors, std::optional<int64_t> step) {
        save(folder, as_named(tensors), step);
      });
  def("async_save(str folder, Dict(str, Tensor) tensors, int? step=None) -> __torch__.torch.classes.weft.PendingSave",
      [](const std::string& folder, const TensorsByName& tensors, std::optional<int64_t> step) {
        return c10::make_intrusive<PendingSaveObject>(async_save(folder, as_named(tensors), step));
      });
  def("load(str folder, Dict(str, Tensor) tensors, bool strict=True) -> int?",
      [](const std::string& folder, const TensorsByName& tensors, bool strict) {
        return load(folder, as_named(tensors), strict);
      });
  def("_part(Tensor tensor, bool fill=False) -> Tensor", [](const at::Tensor& tensor, bool fill) {
    return fill ? checkpoint::part_to_fill(tensor) : checkpoint::part_to_read(tensor);
  });
  // Called at the end of a program.
  def("finish_saves() -> ()", []() { checkpoint::finish_all_saves(); });
  def("_save(str folder, str[] groups, str[] names, Tensor[] tensors, str values, int? step, bool wait)"
      " -> __torch__.torch.classes.weft.PendingSave",
      &save_groups);
}

}  // namespace weft
