#pragma once
// What the tests of random values share: running a sampler on a full tensor or on a part of it.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <functional>
#include <random>
#include <string>

#include "random/random.h"

namespace weft::random::testing {

constexpr uint64_t kKey = 0x5EED5EED12345678;

using Ranges = std::vector<std::vector<IndexRange>>;

inline GlobalIndex whole_index(c10::IntArrayRef sizes) {
  GlobalIndex index;
  for (int64_t size : sizes) {
    index.global_sizes.push_back(size);
    index.dims.push_back({{0, size}});
  }
  return index;
}

/// An op and the arguments after its tensor. `result` is what the op fills; `args` get self (the same tensor) first.
struct Op {
  const char* name;
  const char* overload;
  std::vector<c10::IValue> args;
  at::ScalarType dtype = at::kFloat;
};

inline std::string label(const Op& op) {
  return std::string(op.name) + "." + op.overload + " " + c10::toString(op.dtype);
}

inline void run(const Op& op, at::Tensor& out, const GlobalIndex& index, uint64_t key = kKey) {
  const Sampler* sampler = find_sampler({std::string("aten::") + op.name, op.overload});
  ASSERT_NE(sampler, nullptr) << label(op);
  std::vector<c10::IValue> args = {out};
  args.insert(args.end(), op.args.begin(), op.args.end());
  sampler->fill(out, index, args, key);
}

inline at::Tensor run_whole(const Op& op, c10::IntArrayRef sizes, uint64_t key = kKey) {
  at::Tensor out = at::zeros(sizes, op.dtype);
  run(op, out, whole_index(sizes), key);
  return out;
}

/// The part of a full tensor (or of a broadcast operand of it) that a shard holds.
inline at::Tensor part(at::Tensor whole, const Ranges& ranges) {
  for (int64_t d = 0; d < whole.dim(); ++d) {
    if (whole.size(d) == 1) continue;  // broadcast, or a single element that the shard holds or not
    std::vector<at::Tensor> pieces = {whole.narrow(d, 0, 0)};
    for (const IndexRange& range : ranges[d]) pieces.push_back(whole.narrow(d, range.start, range.length));
    whole = at::cat(pieces, d);
  }
  return whole;
}

}  // namespace weft::random::testing
