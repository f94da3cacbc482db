// What as_strided's numbers mean in terms of a tensor's dimensions. Nothing is sharded here.
#include "views/region.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <functional>

namespace weft {
namespace {

using View = std::function<at::Tensor(const at::Tensor&)>;

std::optional<std::vector<Range>> decode(const at::Tensor& root, const at::Tensor& view) {
  return decode_region(geometry_of(root), geometry_of(view));
}

// The region that the ranges say, as the view has it.
at::Tensor region(const at::Tensor& root, const std::vector<Range>& ranges, const at::Tensor& like) {
  at::Tensor out = root;
  std::vector<int64_t> of_view;
  for (auto d = static_cast<int64_t>(ranges.size()); d-- > 0;) {
    const Range& r = ranges[d];
    std::vector<int64_t> places;
    for (int64_t k = 0; k < r.length; ++k) places.push_back(r.start + k * r.step);
    out = out.index_select(d, at::tensor(places, at::kLong));
    if (r.view_dim < 0) {
      out = out.squeeze(d);
    } else {
      of_view.insert(of_view.begin(), r.view_dim);
    }
  }
  // The others have one entry, or repeat one.
  std::vector<int64_t> order(like.dim());
  auto next = static_cast<int64_t>(of_view.size());
  for (int64_t v = 0; v < like.dim(); ++v) {
    const auto it = std::find(of_view.begin(), of_view.end(), v);
    order[v] = it != of_view.end() ? it - of_view.begin() : next++;
    if (it == of_view.end()) out = out.unsqueeze(-1);
  }
  return out.permute(order).expand(like.sizes());
}

const std::vector<std::pair<const char*, View>> kInDimensions = {
    {"all", [](const at::Tensor& x) { return x; }},
    {"slice", [](const at::Tensor& x) { return x.slice(0, 1, 4); }},
    {"steps", [](const at::Tensor& x) { return x.slice(0, 0, 5, 2).slice(2, 1, 4, 2); }},
    {"selection", [](const at::Tensor& x) { return x.select(1, 2); }},
    {"selections", [](const at::Tensor& x) { return x.select(2, 3).select(0, 4); }},
    {"one entry", [](const at::Tensor& x) { return x.select(2, 3).select(0, 4).select(0, 1); }},
    {"permutation", [](const at::Tensor& x) { return x.permute({2, 0, 1}).slice(0, 1, 3); }},
    {"broadcast", [](const at::Tensor& x) { return x.select(0, 2).unsqueeze(1).expand({3, 7, 4}); }},
    {"of length one", [](const at::Tensor& x) { return x.slice(1, 1, 2).unsqueeze(0); }},
    {"nothing", [](const at::Tensor& x) { return x.slice(1, 2, 2); }},
};

TEST(DecodeRegion, FindsWhatStaysInTheDimensions) {
  const at::Tensor numbers = at::arange(200).slice(0, 20, 200);
  const std::vector<at::Tensor> roots{
      numbers.slice(0, 0, 60).view({5, 3, 4}),
      numbers.slice(0, 0, 60).view({4, 3, 5}).permute({2, 1, 0}),              // in another order
      numbers.slice(0, 0, 180).view({5, 6, 6}).slice(1, 1, 4).slice(2, 2, 6),  // with gaps
  };
  for (size_t r = 0; r < roots.size(); ++r) {
    for (const auto& [name, make] : kInDimensions) {
      const at::Tensor view = make(roots[r]);
      const auto ranges = decode(roots[r], view);
      ASSERT_TRUE(ranges.has_value()) << name << " of root " << r;
      EXPECT_TRUE(at::equal(region(roots[r], *ranges, view), view)) << name << " of root " << r;
    }
  }
}

TEST(DecodeRegion, OfARootThatRepeatsItself) {
  const at::Tensor root = at::arange(4).expand({3, 4}), view = root.slice(1, 1, 3);
  const auto ranges = decode(root, view[0]);
  ASSERT_TRUE(ranges.has_value());
  EXPECT_TRUE(at::equal(region(root, *ranges, view[0]), view[0]));
}

TEST(DecodeRegion, RefusesWhatMixesDimensions) {
  const at::Tensor x = at::arange(60).view({5, 3, 4});
  const std::vector<std::pair<const char*, at::Tensor>> mixed{
      {"flattened", x.view({60})},
      {"folded", x.view({15, 4})},
      {"split", x.view({5, 3, 2, 2})},
      {"a diagonal", x.select(1, 0).diagonal()},
      {"windows", x.unfold(2, 2, 1)},
      {"from row to row", x.as_strided({3}, {1}, 2)},
      {"behind the end", at::arange(100).as_strided({2}, {1}, 60)},
      {"in two ranges of one dimension", x.as_strided({2, 2}, {1, 1}, 0)},
  };
  for (const auto& [name, view] : mixed) EXPECT_FALSE(decode(x, view).has_value()) << name;
}

TEST(DecodeRegion, RefusesWhatIsBeforeOrBetweenTheRootsEntries) {
  const at::Tensor memory = at::arange(60), root = memory.slice(0, 10, 40).view({5, 6}).slice(1, 0, 3);
  EXPECT_FALSE(decode(root, memory.as_strided({2}, {6}, 4)).has_value());
  EXPECT_FALSE(decode(root, memory.as_strided({2}, {6}, 14)).has_value());
  EXPECT_TRUE(decode(root, memory.as_strided({2}, {6}, 12)).has_value());
}

}  // namespace
}  // namespace weft
