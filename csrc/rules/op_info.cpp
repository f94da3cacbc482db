#include "rules/op_info.h"

#include "base/hash.h"
#include "rules/registry.h"
#include "rules/validate.h"

namespace weft {
namespace {

const c10::Type* without_optional(const c10::Type* t) {
  return t->kind() == c10::TypeKind::OptionalType ? t->castRaw<c10::OptionalType>()->getElementType().get() : t;
}

OpInfo::Kind kind_of(const c10::TypePtr& type) {
  const c10::Type* t = without_optional(type.get());
  if (t->kind() == c10::TypeKind::TensorType) return OpInfo::Kind::tensor;
  if (t->kind() == c10::TypeKind::ListType) {
    const c10::Type* e = without_optional(t->castRaw<c10::ListType>()->getElementType().get());
    if (e->kind() == c10::TypeKind::TensorType) return OpInfo::Kind::tensor_list;
  }
  return OpInfo::Kind::value;
}

// Ints, bools, strings and lists of them shape a plan; floats and scalars (a learning rate, alpha) never do.
bool shapes_plans(const c10::TypePtr& type) {
  const c10::Type* t = without_optional(type.get());
  if (t->kind() == c10::TypeKind::ListType) t = t->castRaw<c10::ListType>()->getElementType().get();
  switch (t->kind()) {
    case c10::TypeKind::FloatType:
    case c10::TypeKind::NumberType:
    case c10::TypeKind::GeneratorType:
    case c10::TypeKind::StorageType:
      return false;
    default:
      return true;
  }
}

// Whether values may decide a number. What core gives a symbol for, where it traces shapes, follows from these alone
// (the lengths that attention gives back).
bool is_of_values(const std::string& op, const c10::Argument& result) {
  const bool of_core = op.find("::") == std::string::npos;
  return !of_core || result.real_type()->kind() != c10::TypeKind::SymIntType;
}

bool is_generator(const c10::TypePtr& type) {
  return without_optional(type.get())->kind() == c10::TypeKind::GeneratorType;
}

// "add_.Tensor" is add.Tensor with the result in a certain place: autograd takes the one or the other.
uint64_t hash_of(std::string name) {
  const size_t end = std::min(name.find('.'), name.size());
  if (end > 1 && name[end - 1] == '_' && name[end - 2] != '_') name.erase(end - 1, 1);
  return hash_text(name);
}

}  // namespace

OpInfo::OpInfo(const c10::OperatorHandle& h) : handle(h) {
  const c10::FunctionSchema& s = handle.schema();
  name = s.name() + (s.overload_name().empty() ? "" : "." + s.overload_name());
  short_name = name.rfind("aten::", 0) == 0 ? name.substr(6) : name;
  hash = hash_of(short_name);
  copies = rules::is_copy(short_name);
  const std::string base_name = short_name.substr(0, short_name.find('.'));
  empty_is_none = base_name == "all" || base_name == "any";
  fills = base_name == "fill_" || base_name == "zero_" || base_name == "_foreach_zero_";
  for (const c10::Argument& a : s.arguments()) {
    Argument info;
    info.kind = kind_of(a.real_type());
    info.written = a.alias_info() != nullptr && a.alias_info()->isWrite();
    info.keyed = info.kind == Kind::value && shapes_plans(a.real_type());
    writes = writes || info.written;
    is_out = is_out || (info.written && a.kwarg_only());
    arguments.push_back(info);
  }
  // Fused optimizers write the first list entry by entry, too.
  is_foreach = short_name.rfind("_foreach_", 0) == 0 ||
               (!arguments.empty() && arguments[0].kind == Kind::tensor_list && arguments[0].written && !is_out);
  // These update their statistics in training, as their schemas do not say.
  for (const char* op : {"native_batch_norm", "cudnn_batch_norm", "miopen_batch_norm"}) {
    if (short_name != op) continue;
    for (const char* statistics : {"running_mean", "running_var"})
      writes = arguments[argument(statistics)].written = true;
  }
  for (const c10::Argument& r : s.returns()) {
    Result info;
    info.kind = kind_of(r.real_type());
    tells = tells || (info.kind == Kind::value && is_of_values(short_name, r));
    if (r.alias_info() != nullptr) {
      if (r.alias_info()->isWrite()) {
        for (size_t a = 0; a < arguments.size(); ++a) {
          const auto* alias = s.arguments()[a].alias_info();
          if (alias != nullptr && alias->isWrite() && alias->beforeSets() == r.alias_info()->beforeSets()) {
            info.written_argument = static_cast<int>(a);
          }
        }
      } else {
        info.view = true;
        is_view = true;
      }
    }
    results.push_back(info);
  }
  random = handle.hasTag(at::Tag::nondeterministic_seeded);
  for (const c10::Argument& a : s.arguments()) random = random || is_generator(a.real_type());
  rules = rules::find(short_name);
  for (const rules::RuleEntry* r : rules) {
    if (r->binder == nullptr) rules::check_recipes(*this, r->rule);
  }
  decomposition = rules::find_decomposition(short_name);
  uninitialized = rules::is_uninitialized(short_name);
  if (const size_t colons = short_name.find("::"); colons != std::string::npos) {
    is_foreach = !rules.empty() && short_name.compare(colons + 2, 9, "_foreach_") == 0;
  }
}

int OpInfo::argument(const std::string& argument_name) const {
  const auto& args = schema().arguments();
  for (size_t i = 0; i < args.size(); ++i) {
    if (args[i].name() == argument_name) return static_cast<int>(i);
  }
  return -1;
}

}  // namespace weft
