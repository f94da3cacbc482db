#pragma once
// What TorchScript holds of meshes, layouts and layout maps: thin objects around the interned ones.
#include <torch/custom_class.h>
#include <weft/layout.h>
#include <weft/layout_map.h>

namespace weft {

struct MeshObject : torch::CustomClassHolder {
  explicit MeshObject(Mesh m) : mesh(m) {}
  Mesh mesh;
};

struct LayoutObject : torch::CustomClassHolder {
  explicit LayoutObject(Layout l) : layout(l) {}
  Layout layout;
};

using MeshPtr = c10::intrusive_ptr<MeshObject>;
using LayoutPtr = c10::intrusive_ptr<LayoutObject>;

/// Axis names per dimension from a tuple or list of None, a name, or a tuple of names.
std::vector<std::vector<std::string>> axes_from(const c10::IValue& axes);
/// The same back: a tuple.
c10::IValue axes_to(Layout layout);

void register_classes();

}  // namespace weft
