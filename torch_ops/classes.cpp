#include "classes.h"

#include <c10/util/Exception.h>

#include "comm/agree/agree_or_throw.h"
#include "comm/agree/check_same.h"
#include "layout/shard.h"
#include "mesh/context.h"

namespace weft {
namespace {

std::vector<std::string> names_from(const c10::IValue& v) {
  if (v.isNone()) return {};
  if (v.isString()) return {v.toStringRef()};
  std::vector<std::string> out;
  auto add = [&](const c10::IValue& e) {
    TORCH_CHECK_VALUE(e.isString(), "[W026] axes: expected an axis name, None or a tuple of axis names per dimension");
    out.push_back(e.toStringRef());
  };
  if (v.isTuple()) {
    for (const auto& e : v.toTupleRef().elements()) add(e);
  } else if (v.isList()) {
    for (const auto& e : v.toListRef()) add(e);
  } else {
    TORCH_CHECK_VALUE(false, "[W026] axes: expected an axis name, None or a tuple of axis names per dimension");
  }
  return out;
}

}  // namespace

std::vector<std::vector<std::string>> axes_from(const c10::IValue& axes) {
  std::vector<std::vector<std::string>> out;
  if (axes.isTuple()) {
    for (const auto& e : axes.toTupleRef().elements()) out.push_back(names_from(e));
  } else if (axes.isList()) {
    for (const auto& e : axes.toListRef()) out.push_back(names_from(e));
  } else {
    TORCH_CHECK_VALUE(false, "[W026] axes: expected a tuple with one entry per dimension");
  }
  return out;
}

c10::IValue axes_to(const std::vector<std::vector<std::string>>& axes) {
  std::vector<c10::IValue> out;
  for (const auto& dim : axes) {
    if (dim.empty()) {
      out.emplace_back();
    } else if (dim.size() == 1) {
      out.emplace_back(dim[0]);
    } else {
      out.push_back(c10::ivalue::Tuple::create(std::vector<c10::IValue>(dim.begin(), dim.end())));
    }
  }
  return c10::ivalue::Tuple::create(std::move(out));
}

std::vector<std::vector<std::string>> axis_names(Layout layout) {
  std::vector<std::vector<std::string>> out;
  for (const auto& dim : layout->dims()) {
    out.emplace_back();
    for (const Split& s : dim) out.back().push_back(layout->mesh()->axis_name(s.axis));
  }
  return out;
}

namespace {

using PartialDict = c10::Dict<std::string, std::string>;

LayoutPtr make_layout(const c10::IValue& axes, const MeshPtr& mesh, const std::optional<PartialDict>& partial) {
  TORCH_CHECK_VALUE(mesh, "[W030] TensorLayout needs a device mesh");
  std::map<std::string, std::string> reductions;
  if (partial) {
    for (const auto& entry : *partial) reductions[entry.key()] = entry.value();
  }
  return c10::make_intrusive<LayoutObject>(TensorLayout::from_names(mesh->mesh, axes_from(axes), reductions));
}

PartialDict partial_of(Layout layout) {
  PartialDict out;
  for (int a = 0; a < layout->mesh()->ndim(); ++a) {
    if (layout->partial()[a] != Reduction::none) {
      out.insert(layout->mesh()->axis_name(a), to_string(layout->partial()[a]));
    }
  }
  return out;
}

std::vector<std::vector<std::tuple<int64_t, int64_t>>> local_indices_of(const LayoutPtr& self, int64_t rank,
                                                                        const std::vector<int64_t>& shape) {
  const Layout layout = self->layout;
  const std::vector<int64_t> coordinates = layout->mesh()->coordinates_of(rank);
  TORCH_CHECK_VALUE(!coordinates.empty(), "[W037] local_indices: rank ", rank, " is not in ", layout->mesh()->str());
  TORCH_CHECK_VALUE(static_cast<int64_t>(shape.size()) == layout->ndim(), "[W028] local_indices: shape ", shape,
                    " for layout ", layout->describe());
  std::vector<std::vector<std::tuple<int64_t, int64_t>>> out(shape.size());
  for (size_t d = 0; d < shape.size(); ++d) {
    for (const auto& [start, length] : local_indices(layout, static_cast<int64_t>(d), shape[d], coordinates)) {
      out[d].emplace_back(start, length);
    }
  }
  return out;
}

// Names and blocks of the splits per dimension, pending reductions, mesh.
using LayoutState =
    std::tuple<std::vector<std::vector<std::string>>, std::vector<std::vector<int64_t>>, PartialDict, MeshPtr>;

LayoutState state_of(Layout layout) {
  std::vector<std::vector<int64_t>> blocks;
  for (const auto& dim : layout->dims()) {
    blocks.emplace_back();
    for (const Split& s : dim) blocks.back().push_back(s.block);
  }
  return {axis_names(layout), blocks, partial_of(layout), c10::make_intrusive<MeshObject>(layout->mesh())};
}

LayoutPtr layout_from_state(const LayoutState& state) {
  const auto& [names, blocks, partial, mesh] = state;
  TensorLayout::Dims dims(names.size());
  for (size_t d = 0; d < names.size(); ++d) {
    for (size_t i = 0; i < names[d].size(); ++i) dims[d].push_back({mesh->mesh->axis(names[d][i]), blocks.at(d).at(i)});
  }
  TensorLayout::Partial reductions{};
  for (const auto& entry : partial) reductions[mesh->mesh->axis(entry.key())] = reduction_from_string(entry.value());
  return c10::make_intrusive<LayoutObject>(TensorLayout::get(mesh->mesh, std::move(dims), reductions));
}

using MeshState = std::tuple<std::vector<int64_t>, std::vector<std::string>, std::vector<int64_t>, std::string>;

// Every rank makes its meshes alike: where one makes another, or fails to, all get the error here.
Mesh make_mesh(std::vector<int64_t> shape, std::vector<std::string> axis_names, std::vector<int64_t> ranks,
               std::string device_type, int64_t simulate) {
  if (simulate >= 0) {
    return DeviceMesh::simulate(std::move(shape), std::move(axis_names), simulate, std::move(device_type));
  }
  const Mesh mesh = comm::agree_or_throw(comm::kMeshMade, nullptr, [&] {
    return DeviceMesh::get(std::move(shape), std::move(axis_names), std::move(ranks), std::move(device_type));
  });
  comm::check_mesh(mesh);
  return mesh;
}

void register_mesh_class() {
  static auto mesh =
      torch::class_<MeshObject>("weft", "DeviceMesh")
          .def(torch::init([](std::vector<int64_t> shape, std::vector<std::string> axis_names,
                              std::vector<int64_t> ranks, std::string device_type, int64_t simulate) {
                 return c10::make_intrusive<MeshObject>(make_mesh(std::move(shape), std::move(axis_names),
                                                                  std::move(ranks), std::move(device_type), simulate));
               }),
               "",
               {torch::arg("shape"), torch::arg("axis_names"), torch::arg("ranks") = std::vector<int64_t>(),
                torch::arg("device_type") = "cpu", torch::arg("simulate") = int64_t{-1}})
          .def("shape", [](const MeshPtr& self) { return self->mesh->shape(); })
          .def("axis_names", [](const MeshPtr& self) { return self->mesh->axis_names(); })
          .def("ranks", [](const MeshPtr& self) { return self->mesh->ranks(); })
          .def("device_type", [](const MeshPtr& self) { return self->mesh->device_type(); })
          .def("simulated_rank", [](const MeshPtr& self) { return self->mesh->simulated_rank(); })
          .def("id", [](const MeshPtr& self) { return reinterpret_cast<int64_t>(self->mesh); })
          .def("axis_size", [](const MeshPtr& self,
                               const std::string& name) { return self->mesh->axis_size(self->mesh->axis(name)); })
          .def("coordinates",
               [](const MeshPtr& self) {
                 comm::check_mesh(self->mesh);
                 const auto& c = context().bind(self->mesh).coordinates;
                 return std::vector<int64_t>(c.begin(), c.end());
               })
          .def("__str__", [](const MeshPtr& self) { return self->mesh->str(); })
          .def_pickle(
              [](const MeshPtr& self) -> MeshState {
                return {self->mesh->shape(), self->mesh->axis_names(), self->mesh->ranks(), self->mesh->device_type()};
              },
              [](MeshState s) {
                return c10::make_intrusive<MeshObject>(
                    DeviceMesh::get(std::get<0>(s), std::get<1>(s), std::get<2>(s), std::get<3>(s)));
              });
}

void register_layout_class() {
  static auto layout =
      torch::class_<LayoutObject>("weft", "TensorLayout")
          .def(torch::init([](c10::IValue axes, const MeshPtr& mesh, std::optional<PartialDict> partial) {
                 return make_layout(axes, mesh, partial);
               }),
               "",
               {torch::arg("axes"), torch::arg("device_mesh"), torch::arg("partial") = std::optional<PartialDict>()})
          .def("axes", [](const LayoutPtr& self) { return axes_to(axis_names(self->layout)); })
          .def("blocks", [](const LayoutPtr& self) { return std::get<1>(state_of(self->layout)); })
          .def("partial", [](const LayoutPtr& self) { return partial_of(self->layout); })
          .def("mesh", [](const LayoutPtr& self) { return c10::make_intrusive<MeshObject>(self->layout->mesh()); })
          .def("id", [](const LayoutPtr& self) { return self->layout->id(); })
          .def("describe", [](const LayoutPtr& self) { return self->layout->describe(); })
          .def("local_shape",
               [](const LayoutPtr& self, const std::vector<int64_t>& shape) {
                 TORCH_CHECK_VALUE(static_cast<int64_t>(shape.size()) == self->layout->ndim(),
                                   "[W028] local_shape: shape ", shape, " for layout ", self->layout->describe());
                 const auto sizes = local_sizes(self->layout, shape, context().bind(self->layout->mesh()).coordinates);
                 return std::vector<int64_t>(sizes.begin(), sizes.end());
               })
          // For each dimension the runs of global indices that a rank holds, in its shard's order: starts and lengths.
          .def("local_indices", &local_indices_of)
          .def("__str__", [](const LayoutPtr& self) { return self->layout->str(); })
          .def_pickle([](const LayoutPtr& self) { return state_of(self->layout); },
                      [](LayoutState state) { return layout_from_state(state); });
}

}  // namespace

void register_classes() {
  register_mesh_class();
  register_layout_class();
  register_layout_map_class();
  register_variables_class();
}

}  // namespace weft
