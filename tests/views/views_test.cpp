// Views of sharded tensors: what they see of their base, what writes through them reach.
#include "views/views.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <weft/tensor.h>

#include <functional>

#include "support/boxed.h"
#include "support/outcome.h"
#include "support/run_ranks.h"
#include "support/sent.h"

namespace weft {
namespace {

using test::difference;
using test::line;
using test::run_ranks;
using View = std::function<at::Tensor(const at::Tensor&)>;

at::Tensor numbers(at::IntArrayRef sizes) { return at::arange(c10::multiply_integers(sizes), at::kFloat).view(sizes); }

Layout layout(const std::vector<std::vector<std::string>>& axes, int ranks = 3) {
  return TensorLayout::from_names(line(ranks), axes);
}

const std::vector<std::pair<const char*, View>> kViews = {
    {"slice", [](const at::Tensor& x) { return x.slice(0, 1, 5); }},
    {"steps", [](const at::Tensor& x) { return x.slice(0, 0, 6, 2); }},
    {"selection", [](const at::Tensor& x) { return x.select(0, 3); }},
    {"transposed slice", [](const at::Tensor& x) { return x.t().slice(1, 2, 4).slice(0, 1, 3); }},
    {"flattened", [](const at::Tensor& x) { return x.view({24}); }},
    {"split otherwise", [](const at::Tensor& x) { return x.view({8, 3}); }},
    {"part of what is flattened", [](const at::Tensor& x) { return x.view({24}).slice(0, 3, 17); }},
    {"diagonal", [](const at::Tensor& x) { return x.diagonal(); }},
    {"broadcast", [](const at::Tensor& x) { return x.select(0, 1).unsqueeze(0).expand({1, 4}); }},
    {"as strided", [](const at::Tensor& x) { return x.as_strided({3, 2}, {8, 1}, 1); }},
    {"as strided, before it", [](const at::Tensor& x) { return x.slice(0, 2, 5).as_strided({3, 2}, {4, 1}, 1); }},
    {"as strided, mixed", [](const at::Tensor& x) { return x.as_strided({3, 3}, {5, 2}, 2); }},
};
const std::vector<std::vector<std::vector<std::string>>> kLayouts = {{{"x"}, {}}, {{}, {"x"}}, {{}, {}}};

TEST(Views, AWriteThroughAViewReachesTheBase) {
  int moved = 0;
  for (const auto& [name, make] : kViews) {
    for (const auto& axes : kLayouts) {
      const at::Tensor plain = numbers({6, 4}), plain_view = make(plain);
      const at::Tensor values = numbers(plain_view.sizes()).neg();
      plain_view.copy_(values);
      run_ranks(3, [&](int rank) {
        const at::Tensor x = distribute_tensor(numbers({6, 4}), layout(axes)), view = make(x);
        if (rank == 0) moved += sharded(view).is_moved();
        view.copy_(values);
        EXPECT_EQ(difference({x, view}, {plain, plain_view}), "") << name << " " << layout(axes)->str();
        EXPECT_EQ(layout_of(x), layout(axes));
      });
    }
  }
  EXPECT_GE(moved, 10);  // else little of what carries writes back is tried
}

TEST(Views, AWriteToTheBaseIsSeenByItsViews) {
  for (const auto& [name, make] : kViews) {
    for (const auto& axes : kLayouts) {
      run_ranks(3, [&](int) {
        const at::Tensor plain = numbers({6, 4}), plain_view = make(plain);
        const at::Tensor x = distribute_tensor(numbers({6, 4}), layout(axes)), view = make(x);
        EXPECT_EQ(difference({view}, {plain_view}), "") << name << " " << layout(axes)->str();
        for (const at::Tensor& base : {plain, x}) base.mul_(-2);
        EXPECT_EQ(difference({view}, {plain_view}), "") << name << " " << layout(axes)->str();
        for (const at::Tensor& base : {plain, x}) base.select(1, 2).add_(100);
        EXPECT_EQ(difference({view}, {plain_view}), "") << name << " " << layout(axes)->str();
      });
    }
  }
}

TEST(Views, OfOneBaseSeeEachOthersWrites) {
  run_ranks(3, [](int) {
    const auto write = [](const at::Tensor& x) {
      const at::Tensor rows = x.slice(0, 1, 5), part = rows.slice(0, 0, 2), column = x.select(1, 1);
      part.fill_(-1);
      column.add_(column);
      rows.mul_(3);
      return test::Values{x, rows, part, column};
    };
    const test::Values plain = write(numbers({6, 4}));
    for (const auto& axes : kLayouts) {
      EXPECT_EQ(difference(write(distribute_tensor(numbers({6, 4}), layout(axes))), plain), "") << layout(axes)->str();
    }
  });
}

TEST(Views, OfComplexTensorsWriteTheirParts) {
  const std::vector<std::pair<const char*, View>> views{
      {"real and imaginary", [](const at::Tensor& x) { return at::view_as_real(x).slice(0, 1, 5).select(2, 1); }},
      {"both", [](const at::Tensor& x) { return at::view_as_real(x).slice(0, 1, 4); }},
      {"conjugate", [](const at::Tensor& x) { return x.conj().slice(0, 1, 5); }},
      {"real of the conjugate", [](const at::Tensor& x) { return at::real(x.slice(0, 1, 5)); }},
  };
  for (const auto& [name, make] : views) {
    for (const auto& axes : kLayouts) {
      run_ranks(3, [&](int) {
        const at::Tensor plain = at::complex(numbers({6, 4}), numbers({6, 4}) + 1);
        const at::Tensor x = distribute_tensor(plain.clone(), layout(axes));
        for (const at::Tensor& base : {plain, x}) make(base).mul_(3).add_(1);
        EXPECT_EQ(difference({x}, {plain}), "") << name << " " << layout(axes)->str();
        const at::Tensor values = make(plain).mul(2).resolve_conj();
        for (const at::Tensor& base : {plain, x}) make(base).copy_(values);
        EXPECT_EQ(difference({x}, {plain}), "") << "copied into: " << name << " " << layout(axes)->str();
      });
    }
  }
}

// The parts of a pending sum cannot be written: it is reduced first, for the root and all that see it.
TEST(Views, OfExpandedDimensionsAreNotWrittenAnew) {
  run_ranks(3, [](int) {
    const at::Tensor x = distribute_tensor(numbers({6, 4}), layout({{"x"}, {}}));
    for (const at::Tensor& view : {x.expand({2, 6, 4}), x.slice(0, 0, 6, 2).expand({2, 3, 4})}) {
      const std::string error = test::error_of<c10::NotImplementedError>(
          [&] { view.index_put_({at::tensor({1}), at::tensor({2})}, at::full({4}, 5.0)); });
      EXPECT_THAT(error, testing::HasSubstr("cannot carry a write through this view back to its base"));
    }
    EXPECT_EQ(difference({x}, {numbers({6, 4})}), "");
  });
}

TEST(Views, AWriteIntoAPartOfAPendingSumReducesIt) {
  run_ranks(3, [](int) {
    const at::Tensor base = numbers({6, 4, 3}), plain = base.sum(0);
    plain.slice(0, 1, 3).fill_(-5);
    const at::Tensor x = distribute_tensor(base, layout({{"x"}, {}, {}})).sum(0);
    ASSERT_TRUE(layout_of(x)->has_partial());
    x.slice(0, 1, 3).fill_(-5);
    EXPECT_EQ(difference({x}, {plain}), "");
  });
}

TEST(Share, IsTheSameValueInTheSameMemory) {
  run_ranks(3, [](int) {
    const at::Tensor x = distribute_tensor(numbers({6, 4}), layout({{"x"}, {}})), other = share(x);
    EXPECT_EQ(&sharded(x).cell(), &sharded(other).cell());
    EXPECT_TRUE(local_tensor(x).is_alias_of(local_tensor(other)));
    x.add_(1);
    EXPECT_EQ(difference({other}, {numbers({6, 4}) + 1}), "");
  });
}

TEST(ReduceForAllAliases, ReducesOnceWhatSeveralNeed) {
  const test::Sent sent;
  run_ranks(3, [&](int rank) {
    const at::Tensor x = distribute_tensor(numbers({6, 4}), layout({{"x"}, {}})).sum(0), other = share(x);
    const at::Tensor flat = x.view({2, 2}), part = x.slice(0, 1, 3);
    const Layout whole = TensorLayout::replicated(line(3), 1);
    EXPECT_FALSE(reduce_for_all_aliases(sharded(part), whole));  // its reader reduces what it needs
    EXPECT_TRUE(layout_of(x)->has_partial());
    const size_t before = sent.count(rank);
    EXPECT_TRUE(reduce_for_all_aliases(sharded(flat), TensorLayout::replicated(line(3), 2)));
    for (const at::Tensor& t : {x, other, flat, part}) EXPECT_FALSE(layout_of(t)->has_partial());
    EXPECT_FALSE(reduce_for_all_aliases(sharded(other), whole));
    EXPECT_EQ(sent.count(rank), before + 1);
    EXPECT_EQ(sent.by(rank).back(), "all_reduce x");
    const at::Tensor plain = numbers({6, 4}).sum(0);
    EXPECT_EQ(difference({x, other, flat, part}, {plain, plain, plain.view({2, 2}), plain.slice(0, 1, 3)}), "");
  });
}

TEST(AsStrided, MovesNothingWhereItStaysInTheDimensions) {
  const test::Sent sent;
  run_ranks(3, [&](int rank) {
    const at::Tensor x = distribute_tensor(numbers({6, 4}), layout({{"x"}, {}}));
    const size_t before = sent.count(rank);
    const at::Tensor view = x.as_strided({2, 6}, {1, 4}, 1);
    EXPECT_TRUE(local_tensor(view).is_alias_of(local_tensor(x)));
    EXPECT_EQ(layout_of(view), layout({{}, {"x"}}));
    EXPECT_EQ(sent.count(rank), before);
  });
}

}  // namespace
}  // namespace weft
