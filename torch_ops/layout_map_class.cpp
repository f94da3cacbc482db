// torch.classes.weft.LayoutMap.
#include "base/quote.h"
#include "classes.h"

namespace weft {
namespace {

LayoutPtr wrap(Layout layout) { return c10::make_intrusive<LayoutObject>(layout); }

Mesh mesh_or_null(const std::optional<MeshPtr>& mesh) { return mesh && *mesh ? (*mesh)->mesh : nullptr; }

// pattern, axes, the spelling that matched; nothing where no entry does.
using Match = std::tuple<std::string, c10::IValue, std::string>;

std::vector<std::string> patterns(const LayoutMap& map) {
  std::vector<std::string> out;
  for (const LayoutRule& rule : map.rules()) out.push_back(rule.pattern);
  return out;
}

LayoutPtr get(const LayoutMap& map, const std::string& path, const std::string& module_type) {
  const auto match = map.lookup(path, module_type);
  TORCH_CHECK_VALUE(match.has_value(), "[W043] LayoutMap: no entry matches ", quote(path));
  return wrap(TensorLayout::from_names(map.mesh(), match->axes));
}

constexpr const char* kNoType = "";

using Class = torch::class_<LayoutMapObject>;

void define_entries(Class& map) {
  map.def(torch::init([](const MeshPtr& mesh) {
            TORCH_CHECK_VALUE(mesh, "[W030] LayoutMap: a device mesh is needed");
            return c10::make_intrusive<LayoutMapObject>(LayoutMap(mesh->mesh));
          }),
          "", {torch::arg("device_mesh")})
      .def("insert",
           [](const LayoutMapPtr& self, const std::string& pattern, c10::IValue axes) {
             self->entries().insert(pattern, axes_from(axes));
           },
           "", {torch::arg("pattern"), torch::arg("axes")})
      .def("erase", [](const LayoutMapPtr& self, const std::string& pattern) { self->entries().erase(pattern); })
      .def("contains",
           [](const LayoutMapPtr& self, const std::string& pattern) { return self->map->contains(pattern); })
      .def("patterns", [](const LayoutMapPtr& self) { return patterns(*self->map); })
      // Axes of the entry of exactly that pattern.
      .def("axes",
           [](const LayoutMapPtr& self, const std::string& pattern) {
             for (const LayoutRule& rule : self->map->rules()) {
               if (rule.pattern == pattern) return axes_to(rule.axes);
             }
             TORCH_CHECK_VALUE(false, "[W043] LayoutMap: there is no pattern ", quote(pattern));
           })
      .def("matches",
           [](const LayoutMapPtr& self) {
             std::vector<int64_t> counts;
             for (const LayoutRule& rule : self->map->rules()) counts.push_back(rule.matches);
             return counts;
           })
      .def("mesh", [](const LayoutMapPtr& self) { return c10::make_intrusive<MeshObject>(self->map->mesh()); })
      .def("id", [](const LayoutMapPtr& self) { return reinterpret_cast<int64_t>(self->map.get()); })
      .def("__len__", [](const LayoutMapPtr& self) { return self->map->size(); })
      .def("__contains__",
           [](const LayoutMapPtr& self, const std::string& pattern) { return self->map->contains(pattern); })
      .def("__getitem__",
           [](const LayoutMapPtr& self, const std::string& path) { return get(*self->map, path, kNoType); })
      .def("__setitem__", [](const LayoutMapPtr& self, const std::string& pattern, c10::IValue axes) {
        self->entries().insert(pattern, axes_from(axes));
      });
}

void define_lookup(Class& map) {
  map
      // The layout that a path's entry names; an error where none matches.
      .def("get",
           [](const LayoutMapPtr& self, const std::string& path, const std::string& module_type) {
             return get(*self->map, path, module_type);
           },
           "", {torch::arg("path"), torch::arg("module_type") = kNoType})
      .def("has_match",
           [](const LayoutMapPtr& self, const std::string& path, const std::string& module_type) {
             return self->map->lookup(path, module_type).has_value();
           },
           "", {torch::arg("path"), torch::arg("module_type") = kNoType})
      // (pattern, axes, spelling), or () where no entry matches.
      .def("lookup",
           [](const LayoutMapPtr& self, const std::string& path, const std::string& module_type) -> c10::IValue {
             const auto match = self->map->lookup(path, module_type);
             if (!match) return c10::ivalue::Tuple::create(std::vector<c10::IValue>());
             return c10::ivalue::Tuple::create({match->pattern, axes_to(match->axes), match->spelling});
           },
           "", {torch::arg("path"), torch::arg("module_type") = kNoType})
      // The layout of a variable of that shape; replicated where no entry matches.
      .def("layout_for",
           [](const LayoutMapPtr& self, const std::string& path, const std::vector<int64_t>& shape,
              const std::string& module_type) {
             const Layout layout = self->map->layout_for(path, shape, module_type);
             const Mesh mesh = self->map->mesh();
             return wrap(layout != nullptr ? layout
                                           : TensorLayout::replicated(mesh, static_cast<int64_t>(shape.size())));
           },
           "", {torch::arg("path"), torch::arg("shape"), torch::arg("module_type") = kNoType})
      .def("matching",
           [](const LayoutMapPtr& self, const std::string& path, const std::string& module_type) {
             return self->map->matching(path, module_type);
           },
           "", {torch::arg("path"), torch::arg("module_type") = kNoType});
}

void define_files(Class& map) {
  map.def("to_json", [](const LayoutMapPtr& self) { return self->map->to_json(); })
      .def("save", [](const LayoutMapPtr& self, const std::string& file) { self->map->save(file); })
      // Static methods take no default values in torch 2.11: all arguments are given.
      .def_static("from_json",
                  [](const std::string& text, const std::optional<MeshPtr>& mesh, const std::string& source) {
                    return c10::make_intrusive<LayoutMapObject>(LayoutMap::from_json(text, mesh_or_null(mesh), source));
                  })
      .def_static("load",
                  [](const std::string& file, const std::optional<MeshPtr>& mesh) {
                    return c10::make_intrusive<LayoutMapObject>(LayoutMap::load(file, mesh_or_null(mesh)));
                  })
      .def_pickle([](const LayoutMapPtr& self) { return self->map->to_json(); },
                  [](std::string text) { return c10::make_intrusive<LayoutMapObject>(LayoutMap::from_json(text)); });
}

}  // namespace

void register_layout_map_class() {
  static Class map("weft", "LayoutMap");
  define_entries(map);
  define_lookup(map);
  define_files(map);
}

}  // namespace weft
