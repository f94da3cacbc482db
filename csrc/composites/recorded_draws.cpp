#include "composites/recorded_draws.h"

#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/ops/empty_strided.h>
#include <ATen/ops/scalar_tensor.h>

#include <utility>

#include "comm/lockstep/failure.h"
#include "comm/wire/recorded_group.h"
#include "tensor/identity.h"

namespace weft {
namespace {

thread_local uint64_t all_drawn = 0;

at::Tensor call_recorded(const char* name, std::vector<c10::IValue> stack) {
  c10::Dispatcher::singleton().findSchemaOrThrow(name, "").callBoxed(&stack);
  return stack[0].toTensor();
}

RecordedDraw recorded(const OpInfo& op, const std::vector<c10::IValue>& arguments,
                      const random::GlobalIndex& index = {}) {
  RecordedDraw draw;
  draw.op = op.handle.operator_name().name;
  draw.overload = op.handle.operator_name().overload_name;
  for (size_t a = 0; a < arguments.size(); ++a) {
    const c10::IValue& v = arguments[a];
    if (v.isTensor() && v.toTensor().defined() && !op.arguments[a].written) {
      draw.tensors.push_back(v.toTensor());
      draw.tensor_places.push_back(static_cast<int64_t>(a));
    } else if (v.isScalar()) {
      draw.numbers.push_back(v.toScalar());
      draw.number_places.push_back(static_cast<int64_t>(a));
    }
  }
  for (const std::vector<IndexRange>& dim : index.dims) {
    draw.ranges.push_back(static_cast<int64_t>(dim.size()));
    for (const IndexRange& r : dim) draw.ranges.insert(draw.ranges.end(), {r.start, r.length});
  }
  return draw;
}

c10::OperatorHandle op_of(const RecordedDraw& draw) {
  return c10::Dispatcher::singleton().findSchemaOrThrow(draw.op.c_str(), draw.overload.c_str());
}

std::vector<c10::IValue> arguments_of(const RecordedDraw& draw) {
  std::vector<c10::IValue> arguments(op_of(draw).schema().arguments().size());
  for (size_t i = 0; i < draw.numbers.size(); ++i) arguments[draw.number_places[i]] = draw.numbers[i];
  for (size_t i = 0; i < draw.tensors.size(); ++i) arguments[draw.tensor_places[i]] = draw.tensors[i];
  return arguments;
}

void refuse_generator(const OpInfo& op, const std::vector<c10::IValue>& arguments) {
  for (const c10::IValue& v : arguments) {
    TORCH_CHECK_NOT_IMPLEMENTED(
        !v.isGenerator() || !v.toGenerator().defined(), "[W070] ", op.short_name,
        " with a generator of its own is not drawn in compiled programs; draw from the default one "
        "(torch.manual_seed), or keep that part out of the program with torch.compiler.disable");
  }
}

}  // namespace

uint64_t drawn_so_far() { return all_drawn; }

at::Tensor drawn_key(at::Device device) {
  const RunningOp running(comm::kCompiledProgram, 0, nullptr);
  const uint64_t key = random::draw_key(std::nullopt, device);
  all_drawn = mix(all_drawn, key);
  return at::scalar_tensor(static_cast<int64_t>(key), at::kLong);
}

void fill_drawn(at::Tensor& out, const at::Tensor& key, const RecordedDraw& draw, const Sizes& global_sizes) {
  const std::vector<c10::IValue> arguments = arguments_of(draw);
  random::GlobalIndex index;
  index.global_sizes = global_sizes;
  for (size_t at = 0; at < draw.ranges.size();) {
    std::vector<IndexRange>& dim = index.dims.emplace_back();
    for (int64_t left = draw.ranges[at++]; left > 0; --left, at += 2)
      dim.push_back({draw.ranges[at], draw.ranges[at + 1]});
  }
  comm::run_local(draw.op, [&] {
    random::find_sampler({draw.op, draw.overload})
        ->fill(out, index, arguments, static_cast<uint64_t>(key.item<int64_t>()));
  });
}

at::Tensor replayed(const RecordedDraw& draw, c10::IntArrayRef sizes, c10::IntArrayRef strides,
                    const at::TensorOptions& options) {
  const c10::OperatorHandle op = op_of(draw);
  std::vector<c10::IValue> stack = arguments_of(draw);
  const auto& arguments = op.schema().arguments();
  for (size_t a = 0; a < arguments.size(); ++a) {
    const auto* alias = arguments[a].alias_info();
    if (alias != nullptr && alias->isWrite()) stack[a] = at::empty_strided(sizes, strides, options);
  }
  op.callBoxed(&stack);
  return stack[0].toTensor();
}

at::Tensor record_replay(const OpInfo& op, const std::vector<c10::IValue>& arguments, const at::Tensor& whole) {
  refuse_generator(op, arguments);
  RecordedDraw draw = recorded(op, arguments);
  return call_recorded("weft::_replayed",
                       {std::move(draw.op), std::move(draw.overload), std::move(draw.numbers),
                        std::move(draw.number_places), std::move(draw.tensors), std::move(draw.tensor_places),
                        whole.sizes(), whole.strides(), whole.scalar_type(), whole.device()});
}

at::Tensor record_draw(const OpInfo& op, const std::vector<c10::IValue>& arguments, const random::GlobalIndex& index,
                       const at::Tensor& local) {
  refuse_generator(op, arguments);
  RecordedDraw draw = recorded(op, arguments, index);
  const at::Tensor key = call_recorded("weft::_draw_key", {local.device()});
  return call_recorded(
      "weft::_drawn",
      {key, std::move(draw.op), std::move(draw.overload), std::move(draw.numbers), std::move(draw.number_places),
       std::move(draw.tensors), std::move(draw.tensor_places), std::move(draw.ranges),
       c10::IntArrayRef(index.global_sizes), local.sizes(), local.strides(), local.scalar_type(), local.device()});
}

}  // namespace weft
