#pragma once
// Variables and whole modules laid out by their paths.
#include <ATen/core/Tensor.h>
#include <weft/layout_map.h>

#include <functional>
#include <memory>
#include <string>

namespace torch::nn {
class Module;
}
namespace torch::jit {
struct Module;
}

namespace weft {

/// Makes `map` the active one of this process (null: none) and returns the one before.
WEFT_API std::shared_ptr<const LayoutMap> register_layouts(std::shared_ptr<const LayoutMap> map);
/// The active map; null where none is registered.
WEFT_API std::shared_ptr<const LayoutMap> active_layouts();

/// A map that is active as long as this lives.
class LayoutScope {
 public:
  explicit LayoutScope(std::shared_ptr<const LayoutMap> map) : before_(register_layouts(std::move(map))) {}
  ~LayoutScope() { register_layouts(before_); }
  LayoutScope(const LayoutScope&) = delete;
  LayoutScope& operator=(const LayoutScope&) = delete;

 private:
  std::shared_ptr<const LayoutMap> before_;
};

/// The variable laid out as the active map says (replicated where no entry matches), carrying its path into traces and
/// errors. A leaf gives a leaf that requires grad as it does; anything else is laid out differentiably. A sharded
/// variable is redistributed.
/// @param path         Keras's form "encoder/dense/kernel" or torch's "encoder.dense.weight"
/// @param module_type  type of the module that owns it, so that leaf names of the other framework are understood
/// Raises ValueError where no map is active, several entries match, or the entry's rank is not the variable's.
WEFT_API at::Tensor tag(const at::Tensor& variable, const std::string& path, const std::string& module_type = {});
/// The same with a map of one's own.
WEFT_API at::Tensor tag(const at::Tensor& variable, const std::string& path, const LayoutMap& map,
                        const std::string& module_type = {});

/// A variable's value in another layout, as a leaf that requires grad as `variable` does.
WEFT_API at::Tensor distribute_variable(const at::Tensor& variable, Layout layout);

/// Called for a module that holds tensors of its own in members that only its code can reach, after its registered
/// parameters and buffers were replaced: set the members from named_parameters(false) and named_buffers(false).
using Rebind = std::function<void(const std::string& path, torch::nn::Module& module)>;

/// Tags and shards every parameter and buffer of the module by its path, in place. Tied parameters stay tied, gradients
/// that are there are laid out too; variables on the meta device get memory for this rank's part, which is not filled.
/// Warns, on the first rank, where the ranks have different values, of entries of the map that match nothing and of
/// large variables that no entry matches. LibTorch's own layers are known; a module of yours that keeps
/// parameters in members needs `rebind`. In C++ a sharded tensor is a new object: make optimizers afterwards. Raises
/// ValueError for a path that matches several entries, an entry of the wrong rank, and where something still holds a
/// parameter from before (such a member, or an optimizer), on any rank; the module is then as it was.
WEFT_API void distribute_module(torch::nn::Module& module, const LayoutMap& map, const Rebind& rebind = {});
/// The same for a scripted module: its parameters and buffers are attributes, which are set.
WEFT_API void distribute_module(torch::jit::Module& module, const LayoutMap& map);

}  // namespace weft
