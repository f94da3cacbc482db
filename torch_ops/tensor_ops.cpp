// Tensors and variables.
#include <weft/weft.h>

#include <atomic>

#include "dispatch/memory_readers.h"
#include "layout/type_text.h"
#include "module/set_data.h"
#include "module/variables.h"
#include "ops.h"
#include "paths/adapter.h"
#include "plan/drawn_choices.h"
#include "redistribute/tensors.h"
#include "tensor/below_autograd.h"
#include "tensor/sharded.h"
#include "views/views.h"

namespace weft {
namespace {

Layout layout_from(const LayoutPtr& p) {
  TORCH_CHECK_VALUE(p, "[W030] no layout given");
  return p->layout;
}

}  // namespace

void define_tensor_ops(torch::Library& m) {
  const auto def = [&m](const char* schema, auto function) { define_op(m, schema, function); };
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
  // Whether every rank has all of it; so of plain tensors.
  def("is_replicated(Tensor tensor) -> bool",
      [](const at::Tensor& t) { return !is_sharded(t) || layout_of(t)->is_replicated(); });
  def("_is_here(Tensor tensor) -> bool", [](const at::Tensor& t) { return !is_sharded(t) || sharded(t).is_here(); });
  def("layout_of(Tensor tensor) -> " WEFT_CLASS "TensorLayout",
      [](const at::Tensor& t) { return c10::make_intrusive<LayoutObject>(layout_of(t)); });
  // Text for printing: layout, shape and dtype of a sharded tensor, and this rank's part. No collective.
  def("describe(Tensor tensor) -> str", [](const at::Tensor& t) { return describe(t); });
  // Dtype, shape and layout: "f32[8@data, 4@model]{norm: sum}".
  def("type_str(Tensor tensor) -> str", [](const at::Tensor& t) {
    return type_text(t.scalar_type(), t.sizes(), is_sharded(t) ? layout_of(t) : nullptr);
  });
  def("path_of(Tensor tensor) -> str", [](const at::Tensor& t) { return path_of(t); });
  // Names the variable; its place in errors and traces, no layout.
  def("set_path(Tensor tensor, str path) -> ()",
      [](const at::Tensor& t, const std::string& path) { set_path(t, path); });
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
  // For tests: plans are drawn from all that are correct (plan/drawn_choices.h).
  def("_draw_choices(int seed) -> ()", [](int64_t seed) { draw_choices(static_cast<uint64_t>(seed)); });
  // What a tensor is a view of, and the same view of a copy of that: which has no part in autograd.
  def("_root_of(Tensor tensor) -> Tensor", [](const at::Tensor& t) { return root_of(t); });
  def("_view_again(Tensor root, Tensor view) -> Tensor", [](const at::Tensor& root, const at::Tensor& view) {
    const auto steps = steps_between(root_of(view), view);
    BelowAutograd guard;
    return share(view_again(root, steps.value()));
  });
  // Tells which memory a sharded tensor shares, as long as it is there.
  def("_memory(Tensor tensor) -> int",
      [](const at::Tensor& t) { return reinterpret_cast<int64_t>(&sharded(t).cell()); });
  // A number that changes whenever that memory is written in place.
  def("_writes(Tensor tensor) -> int",
      [](const at::Tensor& t) { return static_cast<int64_t>(sharded(t).cell().writes.load()); });
  // The same, counted on from a number that no other memory's count comes to.
  def("_writes_from_now(Tensor tensor) -> int", [](const at::Tensor& t) {
    static std::atomic<uint64_t> times{0};
    const uint64_t from = ++times << 32;
    sharded(t).cell().writes.store(from);
    return static_cast<int64_t>(from);
  });
}

}  // namespace weft
