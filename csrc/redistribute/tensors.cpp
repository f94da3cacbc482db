#include "redistribute/tensors.h"

#include <ATen/Functions.h>
#include <c10/util/StringUtil.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/csrc/jit/passes/tensorexpr_fuser.h>

#include <mutex>
#include <set>
#include <utility>

#include "base/installed.h"
#include "base/interned.h"
#include "comm/agree/check_same.h"
#include "comm/lockstep/settle.h"
#include "layout/shard.h"
#include "mesh/context.h"
#include "redistribute/parts.h"
#include "redistribute/redistribute.h"
#include "tensor/below_autograd.h"
#include "tensor/op_history.h"
#include "tensor/sharded.h"
#include "tensor/strided.h"

namespace weft {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

int64_t as_word(Layout layout) { return reinterpret_cast<int64_t>(layout); }
Layout as_layout(const c10::IValue& word) { return reinterpret_cast<Layout>(word.toInt()); }

void check_rank(const at::Tensor& tensor, Layout layout, const char* what) {
  TORCH_CHECK_VALUE(layout != nullptr, what, ": no layout given");
  TORCH_CHECK_VALUE(tensor.defined(), what, ": no tensor given");
  check_strided(what, tensor);
  TORCH_CHECK_VALUE(layout->ndim() == tensor.dim(), what, ": layout ", layout->describe(), " is for ", layout->ndim(),
                    " dimensions, the tensor has ", tensor.dim(), " (shape ", tensor.sizes(), ")");
}

// Of the sharded tensor that a plain one becomes.
Geometry dense_geometry(const at::Tensor& tensor) {
  Geometry geometry = geometry_of(tensor);
  geometry.offset = 0;
  if (!tensor.is_non_overlapping_and_dense()) geometry.strides = row_major_strides(geometry.sizes);
  return geometry;
}

// What the ranks' copies of a tensor must agree about.
void add_facts(const at::Tensor& t, std::vector<int64_t>& words) {
  words.push_back(static_cast<int64_t>(t.scalar_type()));
  words.push_back(static_cast<int64_t>(t.layout()));
  if (t.is_nested()) return;
  words.push_back(t.dim());
  words.insert(words.end(), t.sizes().begin(), t.sizes().end());
  if (t.layout() != at::kStrided) return;
  const Geometry geometry = dense_geometry(t);
  words.insert(words.end(), geometry.strides.begin(), geometry.strides.end());
}

// The redistributions that were asked for, from and to, of one rank. One may be asked for in every step, and so is
// compared between the ranks only the first time.
struct Moves : ContextState {
  std::mutex mutex;
  std::set<std::pair<Layout, Layout>> compared;

  bool has(Layout from, Layout to) {
    std::lock_guard<std::mutex> lock(mutex);
    return compared.contains({from, to});
  }
  void add(Layout from, Layout to) {
    std::lock_guard<std::mutex> lock(mutex);
    compared.emplace(from, to);
  }
};

// TorchScript's fused kernels read data_ptr, which a sharded tensor has not; off from the first one on.
void disable_fuser() {
  [[maybe_unused]] static const bool done = [] {
    torch::jit::setTensorExprFuserEnabled(false);
    return true;
  }();
}

constexpr int64_t kSampled = 4096;  // words of what is laid out: it happens a few times a step

// Whether autograd has to know of what is done with it.
bool recorded(const at::Tensor& tensor) { return at::GradMode::is_enabled() && tensor.requires_grad(); }

// A local tensor that shares no memory with what the user holds.
at::Tensor owned(at::Tensor local, const at::Tensor& source) {
  return local.is_alias_of(source) ? local.clone() : local;
}

}  // namespace

at::Tensor lay_out(const at::Tensor& tensor, Layout layout) {
  BelowAutograd guard;
  if (holds_shards(tensor)) {
    const ShardedTensorImpl& impl = sharded(tensor);
    TORCH_CHECK_VALUE(impl.layout()->mesh() == layout->mesh(), "distribute_tensor: the tensor lies on ",
                      impl.layout()->mesh()->str(), " and the layout on ", layout->mesh()->str());
    if (impl.layout() == layout) return tensor;
    at::Tensor local = redistribute_local(impl.local(), tensor.sizes(), impl.layout(), layout, tensor.strides());
    at::Tensor out = make_sharded(owned(std::move(local), impl.local()), layout, impl.geometry());
    if (const std::string* path = impl.interned_path()) sharded(out).cell().path = path;
    return out;
  }
  context().bind(layout->mesh());  // refuses a mesh of other ranks, also where nothing will move
  disable_fuser();
  const Layout whole = TensorLayout::replicated(layout->mesh(), tensor.dim());
  const Geometry geometry = dense_geometry(tensor);
  const at::Tensor source = tensor.is_non_overlapping_and_dense() ? tensor : tensor.contiguous();
  return make_sharded(owned(redistribute_local(source, tensor.sizes(), whole, layout), tensor), layout, geometry);
}

