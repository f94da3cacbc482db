// The random ops: which arguments of which op are what.
#include <unordered_map>

#include "random/checked.h"

namespace weft::random {
namespace {

using Args = c10::ArrayRef<c10::IValue>;

int64_t high_of(const c10::IValue& high) {
  if (!high.isTensor()) return high.toInt();
  const at::Tensor& tensor = high.toTensor();
  TORCH_CHECK(tensor.numel() == 1 && tensor.is_cpu(), "[W068] high must be a scalar tensor and on CPU");
  return tensor.item<int64_t>();
}

using Table = std::unordered_map<c10::OperatorName, Sampler>;
using Fill = decltype(Sampler::fill);

/// An op under the name of its in-place variant, and the variants that torch derives from it.
void add(Table& table, const char* name, const char* overload, const char* out_overload, int generator, Fill fill) {
  const std::string base = std::string("aten::") + name;
  table[{base + "_", overload}] = table[{base, overload}] = table[{base, out_overload}] = {fill, generator};
}

// Argument 0 is self. In-place ops, their functional forms and their out= forms have the same arguments.
void add_distributions(Table& t) {
  add(t, "uniform", "", "out", 3, [](at::Tensor& out, const GlobalIndex& i, Args a, uint64_t key) {
    uniform(out, i, a[1].toDouble(), a[2].toDouble(), key);
  });
  add(t, "exponential", "", "out", 2,
      [](at::Tensor& out, const GlobalIndex& i, Args a, uint64_t key) { exponential(out, i, a[1].toDouble(), key); });
  add(t, "geometric", "", "out", 2,
      [](at::Tensor& out, const GlobalIndex& i, Args a, uint64_t key) { geometric(out, i, a[1].toDouble(), key); });
  add(t, "cauchy", "", "out", 3, [](at::Tensor& out, const GlobalIndex& i, Args a, uint64_t key) {
    cauchy(out, i, a[1].toDouble(), a[2].toDouble(), key);
  });
  add(t, "log_normal", "", "out", 3, [](at::Tensor& out, const GlobalIndex& i, Args a, uint64_t key) {
    log_normal(out, i, a[1].toDouble(), a[2].toDouble(), key);
  });
  add(t, "random", "", "out", 1,
      [](at::Tensor& out, const GlobalIndex& i, Args, uint64_t key) { random_any(out, i, key); });
  add(t, "random", "to", "to_out", 2,
      [](at::Tensor& out, const GlobalIndex& i, Args a, uint64_t key) { random_range(out, i, 0, a[1].toInt(), key); });
  add(t, "random", "from", "from_out", 3, [](at::Tensor& out, const GlobalIndex& i, Args a, uint64_t key) {
    random_range(out, i, a[1].toInt(), a[2].toOptional<int64_t>(), key);
  });
}

void add_normal(Table& t) {
  const Fill normal_scalars = [](at::Tensor& out, const GlobalIndex& i, Args a, uint64_t key) {
    normal(out, i, a[1].toDouble(), a[2].toDouble(), key);
  };
  t[{"aten::normal_", ""}] = t[{"aten::normal_functional", ""}] = t[{"aten::normal", "out"}] = {normal_scalars, 3};
  const Fill normal_tensors = [](at::Tensor& out, const GlobalIndex& i, Args a, uint64_t key) {
    normal_each(out, i, a[0], a[1], key);
  };
  for (const char* overload : {"Tensor_float", "float_Tensor", "Tensor_Tensor"}) {
    t[{"aten::normal", overload}] = t[{"aten::normal", std::string(overload) + "_out"}] = {normal_tensors, 2};
  }
}

void add_bernoulli(Table& t) {
  const Fill bernoulli_self = [](at::Tensor& out, const GlobalIndex& i, Args a, uint64_t key) {
    bernoulli_each(out, i, a[0].toTensor(), key);
  };
  t[{"aten::bernoulli", ""}] = t[{"aten::bernoulli", "out"}] = {bernoulli_self, 1};
  const Fill bernoulli_scalar = [](at::Tensor& out, const GlobalIndex& i, Args a, uint64_t key) {
    bernoulli(out, i, a[1].toDouble(), key);
  };
  t[{"aten::bernoulli_", "float"}] = t[{"aten::bernoulli", "p"}] =
      t[{"aten::bernoulli", "float_out"}] = {bernoulli_scalar, 2};
  add(t, "bernoulli", "Tensor", "Tensor_out", 2, [](at::Tensor& out, const GlobalIndex& i, Args a, uint64_t key) {
    bernoulli_each(out, i, a[1].toTensor(), key);
  });
}

// Samplers whose parameters are tensors.
void add_of_tensors(Table& t) {
  const auto with_out = [&t](const char* name, int generator, Fill fill) {
    t[{name, ""}] = t[{name, "out"}] = {fill, generator};
  };
  with_out("aten::poisson", 1,
           [](at::Tensor& out, const GlobalIndex& i, Args a, uint64_t key) { poisson(out, i, a[0].toTensor(), key); });
  with_out("aten::_standard_gamma", 1,
           [](at::Tensor& out, const GlobalIndex& i, Args a, uint64_t key) { gamma(out, i, a[0].toTensor(), key); });
  with_out("aten::binomial", 2, [](at::Tensor& out, const GlobalIndex& i, Args a, uint64_t key) {
    binomial(out, i, a[0].toTensor(), a[1].toTensor(), key);
  });
}

// The *_like ops: `bounds` arguments after self, then the generator where the overload has one.
void add_like(Table& t) {
  const auto like = [&t](const char* name, const char* plain, const char* with_generator, int bounds, Fill fill) {
    const auto out_name = [](std::string overload) { return overload.empty() ? "out" : overload + "_out"; };
    t[{name, plain}] = t[{name, out_name(plain)}] = {fill, -1};
    t[{name, with_generator}] = t[{name, out_name(with_generator)}] = {fill, 1 + bounds};
  };
  like("aten::rand_like", "", "generator", 0,
       [](at::Tensor& out, const GlobalIndex& i, Args, uint64_t key) { uniform(out, i, 0, 1, key); });
  like("aten::randn_like", "", "generator", 0,
       [](at::Tensor& out, const GlobalIndex& i, Args, uint64_t key) { normal(out, i, 0, 1, key); });
  const Fill randint_high = [](at::Tensor& out, const GlobalIndex& i, Args a, uint64_t key) {
    random_range(out, i, 0, high_of(a[1]), key);
  };
  like("aten::randint_like", "", "generator", 1, randint_high);
  like("aten::randint_like", "Tensor", "Tensor_generator", 1, randint_high);
  like("aten::randint_like", "low_dtype", "low_generator_dtype", 2,
       [](at::Tensor& out, const GlobalIndex& i, Args a, uint64_t key) {
         random_range(out, i, a[1].toInt(), a[2].toInt(), key);
       });
}

// Factories that write to a given tensor.
void add_factories(Table& t) {
  const auto factory = [&t](const char* name, const char* plain, const char* with_generator, int arguments, Fill fill) {
    t[{name, plain}] = {fill, -1};
    t[{name, with_generator}] = {fill, arguments};
  };
  factory("aten::rand", "out", "generator_out", 1,
          [](at::Tensor& out, const GlobalIndex& i, Args, uint64_t key) { uniform(out, i, 0, 1, key); });
  factory("aten::randn", "out", "generator_out", 1,
          [](at::Tensor& out, const GlobalIndex& i, Args, uint64_t key) { normal(out, i, 0, 1, key); });
  factory("aten::randint", "out", "generator_out", 2, [](at::Tensor& out, const GlobalIndex& i, Args a, uint64_t key) {
    random_range(out, i, 0, a[0].toInt(), key);
  });
  factory("aten::randint", "low_out", "low_generator_out", 3,
          [](at::Tensor& out, const GlobalIndex& i, Args a, uint64_t key) {
            random_range(out, i, a[0].toInt(), a[1].toInt(), key);
          });
  t[{"aten::normal", "float_float_out"}] = {[](at::Tensor& out, const GlobalIndex& i, Args a, uint64_t key) {
                                              normal(out, i, a[0].toDouble(), a[1].toDouble(), key);
                                            },
                                            3};
}

// Marks those of which core's CPU kernels draw value after value.
void mark_in_order(Table& t) {
  const c10::OperatorName names[] = {{"aten::uniform_", ""},
                                     {"aten::normal_", ""},
                                     {"aten::random_", ""},
                                     {"aten::random_", "to"},
                                     {"aten::random_", "from"}};
  for (const c10::OperatorName& name : names) t.at(name).in_order = true;
}

Table make_table() {
  Table t;
  add_distributions(t);
  add_normal(t);
  add_bernoulli(t);
  add_of_tensors(t);
  add_like(t);
  add_factories(t);
  mark_in_order(t);
  return t;
}

}  // namespace

const Sampler* find_sampler(const c10::OperatorName& name) {
  static const Table table = make_table();
  const auto found = table.find(name);
  return found == table.end() ? nullptr : &found->second;
}

}  // namespace weft::random
