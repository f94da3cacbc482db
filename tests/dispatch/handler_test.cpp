// One op call on sharded tensors, from its key to its results.
#include "dispatch/handler.h"

#include <ATen/record_function.h>

#include <string_view>

#include "dispatch/names.h"
#include "plan/cache.h"
#include "tensor/sharded.h"

namespace weft {
namespace {

const c10::IValue kNone;

// Each is called twice in turn: a plan of another one would show.
TEST(Handler, HasAPlanForEachCallThatNeedsItsOwn) {
  const at::Tensor x = numbers({5, 4}) - 7, row = numbers({4});
  const auto list = [](std::vector<at::Tensor> tensors) { return c10::List<at::Tensor>(std::move(tensors)); };
  const std::vector<int64_t> rows{0}, columns{1}, one{1}, two{2};
  const std::vector<std::pair<const char*, std::vector<Values>>> calls{
      {"sum.dim_IntList",
       {{x, rows, false, kNone}, {x, columns, false, kNone}, {x, rows, true, kNone}, {x, kNone, false, kNone}}},
      {"roll", {{x, one, rows}, {x, two, rows}, {x, one, columns}}},
      {"add.Tensor", {{x, x, 1}, {x, row, 1}, {x, x, 2}, {x, at::full({}, 2.f), 1}, {x, x.to(at::kDouble), 1}}},
      {"slice.Tensor", {{x, 0, 1, 4, 1}, {x, 0, 1, 5, 1}, {x, 0, 1, 4, 2}, {x, 1, 1, 4, 1}, {x, 0, kNone, kNone, 1}}},
      {"cat", {{list({x, x}), 0}, {list({x, x, x}), 0}, {list({x, x}), 1}}},
      {"view", {{x, std::vector<int64_t>{20}}, {x, std::vector<int64_t>{5, 2, 2}}, {x, std::vector<int64_t>{10, 2}}}},
      {"mul.Tensor", {{x, x}, {x.t(), x.t()}}},
  };
  run_ranks(3, [&](int) {
    for (int again = 0; again < 2; ++again) {
      for (const auto& [op, several] : calls) {
        for (size_t c = 0; c < several.size(); ++c) {
          for (const Axes& axes : {kRows, kColumns}) {
            const Values got = call(op, test::laid_out(several[c], {layout(axes)}));
            EXPECT_EQ(difference(got, call(op, several[c])), "") << op << ", call " << c << ", " << layout(axes)->str();
          }
        }
      }
    }
  });
}

// The mask of a batch, say: copied it would be as many, and kernels may want the gaps between its rows.
TEST(Handler, TakesPartsOfWhatIsExpandedOrHasGapsWithoutACopy) {
  const at::Tensor x = numbers({5, 4, 3}), rows = numbers({4, 3}), gaps = numbers({5, 4, 8}).slice(2, 0, 3);
  static thread_local int copies;
  const auto count = [](const at::RecordFunction& fn) -> std::unique_ptr<at::ObserverContext> {
    copies += std::string_view(fn.name()) == "aten::copy_";
    return nullptr;
  };
  run_ranks(3, [&](int) {
    for (const Axes& axes : {Axes{{"x"}, {}, {}}, Axes{{}, {"x"}, {}}}) {
      for (const at::Tensor& mask : {rows.expand({5, 4, 3}), gaps}) {
        const at::Tensor sharded_mask = make_sharded(mask, layout({{}, {}, {}}), geometry_of(mask));
        const at::Tensor part = distribute_tensor(x, layout(axes));
        copies = 0;
        const auto handle = at::addThreadLocalCallback(at::RecordFunctionCallback(count));
        const at::Tensor plain = part.mul(mask), sharded = part.mul(sharded_mask);
        at::removeCallback(handle);
        EXPECT_EQ(copies, 0);
        EXPECT_EQ(difference({plain, sharded}, {x.mul(mask), x.mul(mask)}), "");
      }
    }
  });
}

// A learning rate, say.
TEST(Handler, MakesNoPlanForAnotherFloat) {
  run_ranks(3, [](int) {
    const at::Tensor x = distribute_tensor(numbers({5, 4}), layout(kRows));
    const auto misses_of = [](const auto& run) {
      const uint64_t before = plan_counts().misses;
      run();
      return plan_counts().misses - before;
    };
    EXPECT_EQ(misses_of([&] { x.mul(2.); }), 1u);
    EXPECT_EQ(misses_of([&] { x.mul(3.); }), 0u);
    EXPECT_EQ(misses_of([&] { x.add(x, 0.5); }), 1u);
    EXPECT_EQ(misses_of([&] { x.add(x, 0.25); }), 0u);
    EXPECT_EQ(misses_of([&] { x.sum(0); }), 1u);
    EXPECT_EQ(misses_of([&] { x.sum(1); }), 1u);
  });
}

TEST(Handler, BringsWhatIsWrittenInPlaceToItsOwnLayout) {
  const at::Tensor x = numbers({5, 4}), y = numbers({5, 4}) + 0.5;
  for (const Axes& axes : {kRows, kColumns, kWhole}) {
    for (const Axes& other : {kRows, kColumns, kWhole}) {
      run_ranks(3, [&](int) {
        const at::Tensor written = distribute_tensor(x.clone(), layout(axes));
        const at::Tensor alias = written.detach();
        EXPECT_TRUE(written.mul_(distribute_tensor(y, layout(other))).is_same(written));
        EXPECT_EQ(layout_of(written), layout(axes));
        EXPECT_EQ(difference({written, alias}, {x * y, x * y}), "");
      });
    }
  }
}

TEST(Handler, GathersWhatIsWrittenIntoAPlainTensor) {
  const at::Tensor x = numbers({5, 4}), y = numbers({5, 4}) + 0.5;
  run_ranks(3, [&](int) {
    at::Tensor plain = x.clone();
    plain.mul_(distribute_tensor(y, layout(kRows)));
    EXPECT_FALSE(is_sharded(plain));
    EXPECT_EQ(difference({plain}, {x * y}), "");
  });
}

TEST(Handler, GivesListsInTheirOrder) {
  const at::Tensor x = numbers({5, 4});
  run_ranks(3, [&](int) {
    for (const Axes& axes : {kRows, kColumns}) {
      const at::Tensor sharded = distribute_tensor(x, layout(axes));
      EXPECT_EQ(difference({sharded.split(2, 0)}, {x.split(2, 0)}), "");
      EXPECT_EQ(difference({at::_foreach_mul({sharded, x, sharded.t()}, 2)}, {at::_foreach_mul({x, x, x.t()}, 2)}), "");
      const auto [values, indices] = sharded.sort(0, true);
      const auto [plain_values, plain_indices] = x.sort(0, true);
      EXPECT_EQ(difference({values, indices}, {plain_values, plain_indices}), "");
    }
  });
}

TEST(Handler, OutputsLieInMemoryAsThoseOfThePlainOp) {
  const at::Tensor x = numbers({3, 4, 5, 2}).contiguous(at::MemoryFormat::ChannelsLast);
  run_ranks(3, [&](int) {
    for (const Axes& axes : {Axes{{"x"}, {}, {}, {}}, Axes{{}, {"x"}, {}, {}}}) {
      const at::Tensor sharded = distribute_tensor(x, layout(axes));
      for (const auto& f :
           {+[](const at::Tensor& t) { return t.relu(); }, +[](const at::Tensor& t) { return t + t.mean(1, true); },
            +[](const at::Tensor& t) { return t.softmax(1); },
            +[](const at::Tensor& t) { return t.permute({3, 1, 0, 2}).mul(2); }}) {
        EXPECT_EQ(f(sharded).strides(), f(x).strides());
      }
    }
  });
}

TEST(Handler, RefusesTensorsOnTwoMeshes) {
  const auto errors = errors_of_ranks(4, [](int) {
    const at::Tensor x = distribute_tensor(at::ones({4}), TensorLayout::from_names(line(4), {{"x"}}));
    const Mesh grid = DeviceMesh::get({2, 2}, {"a", "b"});
    x.add(distribute_tensor(at::ones({4}), TensorLayout::from_names(grid, {{"a"}})));
  });
  EXPECT_THAT(errors,
              Each(::testing::AllOf(HasSubstr("[add.Tensor]"), HasSubstr("mesh (x=4)"), HasSubstr("mesh (a=2, b=2)"))));
}

}  // namespace
}  // namespace weft
