#include "redistribute/parts.h"

#include <ATen/ExpandUtils.h>

#include "comm/agree/check_same.h"
#include "layout/shard.h"
#include "mesh/context.h"
#include "redistribute/tensors.h"
#include "tensor/below_autograd.h"
#include "tensor/sharded.h"

namespace weft {
namespace {

struct Part {
  std::vector<int64_t> sizes, strides;
};

// The parts by rank.
std::vector<Part> all_parts(const at::Tensor& local, Mesh mesh) {
  std::vector<int64_t> words = local.sizes().vec();
  words.insert(words.end(), local.strides().begin(), local.strides().end());
  std::vector<Part> parts;
  for (const auto& of_rank : comm::gather_words(words, mesh)) {
    const auto middle = of_rank.begin() + local.dim();
    parts.push_back({{of_rank.begin(), middle}, {middle, of_rank.end()}});
  }
  return parts;
}

// The full tensor's sizes from the parts': lengths add up along the axes that split a dimension.
std::vector<int64_t> global_sizes(const std::vector<Part>& parts, Layout layout) {
  const Mesh mesh = layout->mesh();
  std::vector<int64_t> sizes(layout->ndim(), 0);
  for (int64_t rank : mesh->ranks()) {
    const auto coordinates = mesh->coordinates_of(rank);
    for (int d = 0; d < layout->ndim(); ++d) {
      bool counts = true;  // of those with equal parts of the dimension only the first does
      for (int a = 0; a < mesh->ndim(); ++a) {
        const AxisState& state = layout->state(a);
        counts = counts && (coordinates[a] == 0 || (state.kind == AxisState::split && state.dim == d));
      }
      if (counts) sizes[d] += parts[rank].sizes[d];
    }
  }
  return sizes;
}

// The order of the full tensor in memory, as strides that all ranks agree about. The mesh's first rank has the longest
// part of every dimension, so its strides say all that any part's can. Parts that lie otherwise are no error: the order
// changes no value.
std::vector<int64_t> global_order(const std::vector<Part>& parts, Mesh mesh) {
  const Part& first = parts[mesh->ranks()[0]];
  // Equal strides are told apart as torch does it; lengths above 1 keep them apart.
  std::vector<int64_t> longer = first.sizes;
  for (int64_t& length : longer) length += 2;
  return at::infer_dense_strides(longer, first.strides);
}

void check_fit(const std::vector<Part>& parts, c10::IntArrayRef sizes, Layout layout) {
  const Mesh mesh = layout->mesh();
  for (int64_t rank : mesh->is_simulated() ? std::vector<int64_t>{mesh->simulated_rank()} : mesh->ranks()) {
    const c10::IntArrayRef part = parts[rank].sizes;
    const Sizes chunk = local_sizes(layout, sizes, mesh->coordinates_of(rank));
    TORCH_CHECK_VALUE(part.equals(chunk), "[W034] from_local: the parts do not make up a whole of shape ", sizes,
                      " laid out as ", layout->describe(), ": that of rank ", rank, " has shape ", part,
                      ", torch.chunk's chunk ", c10::IntArrayRef(chunk));
  }
}

}  // namespace

void check_parts(const at::Tensor& local, Layout layout, const std::optional<std::vector<int64_t>>& shape) {
  std::vector<int64_t> words{static_cast<int64_t>(local.scalar_type()),
                             static_cast<int64_t>(local.layout()),
                             local.dim(),
                             holds_shards(local),
                             local.requires_grad(),
                             shape.has_value()};
  for (int64_t d = 0; !local.is_nested() && d < local.dim() && d < layout->ndim(); ++d) {
    words.push_back(layout->dim(d).empty() ? local.size(d) : -1);
  }
  if (shape) words.insert(words.end(), shape->begin(), shape->end());
  for (char c : layout->str()) words.push_back(c);
  comm::check_same(words, compared_by("from_local"), layout->mesh(), [&] {
    comm::Facts facts{{"part's dtype", c10::str(local.scalar_type())},
                      {"part's kind", c10::str(local.layout()) + (holds_shards(local) ? ", sharded" : "")},
                      {"part's requires_grad", local.requires_grad() ? "True" : "False"},
                      {"layout", layout->describe()},
                      {"global shape", shape ? c10::str(c10::IntArrayRef(*shape)) : "not given"}};
    for (int64_t d = 0; !local.is_nested() && d < local.dim() && d < layout->ndim(); ++d) {
      if (layout->dim(d).empty()) facts.emplace_back(c10::str("part's size ", d), std::to_string(local.size(d)));
    }
    facts.emplace_back("part's number of dimensions", std::to_string(local.dim()));
    return facts;
  });
}

GlobalShape put_together(const at::Tensor& local, Layout layout, const std::optional<std::vector<int64_t>>& shape) {
  BelowAutograd guard;
  context().bind(layout->mesh());
  const std::vector<Part> parts = all_parts(local, layout->mesh());
  GlobalShape global{shape ? *shape : global_sizes(parts, layout), global_order(parts, layout->mesh())};
  TORCH_CHECK_VALUE(static_cast<int64_t>(global.sizes.size()) == layout->ndim(), "[W028] from_local: shape ",
                    c10::IntArrayRef(global.sizes), " for layout ", layout->describe());
  check_fit(parts, global.sizes, layout);
  return global;
}

}  // namespace weft
