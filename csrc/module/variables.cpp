#include "module/variables.h"

#include <ATen/Context.h>
#include <weft/module.h>
#include <weft/tensor.h>

#include <algorithm>
#include <mutex>

#include "base/error_codes.h"
#include "base/hash.h"
#include "base/installed.h"
#include "base/interned.h"
#include "base/quote.h"
#include "comm/agree/agree_or_throw.h"
#include "comm/agree/check_same.h"
#include "mesh/context.h"
#include "mesh/log.h"
#include "paths/adapter.h"
#include "paths/report_parts.h"
#include "paths/unheeded.h"
#include "redistribute/tensors.h"
#include "tensor/identity.h"
#include "tensor/memory.h"
#include "tensor/sharded.h"

namespace weft {
namespace {

struct Active {
  std::mutex mutex;
  std::shared_ptr<const LayoutMap> map;
};
Active& active() {
  static Active* a = new Active();
  return *a;
}

// A variable for which the map has no layout is replicated.
Layout or_whole(Layout found, const LayoutMap& map, const at::Tensor& variable) {
  return found != nullptr ? found : TensorLayout::replicated(map.mesh(), variable.dim());
}

// A hash of a few of the values, also of those on a GPU.
uint64_t sample_of(const at::Tensor& plain) {
  constexpr int64_t kWords = 16;
  if (plain.is_cpu() || !plain.is_contiguous() || plain.numel() == 0) return sample(plain, kWords);
  const int64_t step = std::max<int64_t>(1, plain.numel() / kWords);
  return sample(plain.view(-1).slice(0, 0, plain.numel(), step).cpu(), kWords);
}

void add_words(std::vector<int64_t>& words, const std::string& text) {
  words.push_back(static_cast<int64_t>(text.size()));
  for (char c : text) words.push_back(c);
}

}  // namespace

std::shared_ptr<const LayoutMap> register_layouts(std::shared_ptr<const LayoutMap> map) {
  std::lock_guard<std::mutex> lock(active().mutex);
  std::swap(active().map, map);
  return map;
}

std::shared_ptr<const LayoutMap> active_layouts() {
  std::lock_guard<std::mutex> lock(active().mutex);
  return active().map;
}

at::Tensor lay_out_variable(const at::Tensor& variable, Layout layout, const std::string& path,
                            const std::string& rule) {
  // Not by value: it may be memory that is filled later.
  const bool again = holds_shards(variable);
  const RunningOp running("distribute_variable", again ? sharded(variable).identity() : new_root("distribute_variable"),
                          interned(path), again);
  at::Tensor out = lay_out(variable.detach(), layout);
  if (out.is_floating_point() || out.is_complex()) out.set_requires_grad(variable.requires_grad());
  set_path(out, path);
  const at::Tensor grad = variable.is_leaf() ? variable.grad() : at::Tensor();
  if (grad.defined()) {
    out.mutable_grad() = lay_out(grad.detach(), layout->without_partial());
    set_path(out.grad(), path);
  }
  if (log_on(LogLevel::debug)) {
    const at::Tensor& local = sharded(out).local();
    log(LogLevel::debug, "variable ", path, " ", variable.sizes(), ": ",
        rule.empty() ? "no rule" : c10::str("rule '", rule, "'"), ", layout ", layout->str(), ", local shape ",
        local.sizes(), ", ", local.nbytes(), " bytes");
  }
  return out;
}

at::Tensor distribute_variable(const at::Tensor& variable, Layout layout) {
  check_layout(variable, layout, "distribute_variable");
  if (holds_shards(variable) && sharded(variable).layout() == layout) return variable;
  return lay_out_variable(variable, layout, path_of(variable));
}

at::Tensor tag(const at::Tensor& variable, const std::string& path, const LayoutMap& map,
               const std::string& module_type) {
  require_installed();
  TORCH_CHECK_VALUE(variable.defined(), "[W030] tag: no tensor given for ", quote(path));
  const std::string canonical = canonical_path(path);
  const Layout layout = comm::agree_or_throw(compared_by("tag"), map.mesh(), [&] {
    return or_whole(map.layout_for(path, variable.sizes().vec(), module_type), map, variable);
  });
  at::Tensor out = variable;
  if (!holds_shards(variable) || sharded(variable).layout() != layout) {
    check_layout(variable, layout, "tag");
    if (variable.is_leaf()) return lay_out_variable(variable, layout, canonical);
    out = redistribute_tensor(variable, layout);
  }
  set_path(out, canonical);
  return out;
}

at::Tensor tag(const at::Tensor& variable, const std::string& path, const std::string& module_type) {
  const auto map = active_layouts();
  comm::agree_or_throw(compared_by("tag"), map ? map->mesh() : nullptr, [&] {
    TORCH_CHECK_VALUE(map != nullptr, "[W044] tag: no layouts are registered to look ", quote(path),
                      " up in; call weft.register_layouts(layout_map) first");
  });
  return tag(variable, path, *map, module_type);
}

int64_t Variables::add(const at::Tensor& tensor, const std::string& path, const std::string& module_type) {
  TORCH_CHECK_VALUE(tensor.defined(), "[W030] distribute_module: no tensor at ", quote(path));
  if (!map_.mesh()->is_simulated()) check_memory(c10::str("distribute_module: ", quote(path)), tensor);
  const Layout found = map_.layout_for(path, tensor.sizes().vec(), module_type);
  const Layout layout = or_whole(found, map_, tensor);
  const auto patterns = log_on(LogLevel::debug) ? map_.matching(path, module_type) : std::vector<std::string>();
  const std::string rule = patterns.empty() ? std::string() : patterns[0];
  const auto [it, is_new] = numbers_.emplace(tensor.unsafeGetTensorImpl(), static_cast<int64_t>(all_.size()));
  if (is_new) {
    all_.push_back({tensor, canonical_path(path), layout, rule, module_type, found != nullptr});
    return it->second;
  }
  Variable& known = all_[it->second];
  known.matched |= found != nullptr;
  // One of the two paths may be the one that no entry names.
  if (known.layout == layout || layout->is_replicated()) return it->second;
  TORCH_CHECK_VALUE(known.layout->is_replicated(), "[W051] distribute_module: ", quote(known.path), " and ",
                    quote(canonical_path(path)), " are one variable, but the layout map says ", known.layout->str(),
                    " for the first and ", layout->str(),
                    " for the second; give both the same layout, or name one of them only");
  known.layout = layout;
  known.rule = rule;
  return it->second;
}

void Variables::check_ranks() const {
  std::vector<int64_t> words;
  for (const Variable& v : all_) {
    add_words(words, v.path);
    add_words(words, v.layout->str());
    words.push_back(v.tensor.dim());
    for (int64_t size : v.tensor.sizes()) words.push_back(size);
    words.push_back(static_cast<int64_t>(v.tensor.scalar_type()));
    words.push_back(static_cast<int64_t>(v.tensor.device().type()));
    words.push_back(holds_shards(v.tensor));
    words.push_back(v.tensor.requires_grad());
    words.push_back(v.tensor.is_leaf() && v.tensor.grad().defined());
  }
  comm::check_same(words, kWhat, map_.mesh(), [&] {
    comm::Facts facts{{"number of variables", std::to_string(all_.size())}};
    for (const Variable& v : all_) {
      facts.emplace_back("variable " + quote(v.path),
                         c10::str(v.tensor.scalar_type(), v.tensor.sizes(), " on ", v.tensor.device().type(),
                                  holds_shards(v.tensor) ? ", sharded already" : "", " to be laid out as ",
                                  v.layout->describe(), v.tensor.requires_grad() ? "" : ", requires_grad=False",
                                  v.tensor.is_leaf() && v.tensor.grad().defined() ? ", with a gradient" : ""));
    }
    return facts;
  });
}

std::string Variables::differing_values() const {
  if (context().world_size() == 1 || map_.mesh()->is_simulated()) return "";
  uint64_t values = 0;
  bool on_meta = false;
  for (const Variable& v : all_) {
    on_meta |= v.tensor.is_meta();
    if (!v.tensor.is_meta() && !holds_shards(v.tensor)) values = mix(values, sample_of(v.tensor.detach()));
  }
  std::vector<int64_t> words{static_cast<int64_t>(values)};
  if (on_meta) {
    words.push_back(static_cast<int64_t>(sample_of(at::globalContext().defaultGenerator(at::kCPU).get_state())));
  }
  try {
    comm::check_same(words, "the variables' values, or the random state that those on the meta device get theirs from,",
                     map_.mesh());
    return "";
  } catch (const c10::ValueError& e) {
    return c10::str("[W055] distribute_module: ", without_code(e.what_without_backtrace()),
                    ". Each rank keeps its part of its own values: seed all ranks alike before the model is built "
                    "(weft.initialize() does), or load the same checkpoint on all");
  }
}

std::string Variables::left_out(bool whole_is_meant) const {
  if (context().rank() != 0) return "";
  std::vector<VariableInfo> unmatched;
  int64_t bytes = 0;
  for (const Variable& v : all_) {
    const auto item = static_cast<int64_t>(v.tensor.element_size());
    bytes = saturating_sum(bytes, item * v.tensor.numel());
    if (!v.matched) unmatched.push_back({v.path, v.tensor.sizes().vec(), item, v.module_type, nullptr});
  }
  return unheeded(map_, unmatched, bytes, whole_is_meant);
}

void Variables::warn() const {
  for (const std::string& text : {differing_values(), left_out()}) {
    if (!text.empty() && context().rank() == 0) TORCH_WARN(text);
  }
}

at::Tensor Variables::lay_out(int64_t number) const {
  const Variable& v = all_.at(number);
  if (!v.tensor.is_meta()) return lay_out_variable(v.tensor, v.layout, v.path, v.rule);
  const at::Device device(v.layout->mesh()->device_type());
  const at::Tensor memory = empty_sharded(v.tensor.sizes(), v.layout, v.tensor.options().device(device));
  return lay_out_variable(memory, v.layout, v.path, v.rule).set_requires_grad(v.tensor.requires_grad());
}

std::string synonym_type(const std::string& module_type, at::IntArrayRef weight_sizes, int64_t groups) {
  const std::string type = canonical_module_type(module_type);
  if ((type == "Conv1d" || type == "Conv2d") && groups > 1 && weight_sizes.size() > 1 && weight_sizes[1] == 1) {
    return type == "Conv1d" ? "DepthwiseConv1d" : "DepthwiseConv2d";
  }
  return module_type;
}

}  // namespace weft
