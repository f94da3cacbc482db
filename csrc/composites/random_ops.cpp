#include "composites/random_ops.h"

#include <ATen/ExpandUtils.h>
#include <ATen/Functions.h>
#include <weft/tensor.h>

#include "comm/lockstep/failure.h"
#include "composites/recorded_draws.h"
#include "layout/shard.h"
#include "mesh/context.h"
#include "plan/plan.h"
#include "random/mode.h"
#include "random/random.h"
#include "redistribute/redistribute.h"
#include "tensor/below_autograd.h"
#include "tensor/identity.h"
#include "tensor/sharded.h"
#include "tensor/traced.h"
#include "tensor/unreal.h"

namespace weft {
namespace {

using Stack = std::vector<c10::IValue>;

// Where the values go: layout and geometry of the result.
struct Target {
  Layout layout = nullptr;
  Geometry geometry;
  at::ScalarType dtype = at::kFloat;
  at::Device device = at::kCPU;
};

Target target_of(const OpInfo& op, c10::ArrayRef<c10::IValue> arguments) {
  Call call = Call::of(op, arguments);
  Target target;
  for (const c10::IValue& v : arguments) {
    if (v.isTensor() && holds_shards(v.toTensor())) target.device = v.toTensor().device();
  }
  if (infer_results(call)) {
    target.geometry = call.results.at(0).geometry;
    target.dtype = call.results[0].dtype;
  } else {  // core has no meta kernel of some (binomial), whose results are like their first operand
    target.geometry.sizes = call.tensors.at(0).geometry.sizes;
    target.geometry.strides = row_major_strides(target.geometry.sizes);
    target.dtype = call.tensors[0].dtype;
  }
  for (const TensorInfo& t : call.tensors) {
    if (t.layout == nullptr || t.geometry.sizes != target.geometry.sizes) continue;
    if (target.layout == nullptr || t.written) target.layout = t.layout->without_partial();
  }
  if (target.layout == nullptr) {
    target.layout = TensorLayout::replicated(call.mesh, static_cast<int64_t>(target.geometry.sizes.size()));
  }
  return target;
}

// The tensor arguments, each rank's part in the target's layout (or gathered).
void localize(const OpInfo& op, Stack& arguments, const Target& target, bool gathered) {
  const int64_t ndim = static_cast<int64_t>(target.geometry.sizes.size());
  for (size_t a = 0; a < arguments.size(); ++a) {
    if (op.arguments[a].kind != OpInfo::Kind::tensor || !arguments[a].isTensor() || op.arguments[a].written) continue;
    at::Tensor t = arguments[a].toTensor();
    if (!t.defined()) continue;
    const Mesh mesh = target.layout->mesh();
    if (!holds_shards(t)) t = make_sharded(plain_on(mesh, t), TensorLayout::replicated(mesh, t.dim()), geometry_of(t));
    if (t.dim() != ndim || !t.sizes().equals(target.geometry.sizes)) t = t.expand(target.geometry.sizes);
    const Layout to = gathered ? TensorLayout::replicated(mesh, ndim) : target.layout;
    arguments[a] = redistribute_local(sharded(t).local(), t.sizes(), sharded(t).layout(), to, t.strides());
  }
}

constexpr int64_t kPiece = 1 << 20;  // elements that replay draws at a time
constexpr int64_t kBlock = 16;       // of which normal_ draws as many together, the last ones of a tensor apart

// Whether the full tensor can be drawn piece by piece.
bool draws_in_order(const random::Sampler& sampler, const Target& target) {
  return sampler.in_order && target.device.is_cpu() && !target.geometry.sizes.empty() &&
         row_major(target.geometry.sizes, target.geometry.strides);
}

void know(const at::Tensor& drawn) { random::note_drawn(sample(drawn, kOperandWords)); }

// This rank's part of what torch's own stream gives the full tensor, which is drawn a few rows at a time.
at::Tensor replay_piecewise(const OpInfo& op, const Stack& arguments, size_t written, const Target& target,
                            const Coordinates& coordinates, const at::TensorOptions& options) {
  const Sizes& sizes = target.geometry.sizes;
  const Sizes mine = local_sizes(target.layout, sizes, coordinates);
  at::Tensor local = at::empty(mine, options);
  const int64_t row = target.geometry.numel() / sizes[0];
  const int64_t rows = std::max(kBlock, kPiece / row / kBlock * kBlock);
  for (int64_t start = 0, end = 0; start < sizes[0]; start = end) {
    end = std::min(start + rows, sizes[0]);
    if ((sizes[0] - end) * row < kBlock) end = sizes[0];
    Sizes piece_sizes = sizes;
    piece_sizes[0] = end - start;
    Stack call = arguments;
    call[written] = at::empty(piece_sizes, options);
    op.handle.callBoxed(&call);
    at::Tensor piece = call[0].toTensor();
    know(piece);
    for (int64_t d = 1; d < target.layout->ndim(); ++d) {
      if (mine[d] == sizes[d]) continue;
      std::vector<at::Tensor> runs;
      for (const IndexRange& r : local_indices(target.layout, d, sizes[d], coordinates)) {
        runs.push_back(piece.narrow(d, r.start, r.length));
      }
      piece = runs.size() == 1 ? runs[0] : at::cat(runs, d);
    }
    int64_t at = 0;
    for (const IndexRange& r : local_indices(target.layout, 0, sizes[0], coordinates)) {
      const int64_t from = std::max(r.start, start), to = std::min(r.start + r.length, end);
      if (from < to) local.narrow(0, at + from - r.start, to - from).copy_(piece.narrow(0, from - start, to - from));
      at += r.length;
    }
  }
  return local;
}

// This rank's part by global index. What a compiler records is drawn anew at each run.
at::Tensor draw_by_index(const OpInfo& op, const random::Sampler& sampler, Stack& arguments, size_t written,
                         const Target& target, const Coordinates& coordinates, const at::TensorOptions& options) {
  const Sizes sizes = local_sizes(target.layout, target.geometry.sizes, coordinates);
  at::Tensor local = at::empty_strided(sizes, dense_strides(sizes, target.geometry.strides), options);
  random::GlobalIndex index;
  index.global_sizes = target.geometry.sizes;
  for (int64_t d = 0; d < target.layout->ndim(); ++d) {
    index.dims.push_back(local_indices(target.layout, d, target.geometry.sizes[d], coordinates));
  }
  if (is_traced(local)) return record_draw(op, arguments, index, local);
  std::optional<at::Generator> generator;
  if (sampler.generator >= 0 && arguments[sampler.generator].isGenerator()) {
    generator = arguments[sampler.generator].toGenerator();
  }
  if (op.writes) arguments[written] = local;
  const uint64_t key = random::draw_key(generator, target.device);
  // Parameters that are tensors are checked by value.
  if (!local.is_meta()) comm::run_local(op.short_name, [&] { sampler.fill(local, index, arguments, key); });
  return local;
}

// Brings this rank's part of what was drawn into self, which is plain, has a sum pending, or is sharded otherwise.
void write_drawn(const at::Tensor& self, at::Tensor local, const Target& target) {
  if (!holds_shards(self)) {
    self.copy_(redistribute_local(local, target.geometry.sizes, target.layout,
                                  TensorLayout::replicated(target.layout->mesh(), self.dim())));
  } else if (sharded(self).layout()->has_partial() && !sharded(self).chain()) {
    replace_content(sharded(self).cell(), std::move(local), target.layout);
    sharded(self).wrote();
  } else {
    self.copy_(make_sharded(std::move(local), target.layout, target.geometry));
  }
}

}  // namespace

void run_random(const OpInfo& op, Stack& stack) {
  const random::Sampler& sampler = *random::find_sampler(op.handle.operator_name());
  const size_t n = op.arguments.size();
  Stack arguments(stack.end() - static_cast<std::ptrdiff_t>(n), stack.end());
  stack.erase(stack.end() - static_cast<std::ptrdiff_t>(n), stack.end());
  BelowAutograd guard;
  const Target target = target_of(op, arguments);
  const auto& coordinates = context().bind(target.layout->mesh()).coordinates;
  const auto options = options_on(target.layout->mesh(), at::TensorOptions().dtype(target.dtype).device(target.device));
  at::Tensor local;
  const bool replay = random::mode() == random::Mode::replay;
  const bool in_place = op.writes;
  size_t written = 0;  // self, or out=
  while (in_place && !op.arguments[written].written) ++written;
  const at::Tensor self = in_place ? arguments[written].toTensor() : at::Tensor();
  if (replay && in_place && target.geometry.numel() > kPiece && !target.layout->is_replicated() &&
      draws_in_order(sampler, target)) {
    local = replay_piecewise(op, arguments, written, target, coordinates, options);
  } else if (replay) {
    localize(op, arguments, target, true);
    const Layout replicated = TensorLayout::replicated(target.layout->mesh(), target.layout->ndim());
    if (in_place) arguments[written] = at::empty_strided(target.geometry.sizes, target.geometry.strides, options);
    at::Tensor full;
    if (in_place && is_traced(arguments[written].toTensor()) &&
        !row_major(target.geometry.sizes, target.geometry.strides)) {
      full = record_replay(op, arguments, arguments[written].toTensor());
    } else {
      op.handle.callBoxed(&arguments);
      full = arguments[0].toTensor();
    }
    know(full);
    local = redistribute_local(full, target.geometry.sizes, replicated, target.layout);
  } else {
    localize(op, arguments, target, false);
    local = draw_by_index(op, sampler, arguments, written, target, coordinates, options);
  }
  if (!in_place) {
    stack.push_back(make_sharded(std::move(local), target.layout, target.geometry));
    return;
  }
  write_drawn(self, std::move(local), target);
  stack.push_back(self);
}

}  // namespace weft
