#include "classes.h"

#include <c10/util/Exception.h>

namespace weft {
namespace {

std::vector<std::string> names_from(const c10::IValue& v) {
  if (v.isNone()) return {};
  if (v.isString()) return {v.toStringRef()};
  std::vector<std::string> out;
  auto add = [&](const c10::IValue& e) {
    TORCH_CHECK_VALUE(e.isString(), "axes: expected an axis name, None or a tuple of axis names per dimension");
    out.push_back(e.toStringRef());
  };
  if (v.isTuple()) {
    for (const auto& e : v.toTupleRef().elements()) add(e);
  } else if (v.isList()) {
    for (const c10::IValue e : v.toList()) add(e);
  } else {
    TORCH_CHECK_VALUE(false, "axes: expected an axis name, None or a tuple of axis names per dimension");
  }
  return out;
}

}  // namespace

std::vector<std::vector<std::string>> axes_from(const c10::IValue& axes) {
  std::vector<std::vector<std::string>> out;
  if (axes.isTuple()) {
    for (const auto& e : axes.toTupleRef().elements()) out.push_back(names_from(e));
  } else if (axes.isList()) {
    for (const c10::IValue e : axes.toList()) out.push_back(names_from(e));
  } else {
    TORCH_CHECK_VALUE(false, "axes: expected a tuple with one entry per dimension");
  }
  return out;
}

c10::IValue axes_to(Layout layout) {
  std::vector<c10::IValue> out;
  for (const auto& dim : layout->dims()) {
    std::vector<c10::IValue> names;
    for (const Split& s : dim) names.emplace_back(layout->mesh()->axis_name(s.axis));
    if (names.empty()) {
      out.emplace_back();
    } else if (names.size() == 1) {
      out.push_back(names[0]);
    } else {
      out.push_back(c10::ivalue::Tuple::create(std::move(names)));
    }
  }
  return c10::ivalue::Tuple::create(std::move(out));
}

namespace {

using PartialDict = c10::Dict<std::string, std::string>;

LayoutPtr make_layout(const c10::IValue& axes, const MeshPtr& mesh, const std::optional<PartialDict>& partial) {
  TORCH_CHECK_VALUE(mesh, "TensorLayout needs a device mesh");
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

using MeshState = std::tuple<std::vector<int64_t>, std::vector<std::string>, std::vector<int64_t>, std::string>;

}  // namespace

void register_classes() {
  static auto mesh =
      torch::class_<MeshObject>("weft", "DeviceMesh")
          .def(torch::init([](std::vector<int64_t> shape, std::vector<std::string> axis_names,
                              std::vector<int64_t> ranks, std::string device_type) {
                 return c10::make_intrusive<MeshObject>(DeviceMesh::get(std::move(shape), std::move(axis_names),
                                                                        std::move(ranks), std::move(device_type)));
               }),
               "", {torch::arg("shape"), torch::arg("axis_names"), torch::arg("ranks") = std::vector<int64_t>(),
                    torch::arg("device_type") = "cpu"})
          .def("shape", [](const MeshPtr& self) { return self->mesh->shape(); })
          .def("axis_names", [](const MeshPtr& self) { return self->mesh->axis_names(); })
          .def("ranks", [](const MeshPtr& self) { return self->mesh->ranks(); })
          .def("device_type", [](const MeshPtr& self) { return self->mesh->device_type(); })
          .def("id", [](const MeshPtr& self) { return reinterpret_cast<int64_t>(self->mesh); })
          .def("__str__", [](const MeshPtr& self) { return self->mesh->str(); })
          .def_pickle(
              [](const MeshPtr& self) -> MeshState {
                return {self->mesh->shape(), self->mesh->axis_names(), self->mesh->ranks(), self->mesh->device_type()};
              },
              [](MeshState s) {
                return c10::make_intrusive<MeshObject>(
                    DeviceMesh::get(std::get<0>(s), std::get<1>(s), std::get<2>(s), std::get<3>(s)));
              });
  static auto layout =
      torch::class_<LayoutObject>("weft", "TensorLayout")
          .def(torch::init([](c10::IValue axes, const MeshPtr& mesh, std::optional<PartialDict> partial) {
                 return make_layout(axes, mesh, partial);
               }),
               "", {torch::arg("axes"), torch::arg("device_mesh"), torch::arg("partial") = std::optional<PartialDict>()})
          .def("axes", [](const LayoutPtr& self) { return axes_to(self->layout); })
          .def("partial", [](const LayoutPtr& self) { return partial_of(self->layout); })
          .def("mesh", [](const LayoutPtr& self) { return c10::make_intrusive<MeshObject>(self->layout->mesh()); })
          .def("id", [](const LayoutPtr& self) { return reinterpret_cast<int64_t>(self->layout); })
          .def("describe", [](const LayoutPtr& self) { return self->layout->describe(); })
          .def("__str__", [](const LayoutPtr& self) { return self->layout->str(); });
}

}  // namespace weft
