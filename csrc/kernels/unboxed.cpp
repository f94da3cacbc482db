#include "kernels/unboxed.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <array>
#include <tuple>
#include <unordered_map>

#include "kernels/unboxed_kernel.h"

namespace weft {
namespace {

using at::ITensorListRef;
using at::OptionalIntArrayRef;
using at::Scalar;
using at::ScalarType;
using at::Tensor;
using at::TensorList;
using ScalarList = at::ArrayRef<Scalar>;
using Tensors = std::vector<Tensor>;
using Pair = std::tuple<Tensor, Tensor>;
using Triple = std::tuple<Tensor, Tensor, Tensor>;
template <class T>
using Maybe = std::optional<T>;

template <class... Signatures>
struct Table {};

using Hot = Table<
    // Functions of one tensor, of several, with numbers: arithmetic, activations, matrix products, comparisons.
    Tensor(const Tensor&), Tensor(const Tensor&, const Tensor&), Tensor(const Tensor&, const Tensor&, const Tensor&),
    Tensor(const Tensor&, const Scalar&), Tensor(const Scalar&, const Tensor&),
    Tensor(const Tensor&, const Scalar&, const Scalar&), Tensor(const Tensor&, const Tensor&, const Scalar&),
    Tensor(const Tensor&, const Tensor&, const Scalar&, const Scalar&),
    Tensor(const Tensor&, const Tensor&, const Tensor&, const Scalar&),
    Tensor(const Tensor&, const Tensor&, const Tensor&, const Scalar&, const Scalar&),
    Tensor(const Tensor&, const Maybe<Scalar>&, const Maybe<Scalar>&), Tensor(const Tensor&, c10::string_view),
    Tensor(const Tensor&, const Tensor&, c10::string_view), Tensor(const Tensor&, Maybe<at::MemoryFormat>),
    Tensor(const Tensor&, Maybe<ScalarType>, Maybe<at::Layout>, Maybe<at::Device>, Maybe<bool>,
           Maybe<at::MemoryFormat>),
    // Reductions, softmax, normalization and their backward.
    Tensor(const Tensor&, Maybe<ScalarType>), Tensor(const Tensor&, int64_t, bool),
    Tensor(const Tensor&, OptionalIntArrayRef, bool, Maybe<ScalarType>),
    Tensor(const Tensor&, const Scalar&, OptionalIntArrayRef, bool, Maybe<ScalarType>),
    Tensor(const Tensor&, at::IntArrayRef, bool), Tensor(const Tensor&, const Tensor&, int64_t, ScalarType),
    Tensor(const Tensor&, int64_t), Tensor(const Tensor&, int64_t, Maybe<ScalarType>),
    Pair(const Tensor&, int64_t, bool),
    Triple(const Tensor&, c10::SymIntArrayRef, const Maybe<Tensor>&, const Maybe<Tensor>&, double),
    Triple(const Tensor&, const Tensor&, c10::SymIntArrayRef, const Tensor&, const Tensor&, const Maybe<Tensor>&,
           const Maybe<Tensor>&, std::array<bool, 3>),
    // Attention, embedding.
    Pair(const Tensor&, const Tensor&, const Tensor&, double, bool, const Maybe<Tensor>&, Maybe<double>),
    Triple(const Tensor&, const Tensor&, const Tensor&, const Tensor&, const Tensor&, const Tensor&, double, bool,
           const Maybe<Tensor>&, Maybe<double>),
    Tensor(const Tensor&, const Tensor&, c10::SymInt, bool, bool),
    // Views, which have their result remembered.
    Tensor(const Tensor&, c10::SymIntArrayRef), Tensor(const Tensor&, at::IntArrayRef),
    Tensor(const Tensor&, c10::SymIntArrayRef, bool), Tensor(const Tensor&, int64_t, int64_t),
    Tensor(const Tensor&, int64_t, c10::SymInt),
    Tensor(const Tensor&, int64_t, Maybe<c10::SymInt>, Maybe<c10::SymInt>, c10::SymInt),
    // Of lists.
    Tensor(const ITensorListRef&, int64_t), Tensor(TensorList, int64_t),
    // In place.
    Tensor&(Tensor&), Tensor&(Tensor&, const Tensor&), Tensor&(Tensor&, const Scalar&),
    Tensor&(Tensor&, const Tensor&, const Scalar&), Tensor&(Tensor&, const Tensor&, const Tensor&),
    Tensor&(Tensor&, const Tensor&, const Tensor&, const Scalar&), Tensor&(Tensor&, const Scalar&, const Scalar&),
    Tensor&(Tensor&, const Maybe<Scalar>&, const Maybe<Scalar>&),
    Tensor&(Tensor&, const Tensor&, const Tensor&, const Scalar&, const Scalar&),
    // Entry by entry.
    Tensors(TensorList), void(TensorList), Tensors(TensorList, const Scalar&), void(TensorList, const Scalar&),
    Tensors(TensorList, const Tensor&), void(TensorList, const Tensor&), Tensors(TensorList, ScalarList),
    void(TensorList, ScalarList), Tensors(TensorList, TensorList), void(TensorList, TensorList),
    Tensors(TensorList, TensorList, const Scalar&), void(TensorList, TensorList, const Scalar&),
    Tensors(TensorList, TensorList, ScalarList), void(TensorList, TensorList, ScalarList),
    Tensors(TensorList, TensorList, TensorList, const Scalar&), void(TensorList, TensorList, TensorList, const Scalar&),
    Tensors(TensorList, TensorList, TensorList, ScalarList), void(TensorList, TensorList, TensorList, ScalarList),
    Tensors(TensorList, const Scalar&, Maybe<ScalarType>),
    void(TensorList, TensorList, TensorList, TensorList, TensorList, TensorList, double, double, double, double, double,
         bool, bool, const Maybe<Tensor>&, const Maybe<Tensor>&),
    void(TensorList, TensorList, TensorList, TensorList, TensorList, TensorList, const Tensor&, double, double, double,
         double, bool, bool, const Maybe<Tensor>&, const Maybe<Tensor>&),
    void(TensorList, TensorList, TensorList, double, double, double, double, bool, bool, bool, const Maybe<Tensor>&,
         const Maybe<Tensor>&)>;

std::string text(std::vector<std::string> arguments, const std::vector<std::string>& results) {
  const auto joined = [](const std::vector<std::string>& parts) {
    std::string all;
    for (const std::string& part : parts) all += (all.empty() ? "" : ",") + part;
    return all;
  };
  return joined(arguments) + "->" + joined(results);
}

std::string text_of(const c10::FunctionSchema& schema) {
  const auto texts = [](const std::vector<c10::Argument>& all) {
    std::vector<std::string> found;
    for (const c10::Argument& a : all) {
      const bool written = a.alias_info() != nullptr && a.alias_info()->isWrite();
      const bool list = a.real_type()->kind() == c10::TypeKind::ListType;
      found.push_back(a.real_type()->str() + (written && !list ? "!" : ""));
    }
    return found;
  };
  return text(texts(schema.arguments()), texts(schema.returns()));
}

template <class T>
std::string text_of() {
  return c10::getTypePtrCopy<std::decay_t<T>>()->str() + (std::is_same_v<T, Tensor&> ? "!" : "");
}

// Of what an op gives: a text each.
template <class Result>
struct Results {
  static std::vector<std::string> texts() { return {text_of<Result>()}; }
};
template <>
struct Results<void> {
  static std::vector<std::string> texts() { return {}; }
};
template <class... Ts>
struct Results<std::tuple<Ts...>> {
  static std::vector<std::string> texts() { return {text_of<Ts>()...}; }
};

using Make = std::optional<torch::CppFunction> (*)(const c10::OperatorHandle& op);

template <class Signature>
struct Row;
template <class Result, class... Arguments>
struct Row<Result(Arguments...)> {
  static std::string signature() { return text({text_of<Arguments>()...}, Results<Result>::texts()); }
  static std::optional<torch::CppFunction> make(const c10::OperatorHandle& op) {
    // Types of schemas do not tell all C++ types apart.
    try {
      return torch::CppFunction(UnboxedKernel<Result(Arguments...)>(op));
    } catch (const c10::Error&) {
      return std::nullopt;
    }
  }
};

template <class... Signatures>
std::unordered_multimap<std::string, Make> rows(Table<Signatures...>) {
  return {{Row<Signatures>::signature(), &Row<Signatures>::make}...};
}

const std::unordered_multimap<std::string, Make>& table() {
  static const auto* all = new std::unordered_multimap<std::string, Make>(rows(Hot()));
  return *all;
}

}  // namespace

std::optional<torch::CppFunction> unboxed_kernel(const c10::OperatorHandle& op) {
  // Others' ops may still get kernels of another C++ signature, which would then be refused.
  if (op.operator_name().getNamespace() != "aten") return std::nullopt;
  const auto [begin, end] = table().equal_range(text_of(op.schema()));
  for (auto row = begin; row != end; ++row) {
    if (auto kernel = row->second(op)) return kernel;
  }
  return std::nullopt;
}

std::vector<std::string> unboxed_signatures() {
  std::vector<std::string> all;
  for (const auto& row : table()) all.push_back(row.first);
  return all;
}

}  // namespace weft
