#include "comm/loopback/loopback_call.h"

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>
#include <c10/util/Exception.h>
#include <c10/util/StringUtil.h>

#include <array>

#include "comm/wire/reduction.h"

namespace weft::comm {
namespace {

constexpr std::array<const char*, 5> kKindNames = {"all_reduce", "all_gather", "reduce_scatter", "all_to_all",
                                                   "broadcast"};

bool every_backend_has(c10d::ReduceOp::RedOpType op) {
  return op == c10d::ReduceOp::SUM || op == c10d::ReduceOp::PRODUCT || op == c10d::ReduceOp::MIN ||
         op == c10d::ReduceOp::MAX;
}

bool reduces(LoopbackCall::Kind kind) {
  return kind == LoopbackCall::all_reduce || kind == LoopbackCall::reduce_scatter;
}

// Adds a further rank's part to `total`. A NaN is passed over in a maximum or minimum, as in Gloo and NCCL.
void reduce_into(at::Tensor& total, const at::Tensor& part, c10d::ReduceOp::RedOpType op) {
  switch (op) {
    case c10d::ReduceOp::SUM:
      total.add_(part);
      return;
    case c10d::ReduceOp::PRODUCT:
      total.mul_(part);
      return;
    case c10d::ReduceOp::MIN:
      total.copy_(at::fmin(total, part));
      return;
    default:
      total.copy_(at::fmax(total, part));
  }
}

// The reduction of elements [start, start + length) of all inputs.
at::Tensor reduced(const std::vector<LoopbackCall>& calls, int64_t start, int64_t length) {
  auto part = [&](const LoopbackCall& call) { return call.input.view({-1}).narrow(0, start, length); };
  at::Tensor total = part(calls[0]).clone();
  for (size_t r = 1; r < calls.size(); ++r) reduce_into(total, part(calls[r]), calls[0].op);
  return total;
}

int64_t sum(const std::vector<int64_t>& values, size_t count) {
  int64_t total = 0;
  for (size_t i = 0; i < count; ++i) total += values[i];
  return total;
}

}  // namespace

std::string LoopbackCall::str() const {
  std::string out = kKindNames[kind];
  if (reduces(kind)) out += c10::str(" ", name_of(op));
  if (kind == broadcast) out += c10::str(" from ", root);
  out += c10::str(" of ", input.scalar_type(), " [", c10::Join(", ", input.sizes()), "]");
  if (kind == all_to_all) out += c10::str(" cut (", c10::Join(", ", input_splits), ")");
  return out;
}

void check_call(const LoopbackCall& call, int64_t ranks) {
  const at::ScalarType dtype = call.input.scalar_type();
  TORCH_CHECK(dtype == at::kFloat || dtype == at::kDouble || dtype == at::kHalf || dtype == at::kBFloat16 ||
                  dtype == at::kInt || dtype == at::kLong || dtype == at::kByte || dtype == at::kChar,
              "loopback: ", call.str(), ": backends take no such dtype");
  TORCH_CHECK(call.input.is_contiguous() && call.output.is_contiguous() && call.output.scalar_type() == dtype,
              "loopback: ", call.str(), ": the tensors must be contiguous and of one dtype");
  TORCH_CHECK(!reduces(call.kind) || every_backend_has(call.op), "loopback: ", call.str(),
              ": not every backend reduces so");
  const int64_t in = call.input.numel(), out = call.output.numel();
  const bool fits = call.kind == LoopbackCall::all_gather       ? out == in * ranks
                    : call.kind == LoopbackCall::reduce_scatter ? in == out * ranks
                                                                : true;
  TORCH_CHECK(fits, "loopback: ", call.str(), " into ", out, " elements on ", ranks, " ranks");
  if (call.kind == LoopbackCall::all_to_all) {
    const size_t n = static_cast<size_t>(ranks);
    TORCH_CHECK(call.input_splits.size() == n && call.output_splits.size() == n && sum(call.input_splits, n) == in &&
                    sum(call.output_splits, n) == out,
                "loopback: ", call.str(), ": the lengths do not add up");
  }
}

bool agree(const LoopbackCall& a, const LoopbackCall& b) {
  return a.kind == b.kind && a.input.scalar_type() == b.input.scalar_type() && a.op == b.op && a.root == b.root &&
         (a.kind == LoopbackCall::all_to_all || a.input.sizes() == b.input.sizes());
}

std::string disagreement(const std::vector<LoopbackCall>& calls) {
  if (calls[0].kind != LoopbackCall::all_to_all) return {};
  for (size_t from = 0; from < calls.size(); ++from) {
    for (size_t to = 0; to < calls.size(); ++to) {
      if (calls[from].input_splits[to] == calls[to].output_splits[from]) continue;
      return c10::str("all_to_all: number ", from, " of the group sends ", calls[from].input_splits[to],
                      " elements to number ", to, ", which expects ", calls[to].output_splits[from]);
    }
  }
  return {};
}

void carry_out(std::vector<LoopbackCall>& calls) {
  // One rank's thread writes to all ranks' tensors, among which may be inference tensors.
  const c10::InferenceMode mode(true);
  const int64_t n = static_cast<int64_t>(calls.size());
  switch (calls[0].kind) {
    case LoopbackCall::all_reduce: {
      const at::Tensor total = reduced(calls, 0, calls[0].input.numel());
      for (LoopbackCall& call : calls) call.output.view({-1}).copy_(total);
      return;
    }
    case LoopbackCall::all_gather: {
      const int64_t length = calls[0].input.numel();
      for (LoopbackCall& call : calls) {
        for (int64_t r = 0; r < n; ++r) {
          call.output.view({-1}).narrow(0, r * length, length).copy_(calls[r].input.view({-1}));
        }
      }
      return;
    }
    case LoopbackCall::reduce_scatter: {
      const int64_t length = calls[0].output.numel();
      for (int64_t r = 0; r < n; ++r) calls[r].output.view({-1}).copy_(reduced(calls, r * length, length));
      return;
    }
    case LoopbackCall::all_to_all:
      for (int64_t to = 0; to < n; ++to) {
        for (int64_t from = 0; from < n; ++from) {
          const int64_t length = calls[from].input_splits[to];
          calls[to]
              .output.narrow(0, sum(calls[to].output_splits, from), length)
              .copy_(calls[from].input.narrow(0, sum(calls[from].input_splits, to), length));
        }
      }
      return;
    case LoopbackCall::broadcast:
      for (LoopbackCall& call : calls) call.output.copy_(calls[call.root].input);
      return;
  }
}

}  // namespace weft::comm
