#include "module/script_attributes.h"

#include <utility>
#include <vector>

namespace weft {
namespace {

// Lists and dicts stay the same objects.
c10::IValue replaced(const c10::IValue& value, const MadeOf& made) {
  if (value.isTensor()) {
    const auto found = made.find(value.toTensor().unsafeGetTensorImpl());
    return found == made.end() ? value : c10::IValue(found->second);
  }
  if (value.isList()) {
    auto list = value.toList();
    for (size_t i = 0; i < list.size(); ++i) list.set(i, replaced(list.get(i), made));
  } else if (value.isGenericDict()) {
    for (const auto& entry : value.toGenericDict()) entry.setValue(replaced(entry.value(), made));
  } else if (value.isTuple()) {
    const auto tuple = value.toTuple();
    std::vector<c10::IValue> elements;
    for (const c10::IValue& element : tuple->elements()) elements.push_back(replaced(element, made));
    return c10::ivalue::Tuple::createNamed(std::move(elements), tuple->type());
  }
  return value;
}

}  // namespace

void replace_in_attributes(const torch::jit::Module& module, const MadeOf& made) {
  const auto object = module._ivalue();
  const auto type = module.type();
  for (size_t i = 0; i < type->numAttributes(); ++i) {
    if (type->getAttribute(i)->is_module() || type->is_parameter(i) || type->is_buffer(i)) continue;
    object->setSlot(i, replaced(object->getSlot(i), made));
  }
}

}  // namespace weft
