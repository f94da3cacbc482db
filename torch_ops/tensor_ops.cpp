// Tensors and variables.
#include <weft/weft.h>

#include <cstring>
#include <tuple>

#include "comm/lockstep/failure.h"
#include "comm/wire/recorded_group.h"
#include "composites/recorded_draws.h"
#include "dispatch/memory_readers.h"
#include "layout/type_text.h"
#include "module/set_data.h"
#include "module/variables.h"
#include "ops.h"
#include "paths/adapter.h"
#include "random/mode.h"
#include "redistribute/tensors.h"
#include "tensor/sharded.h"

namespace weft {
namespace {

Layout layout_from(const LayoutPtr& p) {
  TORCH_CHECK_VALUE(p, "[W030] no layout given");
  return p->layout;
}

// Draws of compiled programs (composites/recorded_draws.h). No composites of other ops: compilers record these.
void define_draws(torch::Library& m) {
  const auto def = [&m](const char* schema, const std::vector<at::Tag>& tags, auto function) {
    const std::string name(schema, std::strchr(schema, '('));
    m.def(schema, tags);
    m.impl(name.c_str(), torch::dispatch(c10::DispatchKey::CompositeExplicitAutograd, function));
  };
  def("_draw_key(Device device) -> Tensor", {at::Tag::nondeterministic_seeded}, &drawn_key);
  // `sizes`: of the whole; `part` and `strides`: of what this rank has of it.
  def("_drawn(Tensor key, str op, str overload, Scalar[] numbers, int[] number_places, Tensor[] tensors, "
      "int[] tensor_places, int[] ranges, int[] sizes, int[] part, int[] strides, ScalarType dtype, Device device) -> "
      "Tensor",
      {},
      [](const at::Tensor& key, std::string op, std::string overload, at::ArrayRef<at::Scalar> numbers,
         at::IntArrayRef number_places, at::TensorList tensors, at::IntArrayRef tensor_places, at::IntArrayRef ranges,
         at::IntArrayRef sizes, at::IntArrayRef part, at::IntArrayRef strides, at::ScalarType dtype,
         at::Device device) {
        at::Tensor out = at::empty_strided(part, strides, at::TensorOptions().dtype(dtype).device(device));
        const RecordedDraw draw{std::move(op), std::move(overload), numbers.vec(), number_places.vec(),
                                tensors.vec(), tensor_places.vec(), ranges.vec()};
        fill_drawn(out, key, draw, Sizes(sizes));
        return out;
      });
}

// What compilers use (weft/compiling.py); no autograd, no collective.
void define_traced_ops(torch::Library& m) {
  const auto def = [&m](const char* schema, auto function) { define_op(m, schema, function); };
  // What a sharded tensor of traced parts is to programs: implemented in Python.
  m.def("_as_traced(Tensor tensor) -> Tensor");
  def("_become_traced(Tensor tensor) -> ()", [](const at::Tensor& t) { sharded(t).become_traced(); });
  // The shard itself, the same object at each call.
  def("_shard(Tensor tensor) -> Tensor", [](const at::Tensor& t) { return sharded(t).local(); });
  def("_set_part(Tensor tensor, Tensor part) -> ()", [](const at::Tensor& t, const at::Tensor& part) {
    replace_content(sharded(t).cell(), part, sharded(t).layout());
  });
  def("_reduced(Tensor tensor) -> Tensor",
      [](const at::Tensor& t) { return lay_out(t, sharded(t).layout()->without_partial()); });
  // The parts that a compiled program is given. `program`: tells those with collectives apart, the same on all ranks;
  // 0: one without, which the other ranks need not run.
  def("_enter(Tensor[] tensors, int program) -> Tensor[]", [](std::vector<at::Tensor> tensors, int64_t program) {
    if (program != 0) {
      Identity identity = mix(static_cast<Identity>(program), drawn_so_far());
      for (const at::Tensor& t : tensors) identity = mix(identity, sharded(t).identity());
      const RunningOp running(comm::kCompiledProgram, identity, nullptr);
      comm::count_collective({comm::kCompiledProgram, nullptr});
    }
    for (at::Tensor& t : tensors) t = sharded(t).local();
    return tensors;
  });
  // What a program goes by beside shapes: the layout's number and the random mode.
  def("_compiled_for(Tensor tensor) -> int", [](const at::Tensor& t) {
    return 2 * sharded(t).layout()->id() + (random::mode() == random::Mode::replay ? 1 : 0);
  });
  def("_of_part(Tensor part, int layout, int[] sizes, int[] strides) -> Tensor",
      [](const at::Tensor& part, int64_t layout, const std::vector<int64_t>& sizes,
         const std::vector<int64_t>& strides) {
        // What a program returns may be of values that it drew.
        const RunningOp running(comm::kCompiledProgram, drawn_so_far(), nullptr);
        return of_part(part, TensorLayout::from_id(layout), sizes, strides);
      });
  def("_laid_out(Tensor tensor, int layout) -> Tensor",
      [](const at::Tensor& t, int64_t layout) { return lay_out(t, TensorLayout::from_id(layout)); });
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
  // Tells which memory a sharded tensor shares, and how often that was written in place.
  def("_writes(Tensor tensor) -> (int memory, int writes)", [](const at::Tensor& t) {
    const Cell& cell = sharded(t).cell();
    return std::make_tuple(reinterpret_cast<int64_t>(&cell), static_cast<int64_t>(cell.writes.load()));
  });
  define_traced_ops(m);
  define_draws(m);
}

}  // namespace weft
