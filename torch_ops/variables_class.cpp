// torch.classes.weft.Variables: the variables of a module, which the Python package walks, on their way to their
// layouts.
#include <memory>
#include <string>

#include "classes.h"
#include "module/variables.h"

namespace weft {
namespace {

struct VariablesObject : torch::CustomClassHolder {
  explicit VariablesObject(std::shared_ptr<const LayoutMap> m) : map(std::move(m)), variables(*map) {}
  const std::shared_ptr<const LayoutMap> map;
  Variables variables;
};
using Self = c10::intrusive_ptr<VariablesObject>;

}  // namespace

void register_variables_class() {
  [[maybe_unused]] static auto variables =
      torch::class_<VariablesObject>("weft", "Variables")
          .def(torch::init([](const LayoutMapPtr& map) {
            TORCH_CHECK_VALUE(map, "[W030] Variables: a layout map is needed");
            return c10::make_intrusive<VariablesObject>(map->map);
          }))
          .def("add", [](const Self& self, const at::Tensor& tensor, const std::string& path,
                         const std::string& module_type) { return self->variables.add(tensor, path, module_type); })
          .def("check_ranks", [](const Self& self) { self->variables.check_ranks(); })
          .def("differing_values", [](const Self& self) { return self->variables.differing_values(); })
          .def("left_out", [](const Self& self, bool meant) { return self->variables.left_out(meant); })
          // The sharded variable; the plain one is let go of.
          .def("take", [](const Self& self, int64_t number) {
            at::Tensor out = self->variables.lay_out(number);
            self->variables.forget(number);
            return out;
          });
}

}  // namespace weft