std::vector<at::Tensor> distribute_batch(const std::vector<at::Tensor>& tensors, const std::vector<Layout>& layouts) {
  std::vector<int64_t> words;
  for (size_t i = 0; i < tensors.size(); ++i) {
    check_rank(tensors[i], layouts[i], "the batch");
    add_facts(tensors[i], words);
  }
  comm::check_same_soon(words, "the batch (shapes, strides, dtypes)", layouts.at(0)->mesh());
  RunningOp running("shard_batch", new_root("shard_batch"), nullptr);
  OpHistory::Op call{.name = running.name()};
  for (int64_t word : words) call.values = mix(call.values, static_cast<uint64_t>(word));
  for (const at::Tensor& t : tensors) call.plain = mix(call.plain, holds_shards(t) ? 0 : sample(t, kSampled));
  call.plain_operand = "tensors";
  OpHistory::of_thread().add(call);
  running.add(mix(call.values, call.plain));
  std::vector<at::Tensor> out;
  for (size_t i = 0; i < tensors.size(); ++i) out.push_back(lay_out(tensors[i], layouts[i]));
  return out;
}

at::Tensor empty_sharded(at::IntArrayRef sizes, Layout layout, const at::TensorOptions& options) {
  BelowAutograd guard;
  disable_fuser();
  const RunningOp running("empty_sharded", new_root("empty_sharded"), nullptr);
  const auto& coordinates = context().bind(layout->mesh()).coordinates;
  Geometry geometry;
  geometry.sizes = Sizes(sizes.begin(), sizes.end());
  geometry.strides = row_major_strides(geometry.sizes);
  return make_sharded(at::empty(local_sizes(layout, sizes, coordinates), options), layout, geometry);
}

namespace {

at::Tensor whole_of(const at::Tensor& tensor) {
  BelowAutograd guard;
  const ShardedTensorImpl& impl = sharded(tensor);
  const Layout layout = TensorLayout::replicated(impl.layout()->mesh(), tensor.dim());
  at::Tensor whole = redistribute_local(impl.local(), tensor.sizes(), impl.layout(), layout, tensor.strides());
  return whole.is_same(impl.local()) ? whole.detach() : whole;
}

struct Distribute : torch::autograd::Function<Distribute> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& tensor, int64_t layout) {
    ctx->saved_data["plain"] = !holds_shards(tensor);
    return lay_out(tensor, reinterpret_cast<Layout>(layout));
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    // The value is the same whatever the layout; a plain input takes a plain gradient.
    at::Tensor grad = grads[0];
    if (grad.defined() && ctx->saved_data["plain"].toBool()) grad = full_or_alias(grad);
    return {grad, at::Tensor()};
  }
};

struct Full : torch::autograd::Function<Full> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& tensor) {
    ctx->saved_data["mesh"] = as_word(sharded(tensor).layout());
    return whole_of(tensor);
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const Layout layout = as_layout(ctx->saved_data["mesh"]);
    at::Tensor grad = grads[0];
    if (grad.defined() && !holds_shards(grad)) grad = distribute_tensor(grad, layout->without_partial());
    return {grad};
  }
};

at::Tensor wrap_part(const at::Tensor& local, Layout layout, const std::vector<int64_t>& sizes,
                     const std::vector<int64_t>& strides);

struct Local : torch::autograd::Function<Local> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& tensor) {
    const ShardedTensorImpl& impl = sharded(tensor);
    ctx->saved_data["layout"] = as_word(impl.layout()->without_partial());
    ctx->saved_data["sizes"] = tensor.sizes();
    ctx->saved_data["strides"] = tensor.strides();
    return impl.local().detach();
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    if (!grads[0].defined()) return {grads[0]};
    const RunningOp running("local_tensor", new_root("local_tensor"), nullptr);
    return {wrap_part(grads[0], as_layout(ctx->saved_data["layout"]), ctx->saved_data["sizes"].toIntVector(),
                      ctx->saved_data["strides"].toIntVector())};
  }
};

