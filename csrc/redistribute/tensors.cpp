// Laying tensors out.
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
#include "layout/shard.h"
#include "mesh/context.h"
#include "redistribute/redistribute.h"
#include "redistribute/sparse.h"
#include "redistribute/tensors_shared.h"
#include "tensor/below_autograd.h"
#include "tensor/memory.h"
#include "tensor/op_history.h"
#include "tensor/sharded.h"
#include "tensor/strided.h"
#include "tensor/traced.h"
#include "tensor/unreal.h"

namespace weft {

void check_rank(const at::Tensor& tensor, Layout layout, const char* what) {
  TORCH_CHECK_VALUE(layout != nullptr, "[W030] ", what, ": no layout given");
  TORCH_CHECK_VALUE(tensor.defined(), "[W030] ", what, ": no tensor given");
  check_strided(what, tensor);
  if (!layout->mesh()->is_simulated()) check_memory(what, tensor);
  TORCH_CHECK_VALUE(layout->ndim() == tensor.dim(), "[W028] ", what, ": layout ", layout->describe(), " is for ",
                    layout->ndim(), " dimensions, the tensor has ", tensor.dim(), " (shape ", tensor.sizes(), ")");
}

void disable_fuser() {
  [[maybe_unused]] static const bool done = [] {
    torch::jit::setTensorExprFuserEnabled(false);
    return true;
  }();
}

namespace {

// The geometry of the sharded tensor that a plain one becomes.
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

std::string kind_text(const at::Tensor& t) { return c10::str(t.layout()) + (t.is_nested() ? ", nested" : ""); }

// The same for an error's text.
comm::Facts facts_of(const at::Tensor& t, Layout from, Layout to) {
  comm::Facts facts{{"dtype", c10::str(t.scalar_type())}, {"kind", kind_text(t)}};
  if (!t.is_nested()) facts.insert(facts.begin(), {"shape", c10::str(t.sizes())});
  if (!t.is_nested() && t.layout() == at::kStrided) {
    const Sizes strides = dense_geometry(t).strides;
    facts.emplace_back("stride", c10::str(c10::IntArrayRef(strides)));
  }
  facts.emplace_back("layout", to->describe());
  facts.emplace_back("layout before", from == nullptr ? "none" : from->describe());
  facts.emplace_back("requires_grad", t.requires_grad() ? "True" : "False");
  return facts;
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
  void forget_simulated() {
    std::lock_guard<std::mutex> lock(mutex);
    std::erase_if(compared, [](const auto& move) { return move.first->mesh()->is_simulated(); });
  }
};

struct Distribute : torch::autograd::Function<Distribute> {
  using AutogradContext = torch::autograd::AutogradContext;
  using variable_list = torch::autograd::variable_list;

  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& tensor, int64_t layout) {
    ctx->saved_data["plain"] = !holds_shards(tensor);
    if (holds_shards(tensor) && sharded(tensor).layout()->mesh() != as_layout(layout)->mesh()) {
      const Mesh before = sharded(tensor).layout()->mesh();
      ctx->saved_data["before"] = as_word(TensorLayout::replicated(before, tensor.dim()));
    }
    return for_program(lay_out(tensor, as_layout(layout)));
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    // The value is the same whatever the layout; a plain input takes a plain gradient, one of another mesh a gradient
    // there.
    at::Tensor grad = grads[0];
    const auto before = ctx->saved_data.find("before");
    if (grad.defined() && before != ctx->saved_data.end()) {
      grad = redistribute_tensor(grad, as_layout(before->second.toInt()));
    }
    if (grad.defined() && ctx->saved_data["plain"].toBool()) {
      grad = grad.requires_grad() ? full_tensor(grad) : full_or_alias(grad);  // a graph of gradients goes on
    }
    return {grad, at::Tensor()};
  }
};

// Every rank has the whole value on the way.
at::Tensor to_another_mesh(const at::Tensor& tensor, Layout layout) {
  const ShardedTensorImpl& impl = sharded(tensor);
  const Mesh from = impl.layout()->mesh();
  TORCH_CHECK_VALUE(!from->is_simulated() && !layout->mesh()->is_simulated() && tensor.layout() == at::kStrided,
                    "[W031] distribute_tensor: the tensor lies on ", from->str(), " and the layout on ",
                    layout->mesh()->str());
  at::Tensor out = lay_out(full_or_alias(tensor), layout);
  if (const std::string* path = impl.interned_path()) sharded(out).cell().path = path;
  return out;
}

}  // namespace

