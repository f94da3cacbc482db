#pragma once
// What TorchScript holds of meshes, layouts and layout maps: thin objects around the interned ones.
#include <torch/custom_class.h>
#include <weft/layout.h>
#include <weft/layout_map.h>

#include <memory>
#include <string>
#include <vector>

namespace weft {

struct MeshObject : torch::CustomClassHolder {
  explicit MeshObject(Mesh m) : mesh(m) {}
  Mesh mesh;
};

struct LayoutObject : torch::CustomClassHolder {
  explicit LayoutObject(Layout l) : layout(l) {}
  Layout layout;
};

struct LayoutMapObject : torch::CustomClassHolder {
  explicit LayoutMapObject(std::shared_ptr<const LayoutMap> m) : map(std::move(m)) {}
  explicit LayoutMapObject(LayoutMap m) : map(std::make_shared<const LayoutMap>(std::move(m))) {}
  /// Entries may be added to a map that is already active.
  LayoutMap& entries() const { return const_cast<LayoutMap&>(*map); }
  std::shared_ptr<const LayoutMap> map;
};

using MeshPtr = c10::intrusive_ptr<MeshObject>;
using LayoutPtr = c10::intrusive_ptr<LayoutObject>;
using LayoutMapPtr = c10::intrusive_ptr<LayoutMapObject>;

/// Axis names per dimension from a tuple or list of None, a name, or a tuple of names.
std::vector<std::vector<std::string>> axes_from(const c10::IValue& axes);
/// The same back: a tuple.
c10::IValue axes_to(const std::vector<std::vector<std::string>>& axes);

void register_classes();
void register_layout_map_class();
void register_variables_class();
void register_checkpoint_classes();
void register_traced_classes();

}  // namespace weft
