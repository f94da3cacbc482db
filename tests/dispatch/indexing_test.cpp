// Indexing with masks, and with indices beside them.
#include "dispatch/indexing.h"

#include "dispatch/names.h"

namespace weft {
namespace {

using List = c10::List<std::optional<at::Tensor>>;

const std::vector<int64_t> kSizes{5, 4, 3};
const std::vector<Axes> kLayouts = {{{"x"}, {}, {}}, {{}, {"x"}, {}}, {{}, {}, {"x"}}, {{}, {}, {}}};

at::Tensor chosen(at::IntArrayRef sizes) {
  return at::arange(c10::multiply_integers(sizes)).remainder(3).eq(1).view(sizes);
}

// The mask over the first dimensions, over the last ones, beside an index, of nothing.
std::vector<List> indices() {
  const at::Tensor places = at::tensor({2, 0}, at::kLong), one = at::tensor({3}, at::kLong);
  return {List({chosen({5})}),
          List({chosen({5, 4})}),
          List({chosen({5, 4, 3})}),
          List({std::nullopt, chosen({4})}),
          List({std::nullopt, chosen({4, 3})}),
          List({one, chosen({4})}),
          List({chosen({5}), std::nullopt, places.slice(0, 0, 1)}),
          List({at::zeros({5}, at::kBool)}),
          List({places, std::nullopt, places})};
}

TEST(Indexing, ByMasksIsThatByWhatTheyChoose) {
  for (const Axes& axes : kLayouts) {
    run_ranks(3, [&](int) {
      const at::Tensor x = distribute_tensor(numbers(kSizes), layout(axes));
      for (const List& list : indices()) {
        const at::Tensor plain = numbers(kSizes).index(list);
        EXPECT_EQ(difference({x.index(list)}, {plain}), "") << layout(axes)->str() << " " << plain.sizes();
      }
    });
  }
}

TEST(Indexing, WritesWhatMasksChoose) {
  for (const Axes& axes : kLayouts) {
    run_ranks(3, [&](int) {
      for (const List& list : indices()) {
        for (const bool accumulate : {false, true}) {
          const at::Tensor x = distribute_tensor(numbers(kSizes), layout(axes)), plain = numbers(kSizes);
          const at::Tensor values = plain.index(list).neg(), one = at::full({}, 5.f);
          for (const at::Tensor& given : {values, one}) {
            for (const at::Tensor& t : {plain, x}) t.index_put_(list, given, accumulate);
            EXPECT_EQ(difference({x}, {plain}), "") << layout(axes)->str() << " " << values.sizes();
            EXPECT_EQ(layout_of(x), layout(axes));
          }
        }
      }
    });
  }
}

TEST(Indexing, TakesMasksOfBytes) {
  run_ranks(3, [](int) {
    const List mask({chosen({5}).to(at::kByte)});
    const at::Tensor x = distribute_tensor(numbers(kSizes), layout(kLayouts[0]));
    EXPECT_EQ(difference({x.index(mask)}, {numbers(kSizes).index(mask)}), "");
  });
}

TEST(Indexing, TakesAMaskThatIsSharded) {
  run_ranks(3, [](int) {
    const at::Tensor mask = distribute_tensor(chosen({5}), layout({{"x"}}));
    const at::Tensor plain = numbers(kSizes), x = distribute_tensor(plain, layout(kLayouts[1]));
    for (const at::Tensor& t : {plain, x}) {
      EXPECT_EQ(difference({t.index(List({mask}))}, {plain.index(List({chosen({5})}))}), "");
    }
  });
}

TEST(Indexing, AMaskOfAnotherLengthIsCoresToRefuse) {
  run_ranks(3, [](int) {
    const at::Tensor x = distribute_tensor(numbers(kSizes), layout(kLayouts[0]));
    const List list({at::ones({4}, at::kBool)});
    const std::string plain = error_of<c10::IndexError>([&] { numbers(kSizes).index(list); });
    EXPECT_NE(plain, "");
    EXPECT_NE(error_of<c10::Error>([&] { x.index(list); }).find("shape of the mask [4]"), std::string::npos);
  });
}

TEST(Indexing, LooksAtNoIndexWhereNothingIsRead) {
  run_ranks(3, [](int) {
    const at::Tensor plain = numbers({5, 1}), places = at::tensor({2, 1}, at::kLong);
    const at::Tensor x = distribute_tensor(plain, layout({{}, {"x"}}));
    const auto nothing = [&](const at::Tensor& t) {
      return t.slice(0, 1, 1).unsqueeze(1).index(List({std::nullopt, std::nullopt, places}));
    };
    EXPECT_EQ(difference({nothing(x)}, {nothing(plain)}), "");
    EXPECT_NE(error_of<c10::IndexError>([&] { x.index(List({std::nullopt, places})); }), "");
  });
}

}  // namespace
}  // namespace weft
