// What compiled programs are made of (weft/compiling.py).
#include <weft/weft.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>

#include "comm/lockstep/failure.h"
#include "comm/wire/recorded_group.h"
#include "composites/recorded_draws.h"
#include "dispatch/call_identity.h"
#include "layout/type_text.h"
#include "local/finite.h"
#include "ops.h"
#include "random/mode.h"
#include "redistribute/tensors.h"
#include "tensor/overlap.h"
#include "tensor/sharded.h"
#include "views/views.h"

namespace weft {
namespace {

struct ViewStepsObject : torch::CustomClassHolder {
  explicit ViewStepsObject(ViewSteps s) : steps(std::move(s)) {}
  ViewSteps steps;
};
using ViewStepsPtr = c10::intrusive_ptr<ViewStepsObject>;

// Draws of compiled programs (composites/recorded_draws.h). No composites of other ops: compilers record these.
void define_draws(torch::Library& m) {
  const auto def = [&m](const char* schema, const std::vector<at::Tag>& tags, auto function) {
    const std::string name(schema, std::strchr(schema, '('));
    m.def(schema, tags);
    m.impl(name.c_str(), torch::dispatch(c10::DispatchKey::CompositeExplicitAutograd, function));
  };
  def("_draw_key(Device device) -> Tensor", {at::Tag::nondeterministic_seeded}, &drawn_key);
  def("_replayed(str op, str overload, Scalar[] numbers, int[] number_places, Tensor[] tensors, int[] tensor_places, "
      "int[] sizes, int[] strides, ScalarType dtype, Device device) -> Tensor",
      {at::Tag::nondeterministic_seeded},
      [](std::string op, std::string overload, at::ArrayRef<at::Scalar> numbers, at::IntArrayRef number_places,
         at::TensorList tensors, at::IntArrayRef tensor_places, at::IntArrayRef sizes, at::IntArrayRef strides,
         at::ScalarType dtype, at::Device device) {
        const RecordedDraw draw{std::move(op),
                                std::move(overload),
                                numbers.vec(),
                                number_places.vec(),
                                tensors.vec(),
                                tensor_places.vec(),
                                {}};
        return replayed(draw, sizes, strides, at::TensorOptions().dtype(dtype).device(device));
      });
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

std::string described(const at::Tensor& t) {
  const ShardedTensorImpl& impl = sharded(t);
  const std::string type = type_text(t.scalar_type(), t.sizes(), impl.layout());
  return impl.path().empty() ? type : "'" + impl.path() + "' (" + type + ")";
}

bool has_version(const at::Tensor& t) { return !t.is_inference(); }

// The part as a program is given it, which keeps it for its backward pass: a write to the tensor is one to it.
at::Tensor part_to_save(const at::Tensor& t) {
  const at::Tensor& part = sharded(t).local();
  if (!has_version(t) || !has_version(part)) return part;
  return at::Tensor(
      part.unsafeGetTensorImpl()->shallow_copy_and_detach(t.unsafeGetTensorImpl()->version_counter(), true));
}

// A program knows each tensor that it is given by itself.
void refuse_overlap(const std::vector<at::Tensor>& tensors, const std::vector<int64_t>& written) {
  for (int64_t i : written) {
    TORCH_CHECK_NOT_IMPLEMENTED(!sharded(tensors.at(i)).is_moved(), "[W067] weft: a compiled program writes ",
                                described(tensors[i]),
                                ", a view whose values were moved between ranks: the write "
                                "would not reach what it is a view of; write that, or a clone() of the view");
  }
  const auto pair = written_overlap(tensors, written);
  TORCH_CHECK_NOT_IMPLEMENTED(!pair,
                              "[W067] weft: a compiled program writes one of two tensors that hold the same "
                              "values, ",
                              described(tensors[pair->first]), " and ", described(tensors[pair->second]),
                              ", and would not see the write in the other one: give it a clone() of one of them");
}

// As op by op: of a plain operand a sample counts, or all of it.
Identity identity_of(const at::Tensor& t) {
  if (holds_shards(t)) return sharded(t).identity();
  return checks_plain() ? sample(t.cpu(), std::numeric_limits<int64_t>::max()) : sample(t, kOperandWords);
}

uint64_t word_of(const at::Scalar& number) {
  return number.isFloatingPoint() ? std::bit_cast<uint64_t>(number.toDouble()) : number.to<int64_t>();
}

// No autograd, no collective.
void define_programs(torch::Library& m) {
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
  // Before a compiled program: a number of its code, and what meets sharded tensors in it of the plain values that it
  // is given. All of it is the same on all ranks.
  def("_begin(int code, Tensor[] plain, Scalar[] numbers) -> ()",
      [](int64_t code, const std::vector<at::Tensor>& plain, const std::vector<at::Scalar>& numbers) {
        Identity program = static_cast<Identity>(code);
        for (const at::Tensor& t : plain) program = mix(program, identity_of(t));
        for (const at::Scalar& number : numbers) program = mix(program, word_of(number));
        comm::set_running_program(program);
      });
  // Before its backward pass: a gradient that comes into it.
  def("_begin_backward(Tensor gradient) -> ()", [](const at::Tensor& gradient) {
    comm::set_running_program(mix(comm::running_program(), identity_of(gradient)));
  });
  // The parts that a compiled program is given. `program`: tells those with collectives apart, the same on all ranks;
  // 0: one without, which the other ranks need not run. `written`: which ones it writes.
  def("_enter(Tensor[] tensors, int program, int[] written) -> Tensor[]",
      [](std::vector<at::Tensor> tensors, int64_t program, const std::vector<int64_t>& written) {
        if (!written.empty()) refuse_overlap(tensors, written);
        Identity identity = mix(mix(comm::running_program(), static_cast<Identity>(program)), drawn_so_far());
        for (const at::Tensor& t : tensors) identity = mix(identity, sharded(t).identity());
        comm::set_running_program(identity);
        if (program != 0) {
          const RunningOp running(comm::kCompiledProgram, identity, nullptr);
          comm::count_collective({comm::kCompiledProgram, nullptr});
        }
        for (int64_t i : written) sharded(tensors[i]).wrote();
        for (at::Tensor& t : tensors) t = part_to_save(t);
        return tensors;
      });
  def("_refuse_overlap(Tensor[] tensors, int[] written) -> ()", &refuse_overlap);
  // What a program goes by beside shapes: the layout's number, the random mode, whether a write must be carried on, and
  // whether results are checked.
  def("_compiled_for(Tensor tensor) -> int", [](const at::Tensor& t) {
    int64_t number = sharded(t).layout()->id();
    for (const bool is : {checks_finite(), sharded(t).is_moved(), random::mode() == random::Mode::replay}) {
      number = 2 * number + static_cast<int64_t>(is);
    }
    return number;
  });
  // Its strides may have gaps, as those of views have.
  def("_of_part(Tensor part, int layout, int[] sizes, int[] strides) -> Tensor",
      [](const at::Tensor& part, int64_t layout, at::IntArrayRef sizes, at::IntArrayRef strides) {
        // What a program returns may be of values that it drew.
        const RunningOp running(comm::kCompiledProgram, mix(comm::running_program(), drawn_so_far()), nullptr);
        const at::Tensor out = make_sharded(part, TensorLayout::from_id(layout), {Sizes(sizes), Sizes(strides)});
        if (has_version(out) && has_version(part)) {
          out.unsafeGetTensorImpl()->set_version_counter(part.unsafeGetTensorImpl()->version_counter());
        }
        return out;
      });
  def("_laid_out(Tensor tensor, int layout) -> Tensor",
      [](const at::Tensor& t, int64_t layout) { return lay_out(t, TensorLayout::from_id(layout)); });
  def("_view_steps(Tensor base, Tensor view) -> " WEFT_CLASS "ViewSteps?",
      [](const at::Tensor& base, const at::Tensor& view) -> std::optional<ViewStepsPtr> {
        auto steps = steps_between(base, view);
        if (!steps) return std::nullopt;
        return c10::make_intrusive<ViewStepsObject>(std::move(*steps));
      });
  def("_are_tied(Tensor a, Tensor b) -> bool", &are_tied);
}

}  // namespace

void register_traced_classes() {
  static auto steps =
      torch::class_<ViewStepsObject>("weft", "ViewSteps")
          .def("of", [](const ViewStepsPtr& self, const at::Tensor& base) { return view_again(base, self->steps); })
          // Whether it is one of several results of an op: autograd refuses writes to it.
          .def("one_of_several", [](const ViewStepsPtr& self) {
            return std::any_of(self->steps.begin(), self->steps.end(), [](const auto& s) { return s->output >= 0; });
          });
}

void define_traced_ops(torch::Library& m) {
  define_draws(m);
  define_programs(m);
}

}  // namespace weft
