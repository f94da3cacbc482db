#pragma once
// Random ops on a shard: parameters are checked as torch checks them, then the shard is filled. Checks on scalars come
// before anything that depends on the shard, so that all ranks raise; those on the values of a tensor parameter can
// only see the shard's own values.
#include "random/random.h"

namespace weft::random {

void uniform(at::Tensor& out, const GlobalIndex& index, double from, double to, uint64_t key);
void normal(at::Tensor& out, const GlobalIndex& index, double mean, double std, uint64_t key);
void normal_each(at::Tensor& out, const GlobalIndex& index, const c10::IValue& mean, const c10::IValue& std,
                 uint64_t key);
void bernoulli(at::Tensor& out, const GlobalIndex& index, double p, uint64_t key);
void bernoulli_each(at::Tensor& out, const GlobalIndex& index, const at::Tensor& p, uint64_t key);
void exponential(at::Tensor& out, const GlobalIndex& index, double lambda, uint64_t key);
void geometric(at::Tensor& out, const GlobalIndex& index, double p, uint64_t key);
void cauchy(at::Tensor& out, const GlobalIndex& index, double median, double sigma, uint64_t key);
void log_normal(at::Tensor& out, const GlobalIndex& index, double mean, double std, uint64_t key);
void random_any(at::Tensor& out, const GlobalIndex& index, uint64_t key);
void random_range(at::Tensor& out, const GlobalIndex& index, int64_t from, std::optional<int64_t> to, uint64_t key);
void poisson(at::Tensor& out, const GlobalIndex& index, const at::Tensor& rate, uint64_t key);
void binomial(at::Tensor& out, const GlobalIndex& index, const at::Tensor& count, const at::Tensor& p, uint64_t key);
void gamma(at::Tensor& out, const GlobalIndex& index, const at::Tensor& alpha, uint64_t key);

}  // namespace weft::random
