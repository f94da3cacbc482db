// distribute_module for LibTorch's modules.
#include <c10/util/Exception.h>
#include <torch/nn/module.h>
#include <torch/nn/modules.h>
#include <weft/module.h>

#include "base/installed.h"
#include "comm/agree/agree_or_throw.h"
#include "comm/world/last_work.h"
#include "module/variables.h"
#include "paths/adapter.h"

namespace weft {
namespace {

namespace nn = torch::nn;

// The dictionaries of a module, which no public call changes. An explicit instantiation may name private members.
using Dictionary = torch::OrderedDict<std::string, at::Tensor>;
template <Dictionary nn::Module::* parameters, Dictionary nn::Module::* buffers>
struct Dictionaries {
  friend std::array<Dictionary*, 2> dictionaries_of(nn::Module& m) { return {&(m.*parameters), &(m.*buffers)}; }
};
std::array<Dictionary*, 2> dictionaries_of(nn::Module& m);
template struct Dictionaries<&nn::Module::parameters_, &nn::Module::buffers_>;

template <class Impl>
struct FlatWeights : nn::detail::RNNImplBase<Impl> {
  static std::vector<at::Tensor>& of(Impl& m) { return m.*(&FlatWeights::flat_weights_); }
};

using Replace = std::function<void(at::Tensor&)>;

template <class... Impls, class F>
bool any_of_types(nn::Module& m, const F& f) {
  auto one = [&](auto* impl) {
    if (impl != nullptr) f(*impl);
    return impl != nullptr;
  };
  return (one(dynamic_cast<Impls*>(&m)) || ...);
}

// A module's members are handles of their own beside the dictionaries.
void replace_members(nn::Module& m, const Replace& replace) {
  any_of_types<nn::LinearImpl, nn::BilinearImpl, nn::Conv1dImpl, nn::Conv2dImpl, nn::Conv3dImpl,
               nn::ConvTranspose1dImpl, nn::ConvTranspose2dImpl, nn::ConvTranspose3dImpl, nn::LayerNormImpl,
               nn::GroupNormImpl>(m, [&](auto& l) {
    replace(l.weight);
    replace(l.bias);
  });
  any_of_types<nn::EmbeddingImpl, nn::EmbeddingBagImpl, nn::PReLUImpl>(m, [&](auto& l) { replace(l.weight); });
  any_of_types<nn::BatchNorm1dImpl, nn::BatchNorm2dImpl, nn::BatchNorm3dImpl, nn::InstanceNorm1dImpl,
               nn::InstanceNorm2dImpl, nn::InstanceNorm3dImpl>(m, [&](auto& l) {
    for (at::Tensor* t : {&l.weight, &l.bias, &l.running_mean, &l.running_var, &l.num_batches_tracked}) replace(*t);
  });
  auto flat = [&]<class Impl>(Impl& l) {
    for (at::Tensor& t : FlatWeights<Impl>::of(l)) replace(t);
  };
  any_of_types<nn::RNNImpl, nn::LSTMImpl, nn::GRUImpl>(m, flat);
  any_of_types<nn::RNNCellImpl, nn::LSTMCellImpl, nn::GRUCellImpl>(m, [&](auto& l) {
    for (at::Tensor* t : {&l.weight_ih, &l.weight_hh, &l.bias_ih, &l.bias_hh}) replace(*t);
  });
  any_of_types<nn::MultiheadAttentionImpl>(m, [&](auto& l) {
    for (at::Tensor* t : {&l.in_proj_weight, &l.in_proj_bias, &l.q_proj_weight, &l.k_proj_weight, &l.v_proj_weight,
                          &l.bias_k, &l.bias_v}) {
      replace(*t);
    }
  });
}

template <class Impl>
int64_t groups_of(const nn::Module& m) {
  const auto* conv = dynamic_cast<const Impl*>(&m);
  return conv != nullptr ? conv->options.groups() : 0;
}

std::string type_of(const nn::Module& m) {
  const int64_t groups = std::max(groups_of<nn::Conv1dImpl>(m), groups_of<nn::Conv2dImpl>(m));
  if (groups <= 1) return m.name();
  return synonym_type(m.name(), m.named_parameters(false)["weight"].sizes(), groups);
}

struct Owner {
  std::string path;
  nn::Module* module;
};

void collect(nn::Module& m, const std::string& path, std::vector<Owner>& owners) {
  owners.push_back({path, &m});
  for (const auto& child : m.named_children()) {
    collect(*child.value(), path.empty() ? child.key() : path + "." + child.key(), owners);
  }
}

using Replacements = std::unordered_map<const c10::TensorImpl*, at::Tensor>;

void put(const std::vector<Owner>& owners, const Replacements& replacements, const Rebind& rebind) {
  const Replace replace = [&](at::Tensor& t) {
    if (!t.defined()) return;
    if (const auto it = replacements.find(t.unsafeGetTensorImpl()); it != replacements.end()) t = it->second;
  };
  for (const Owner& o : owners) {
    for (Dictionary* dictionary : dictionaries_of(*o.module)) {
      for (auto& item : *dictionary) replace(item.value());
    }
    replace_members(*o.module, replace);
    if (rebind) rebind(o.path, *o.module);
  }
}

// Who still holds a variable from before would go on with a copy that nobody trains.
void check_unheld(const Variables& variables) {
  const auto holders = [&] {
    std::string held;
    for (const Variable& v : variables.all()) {
      if (v.tensor.use_count() > 1) held += (held.empty() ? "" : ", ") + v.path;
    }
    return held;
  };
  std::string held = holders();
  if (!held.empty()) {
    comm::await_workers();  // which may hold what a collective was given just now
    held = holders();
  }
  TORCH_CHECK_VALUE(
      held.empty(), "[W052] distribute_module: something still holds these variables as they were before: ", held,
      ". If that is an optimizer, make it after distribute_module; if a member of a module of yours, pass "
      "`rebind` and set the member from named_parameters(false); if a tensor of yours, let go of it first");
}

}  // namespace

void distribute_module(nn::Module& module, const LayoutMap& map, const Rebind& rebind) {
  require_installed();
  std::vector<Owner> owners;
  collect(module, "", owners);
  Variables variables(map);
  comm::agree_or_throw(Variables::kWhat, map.mesh(), [&] {
    for (const Owner& o : owners) {
      const std::string type = type_of(*o.module), prefix = o.path.empty() ? "" : o.path + ".";
      for (const auto& members : {o.module->named_parameters(false), o.module->named_buffers(false)}) {
        for (const auto& item : members) {
          if (item.value().defined()) variables.add(item.value(), prefix + item.key(), type);
        }
      }
    }
  });
  variables.check_ranks();
  variables.warn();
  Replacements made;
  for (size_t i = 0; i < variables.all().size(); ++i) {
    made[variables.all()[i].tensor.unsafeGetTensorImpl()] = variables.lay_out(static_cast<int64_t>(i));
  }
  put(owners, made, rebind);
  static const std::string kHolders = "distribute_module: what still holds the module's variables";
  try {
    comm::agree_or_throw(kHolders, map.mesh(), [&] { check_unheld(variables); });
    comm::check_same({}, kHolders, map.mesh());
  } catch (...) {
    Replacements before;
    for (const Variable& v : variables.all())
      before[made.at(v.tensor.unsafeGetTensorImpl()).unsafeGetTensorImpl()] = v.tensor;
    put(owners, before, rebind);
    throw;
  }
}

}  // namespace weft