struct FromLocal : torch::autograd::Function<FromLocal> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& local, int64_t word, std::vector<int64_t> sizes,
                            std::vector<int64_t> order) {
    const auto layout = reinterpret_cast<Layout>(word);
    ctx->saved_data["layout"] = as_word(layout->without_partial());
    Geometry geometry;
    geometry.sizes.assign(sizes.begin(), sizes.end());
    geometry.strides = dense_strides(sizes, order);
    const Sizes strides = dense_strides(local.sizes(), order);
    at::Tensor part = local.detach();
    for (int64_t d = 0; d < part.dim() && part.numel() > 0; ++d) {
      if (part.size(d) == 1 || part.stride(d) == strides[d]) continue;
      part = at::empty_strided(part.sizes(), strides, part.options()).copy_(part);
    }
    return make_sharded(std::move(part), layout, geometry);
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    at::Tensor grad = grads[0];
    if (grad.defined() && holds_shards(grad)) {
      grad = local_tensor(distribute_tensor(grad, as_layout(ctx->saved_data["layout"])));
    }
    return {grad, at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

// The whole's dimensions lie in memory in the order of `strides`, and so does the shard: a part that lies otherwise is
// copied.
at::Tensor wrap_part(const at::Tensor& local, Layout layout, const std::vector<int64_t>& sizes,
                     const std::vector<int64_t>& strides) {
  return FromLocal::apply(local, as_word(layout), sizes, strides);
}

}  // namespace

std::string compared_by(const std::string& function) {
  if (function != "from_local") return function + ": the tensor's shape, strides, dtype, requires_grad and layout";
  return function +
         ": the parts' dtype, the sizes of dimensions that are not split, the whole's shape, requires_grad and the "
         "layout";
}

void check_layout(const at::Tensor& tensor, Layout layout, const char* what) {
  require_installed();
  TORCH_CHECK_VALUE(layout != nullptr, what, ": no layout given");
  TORCH_CHECK_VALUE(tensor.defined(), what, ": no tensor given");
  // First of all, so that what is wrong on one rank only is an error on all.
  const Layout from = holds_shards(tensor) ? sharded(tensor).layout() : nullptr;
  Moves& moves = context().state<Moves>();
  if (from == nullptr || !moves.has(from, layout)) {
    std::vector<int64_t> words;
    add_facts(tensor, words);
    words.push_back(tensor.requires_grad());
    for (char c : layout->str() + (from == nullptr ? "" : from->str())) words.push_back(c);
    comm::check_same(words, compared_by(what), layout->mesh());
    if (from != nullptr) moves.add(from, layout);
  }
  check_rank(tensor, layout, what);
}

at::Tensor distribute_tensor(const at::Tensor& tensor, Layout layout) {
  check_layout(tensor, layout, "distribute_tensor");
  if (holds_shards(tensor)) {
    const ShardedTensorImpl& impl = sharded(tensor);
    const RunningOp running("distribute_tensor", impl.identity(), impl.interned_path(), /*keeps_value=*/true);
    return redistribute_tensor(tensor, layout);
  }
  RunningOp running("distribute_tensor", new_root("distribute_tensor"), nullptr);
  // Weights may be memory that is filled later.
  if (!tensor.requires_grad()) running.add(sample(tensor, kSampled));
  return redistribute_tensor(tensor, layout);
}

at::Tensor redistribute_tensor(const at::Tensor& tensor, Layout layout) {
  if (holds_shards(tensor) && sharded(tensor).layout() == layout) return tensor;
  return recorded(tensor) ? Distribute::apply(tensor, as_word(layout)) : lay_out(tensor, layout);
}

at::Tensor full_or_alias(const at::Tensor& tensor) {
  if (!holds_shards(tensor)) return tensor;
  const ShardedTensorImpl& impl = sharded(tensor);
  const RunningOp running("full_tensor", mix(hash_text("full_tensor"), impl.identity()), impl.interned_path());
  at::Tensor whole = recorded(tensor) ? Full::apply(tensor) : whole_of(tensor);
  comm::settle();
  return whole;
}

at::Tensor full_tensor(const at::Tensor& tensor) {
  at::Tensor whole = full_or_alias(tensor);
  return holds_shards(tensor) && whole.is_alias_of(sharded(tensor).local()) ? whole.clone() : whole;
}

at::Tensor local_tensor(const at::Tensor& tensor) { return holds_shards(tensor) ? Local::apply(tensor) : tensor; }

at::Tensor from_local(const at::Tensor& local, Layout layout, std::optional<std::vector<int64_t>> shape) {
  require_installed();
  const RunningOp running("from_local", new_root("from_local"), nullptr);
  TORCH_CHECK_VALUE(layout != nullptr && local.defined(), "from_local: no layout or no part given");
  check_parts(local, layout, shape);
  check_rank(local, layout, "from_local");
  TORCH_CHECK_VALUE(!holds_shards(local), "from_local: the part is itself a sharded tensor; use distribute_tensor");
  const Whole whole = put_together(local, layout, shape);
  disable_fuser();
  return wrap_part(local, layout, whole.sizes, whole.order);
}

bool is_sharded(const at::Tensor& tensor) { return holds_shards(tensor); }

Layout layout_of(const at::Tensor& tensor) {
  TORCH_CHECK_VALUE(holds_shards(tensor),
                    "layout_of: a plain tensor has no layout; distribute_tensor makes it sharded");
  return sharded(tensor).layout();
}

std::string path_of(const at::Tensor& tensor) { return holds_shards(tensor) ? sharded(tensor).path() : std::string(); }

void set_path(const at::Tensor& tensor, const std::string& path) {
  TORCH_CHECK_VALUE(holds_shards(tensor), "set_path: a plain tensor carries no path");
  sharded(tensor).cell().path = interned(path);
}

}  // namespace weft