at::Tensor lay_out(const at::Tensor& tensor, Layout layout) {
  BelowAutograd guard;
  if (holds_shards(tensor)) {
    const ShardedTensorImpl& impl = sharded(tensor);
    if (has_own_rows(tensor)) return lay_out(gather_entries(tensor), layout);
    if (impl.layout()->mesh() != layout->mesh()) return to_another_mesh(tensor, layout);
    if (impl.layout() == layout) return tensor;
    if (tensor.is_sparse()) return lay_out_sparse(tensor, layout);
    at::Tensor local = redistribute_local(impl.local(), tensor.sizes(), impl.layout(), layout, tensor.strides());
    at::Tensor out = make_sharded(owned(std::move(local), impl.local()), layout, impl.geometry());
    if (const std::string* path = impl.interned_path()) sharded(out).cell().path = path;
    return out;
  }
  context().bind(layout->mesh());  // refuses a mesh of other ranks, also where nothing will move
  disable_fuser();
  const Layout replicated = TensorLayout::replicated(layout->mesh(), tensor.dim());
  const Geometry geometry = dense_geometry(tensor);
  const at::Tensor dense = tensor.is_non_overlapping_and_dense() ? tensor : tensor.contiguous();
  const at::Tensor source = plain_on(layout->mesh(), dense);
  return make_sharded(owned(redistribute_local(source, tensor.sizes(), replicated, layout), tensor), layout, geometry);
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
  for (const at::Tensor& t : tensors) call.plain = mix(call.plain, holds_shards(t) ? 0 : sample(t, kValueWords));
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
  return make_sharded(at::empty(local_sizes(layout, sizes, coordinates), options_on(layout->mesh(), options)), layout,
                      geometry);
}

std::string compared_by(const std::string& function) {
  if (function != "from_local") return function + ": the tensor's shape, strides, dtype, requires_grad and layout";
  return function +
         ": the parts' dtype, the sizes of dimensions that are not split, the global shape, requires_grad and the "
         "layout";
}

void check_layout(const at::Tensor& tensor, Layout layout, const char* what) {
  require_installed();
  TORCH_CHECK_VALUE(layout != nullptr, "[W030] ", what, ": no layout given");
  TORCH_CHECK_VALUE(tensor.defined(), "[W030] ", what, ": no tensor given");
  // First of all, so that what is wrong on one rank only is an error on all.
  const Layout from = holds_shards(tensor) ? sharded(tensor).layout() : nullptr;
  Moves& moves = context().state<Moves>();
  const bool traced = is_traced(from == nullptr ? tensor : sharded(tensor).local());
  if (!traced && (from == nullptr || !moves.has(from, layout))) {
    std::vector<int64_t> words;
    add_facts(tensor, words);
    words.push_back(tensor.requires_grad());
    for (char c : layout->str() + (from == nullptr ? "" : from->str())) words.push_back(c);
    comm::check_same(words, compared_by(what), layout->mesh(), [&] { return facts_of(tensor, from, layout); });
    if (from != nullptr) moves.add(from, layout);
  }
  check_rank(tensor, layout, what);
}

void forget_simulated_moves() { context().state<Moves>().forget_simulated(); }

at::Tensor distribute_tensor(const at::Tensor& tensor, Layout layout) {
  check_layout(tensor, layout, "distribute_tensor");
  if (holds_shards(tensor)) {
    const ShardedTensorImpl& impl = sharded(tensor);
    const RunningOp running("distribute_tensor", impl.identity(), impl.interned_path(), /*keeps_value=*/true);
    return redistribute_tensor(tensor, layout);
  }
  RunningOp running("distribute_tensor", new_root("distribute_tensor"), nullptr);
  // Weights may be memory that is filled later.
  if (!tensor.requires_grad()) running.add(sample(tensor, kValueWords));
  return redistribute_tensor(tensor, layout);
}

at::Tensor redistribute_tensor(const at::Tensor& tensor, Layout layout) {
  if (holds_shards(tensor) && sharded(tensor).layout() == layout && !has_own_rows(tensor)) return tensor;
  return recorded(tensor) ? Distribute::apply(tensor, as_word(layout)) : for_program(lay_out(tensor, layout));
}

at::Tensor lay_out_operand(const at::Tensor& tensor, Layout layout, const char* op, const char* operand) {
  if (holds_shards(tensor) || is_traced(tensor)) return redistribute_tensor(tensor, layout);
  RunningOp running(op, new_root(op), nullptr);
  const OpHistory::Op call{.name = op, .plain = sample(tensor, kValueWords), .plain_operand = operand};
  OpHistory::of_thread().add(call);
  running.add(call.plain);
  return redistribute_tensor(tensor, layout);
}

bool is_sharded(const at::Tensor& tensor) { return holds_shards(tensor); }

Layout layout_of(const at::Tensor& tensor) {
  TORCH_CHECK_VALUE(holds_shards(tensor),
                    "[W035] layout_of: a plain tensor has no layout; distribute_tensor makes it sharded");
  return sharded(tensor).known_layout();
}

std::string path_of(const at::Tensor& tensor) { return holds_shards(tensor) ? sharded(tensor).path() : std::string(); }

void set_path(const at::Tensor& tensor, const std::string& path) {
  TORCH_CHECK_VALUE(holds_shards(tensor), "[W035] set_path: a plain tensor carries no path");
  sharded(tensor).cell().path = interned(path);
}

}  // namespace weft
