// distribute_module for scripted modules, whose variables are attributes of their objects.
#include <torch/csrc/jit/api/module.h>
#include <weft/module.h>

#include <unordered_set>

#include "base/installed.h"
#include "comm/agree/agree_or_throw.h"
#include "module/script_attributes.h"
#include "module/variables.h"

namespace weft {
namespace {

struct Slot {
  c10::intrusive_ptr<c10::ivalue::Object> object;
  size_t index;
  int64_t variable;
};

std::string type_of(const torch::jit::Module& m, const at::Tensor& variable) {
  const auto name = m.type()->name();
  const std::string type = name ? name->qualifiedName() : std::string();
  const c10::IValue groups = m.attr("groups", c10::IValue(int64_t{1}));
  return synonym_type(type, variable.sizes(), groups.isInt() ? groups.toInt() : 1);
}

void collect(const torch::jit::Module& m, const std::string& prefix, Variables& variables, std::vector<Slot>& slots,
             std::unordered_set<const void*>& seen) {
  const auto object = m._ivalue();
  const auto type = m.type();
  const bool first_time = seen.insert(object.get()).second;
  for (size_t i = 0; i < type->numAttributes(); ++i) {
    const c10::IValue& value = object->getSlot(i);
    const std::string path = prefix + type->getAttributeName(i);
    if (type->getAttribute(i)->is_module()) {
      collect(torch::jit::Module(value.toObject()), path + ".", variables, slots, seen);
    } else if ((type->is_parameter(i) || type->is_buffer(i)) && value.isTensor() && value.toTensor().defined()) {
      const int64_t number = variables.add(value.toTensor(), path, type_of(m, value.toTensor()));
      if (first_time) slots.push_back({object, i, number});
    }
  }
}

}  // namespace

void distribute_module(torch::jit::Module& module, const LayoutMap& map) {
  require_installed();
  Variables variables(map);
  std::vector<Slot> slots;
  std::unordered_set<const void*> seen;
  comm::agree_or_throw(Variables::kWhat, map.mesh(), [&] { collect(module, "", variables, slots, seen); });
  variables.check_ranks();
  variables.warn();
  std::vector<at::Tensor> made(variables.all().size());
  MadeOf made_of;
  std::vector<at::Tensor> before;  // while their addresses tell them apart
  for (Slot& slot : slots) {
    at::Tensor& variable = made[slot.variable];
    before.push_back(slot.object->getSlot(slot.index).toTensor());
    if (!variable.defined()) variable = variables.lay_out(slot.variable);
    made_of[before.back().unsafeGetTensorImpl()] = variable;
    slot.object->setSlot(slot.index, variable);
  }
  for (const torch::jit::Module& m : module.modules()) replace_in_attributes(m, made_of);
}

}  // namespace weft
