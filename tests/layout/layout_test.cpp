#include <c10/util/Exception.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <weft/layout.h>

#include <thread>

#include "support/outcome.h"

namespace weft {
namespace {

using test::error_of;
using ::testing::HasSubstr;

TensorLayout::Partial pending(int axis, Reduction reduction) {
  TensorLayout::Partial partial{};
  partial[axis] = reduction;
  return partial;
}

TEST(TensorLayout, EqualLayoutsAreTheSamePointer) {
  Mesh mesh = DeviceMesh::get({2, 4}, {"data", "model"});
  EXPECT_EQ(TensorLayout::get(mesh, {{{0}}, {}}), TensorLayout::from_names(mesh, {{"data"}, {}}));
  EXPECT_EQ(TensorLayout::get(mesh, {{}}, pending(1, Reduction::max)),
            TensorLayout::from_names(mesh, {{}}, {{"model", "max"}}));
  EXPECT_EQ(TensorLayout::replicated(mesh, 3), TensorLayout::get(mesh, {{}, {}, {}}));

  EXPECT_NE(TensorLayout::get(mesh, {{{0}, {1}}}), TensorLayout::get(mesh, {{{1}, {0}}}));
  EXPECT_NE(TensorLayout::get(mesh, {{{0}}}), TensorLayout::get(mesh, {{{0, 4}}}));
  EXPECT_NE(TensorLayout::get(mesh, {{}}, pending(1, Reduction::max)),
            TensorLayout::get(mesh, {{}}, pending(1, Reduction::sum)));
  EXPECT_NE(TensorLayout::replicated(mesh, 1), TensorLayout::replicated(mesh, 2));
  EXPECT_NE(TensorLayout::replicated(mesh, 1), TensorLayout::replicated(DeviceMesh::get({2, 4}, {"a", "b"}), 1));
}

TEST(TensorLayout, InterningIsThreadSafe) {
  Mesh mesh = DeviceMesh::get({3, 5}, {"interned", "by_threads"});
  std::vector<Layout> made(8);
  std::vector<std::thread> threads;
  for (Layout& layout : made) {
    threads.emplace_back([&layout, mesh] { layout = TensorLayout::get(mesh, {{{1}}, {{0}}}); });
  }
  for (std::thread& thread : threads) thread.join();
  for (Layout layout : made) EXPECT_EQ(layout, made[0]);
}

TEST(TensorLayout, KnowsWhatEachAxisDoes) {
  Mesh mesh = DeviceMesh::get({2, 2, 2, 1}, {"a", "b", "c", "one"});
  Layout layout = TensorLayout::get(mesh, {{}, {{1, 6}}}, pending(2, Reduction::sum));
  EXPECT_EQ(layout->state(0).kind, AxisState::replicated);
  EXPECT_EQ(layout->state(1).kind, AxisState::split);
  EXPECT_EQ(layout->state(1).dim, 1);
  EXPECT_EQ(layout->state(1).block, 6);
  EXPECT_EQ(layout->state(2).kind, AxisState::partial);
  EXPECT_EQ(layout->state(2).reduction, Reduction::sum);
  EXPECT_TRUE(layout->has_partial());
  EXPECT_FALSE(layout->is_replicated());
  EXPECT_EQ(layout->without_partial(), TensorLayout::get(mesh, {{}, {{1, 6}}}));
  EXPECT_TRUE(TensorLayout::replicated(mesh, 2)->is_replicated());
}

TEST(TensorLayout, NothingPendsOverAnAxisOfSizeOne) {
  Mesh mesh = DeviceMesh::get({1, 2}, {"one", "two"});
  EXPECT_EQ(TensorLayout::get(mesh, {{}}, pending(0, Reduction::sum)), TensorLayout::replicated(mesh, 1));
}

TEST(TensorLayout, RefusesWhatHasNoMeaning) {
  Mesh mesh = DeviceMesh::get({2, 4}, {"data", "model"});
  EXPECT_THAT(error_of([&] { TensorLayout::get(mesh, {{{1}}, {{1}}}); }),
              ::testing::AllOf(HasSubstr("'model'"), HasSubstr("twice"), HasSubstr("0 and 1")));
  EXPECT_THAT(error_of([&] { TensorLayout::get(mesh, {{{0}, {0}}}); }), HasSubstr("'data'"));
  EXPECT_THAT(error_of([&] { TensorLayout::get(mesh, {{{2}}}); }), HasSubstr("axis index 2"));
  EXPECT_THAT(error_of([&] { TensorLayout::get(mesh, {{{-1}}}); }), HasSubstr("axis index -1"));
  EXPECT_THAT(error_of([&] { TensorLayout::get(mesh, {{{0}}}, pending(0, Reduction::sum)); }),
              ::testing::AllOf(HasSubstr("'data'"), HasSubstr("pending sum")));
  EXPECT_THAT(error_of([&] { TensorLayout::get(mesh, {{}}, pending(5, Reduction::sum)); }), HasSubstr("axis 5"));
  EXPECT_THAT(error_of([&] { TensorLayout::get(nullptr, {{}}); }), HasSubstr("mesh"));
  EXPECT_THAT(error_of([&] { TensorLayout::from_names(mesh, {{"modle"}}); }), HasSubstr("modle"));
  EXPECT_THAT(error_of([&] { TensorLayout::from_names(mesh, {{}}, {{"data", "median"}}); }), HasSubstr("median"));
}

TEST(TensorLayout, PrintsAsItIsWritten) {
  Mesh mesh = DeviceMesh::get({2, 4}, {"data", "model"});
  EXPECT_EQ(TensorLayout::from_names(mesh, {{"model"}, {}})->str(), "(model, None)");
  EXPECT_EQ(TensorLayout::from_names(mesh, {{"data", "model"}, {}})->str(), "((data, model), None)");
  EXPECT_EQ(TensorLayout::from_names(mesh, {{}}, {{"data", "sum"}, {"model", "max"}})->str(),
            "(None,) partial{data: sum, model: max}");
  EXPECT_EQ(TensorLayout::get(mesh, {{{1, 16}}})->str(), "(model/16,)");
  EXPECT_EQ(TensorLayout::replicated(mesh, 0)->str(), "()");
  EXPECT_EQ(TensorLayout::from_names(mesh, {{"model"}, {}})->describe(), "(model, None) on mesh (data=2, model=4)");
}

TEST(Reduction, HasANameEach) {
  for (auto r :
       {Reduction::sum, Reduction::avg, Reduction::max, Reduction::min, Reduction::product, Reduction::norm2}) {
    EXPECT_EQ(reduction_from_string(to_string(r)), r);
  }
  EXPECT_THAT(error_of([] { reduction_from_string("none"); }), HasSubstr("known: sum"));
}

}  // namespace
}  // namespace weft
