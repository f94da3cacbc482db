// Several tensors in one collective: as each by itself.
#include <ATen/ATen.h>

#include "comm/wire/coalesced_gather.h"
#include "comm/wire/collectives.h"
#include "comm/wire/ways.h"

namespace weft::comm {
namespace {

class CoalescedCollectives : public OnEveryWay {};

TEST_P(CoalescedCollectives, AllReduce) {
  on_ranks([&](int64_t me) {
    for (at::ScalarType dtype : {at::kFloat, at::kBFloat16, at::kShort, at::kLong}) {
      for (bool several : {false, true}) {
        std::vector<at::Tensor> tensors{values({3, 2}, dtype, me)}, expected;
        if (several) tensors = {tensors[0], values({}, dtype, me), values({0, 4}, dtype, me), values({5}, dtype, me)};
        for (const at::Tensor& t : tensors) expected.push_back(all_reduce(t, Reduction::sum, mesh(), 0));
        const auto first = all_reduce_coalesced_(tensors, Reduction::sum, mesh(), 0);
        const at::Tensor other = values({4}, at::kFloat, me);  // a second one before the first is waited for
        const auto second = all_reduce_coalesced_({other}, Reduction::avg, mesh(), 0);
        first->wait();
        first->wait();
        for (size_t i = 0; i < tensors.size(); ++i) expect_same(tensors[i], expected[i], c10::str(dtype));
        const at::Tensor mean = all_reduce(values({4}, at::kFloat, me), Reduction::avg, mesh(), 0);
        second->wait();
        expect_same(other, mean, "second");
      }
    }
    all_reduce_coalesced_({}, Reduction::sum, mesh(), 0)->wait();
    all_reduce_coalesced_({at::empty({0})}, Reduction::sum, mesh(), 0)->wait();
  });
}

TEST_P(CoalescedCollectives, ReduceScatter) {
  on_ranks([&](int64_t me) {
    const auto scattered = [&](const std::vector<Divided>& tensors, const at::Tensor& flat, Reduction reduction,
                               const std::string& what) {
      int64_t offset = 0;
      for (const Divided& t : tensors) {
        const at::Tensor expected = reduce_scatter(t.input, t.dim, t.sizes, reduction, mesh(), 0);
        expect_same(flat.narrow(0, offset, expected.numel()).view(expected.sizes()), expected, what);
        offset += expected.numel();
      }
      EXPECT_EQ(offset, flat.numel()) << what;
    };
    const auto tensors_of = [&](at::ScalarType dtype, int64_t size, Memory memory) {
      std::vector<Divided> tensors;
      for (int64_t dim : {0, 1, 2}) {
        std::vector<int64_t> sizes{2, 3, 2};
        sizes[dim] = size;
        tensors.push_back({relaid(values(sizes, dtype, me), memory), dim, chunks(size, n())});
      }
      return tensors;
    };
    for (at::ScalarType dtype : {at::kFloat, at::kDouble, at::kInt, at::kShort, at::kComplexFloat}) {
      for (int64_t size : {int64_t{2} * n(), int64_t{5}, int64_t{1}}) {  // even, uneven, empty for all but one
        for (Memory memory : {row_major, transposed, sliced}) {
          const std::string what = c10::str(dtype, " of ", size, " in memory ", static_cast<int>(memory));
          const auto tensors = tensors_of(dtype, size, memory);
          const auto first = reduce_scatter_coalesced(tensors, Reduction::sum, mesh(), 0);
          const auto others = tensors_of(at::kDouble, 4, row_major);  // a second one before the first is waited for
          const auto second = reduce_scatter_coalesced(others, Reduction::avg, mesh(), 0);
          scattered(tensors, first->wait(), Reduction::sum, what);
          scattered(others, second->wait(), Reduction::avg, "second");
        }
      }
    }
    const std::vector<Divided> complex{{values({4}, at::kComplexFloat, me), 0, chunks(4, n())}};
    scattered(complex, reduce_scatter_coalesced(complex, Reduction::product, mesh(), 0)->wait(), Reduction::product,
              "gathered parts");
    const std::vector<Divided> nothing{{at::empty({0, 4}), 0, std::vector<int64_t>(n(), 0)}};
    EXPECT_EQ(reduce_scatter_coalesced(nothing, Reduction::sum, mesh(), 0)->wait().numel(), 0);
  });
}

TEST_P(CoalescedCollectives, Gather) {
  on_ranks([&](int64_t me) {
    const auto part = [&](at::ScalarType dtype, int64_t dim, int64_t size, Memory memory) {
      std::vector<int64_t> sizes{2, 3, 2};
      const std::vector<int64_t> lengths = chunks(size, n());
      sizes[dim] = lengths[me];
      return Divided{relaid(values(sizes, dtype, me), memory), dim, lengths};
    };
    const auto expect_gathered = [&](const std::vector<Divided>& tensors, PendingGathers& gathers,
                                     const std::string& what) {
      for (size_t i = 0; i < tensors.size(); ++i) {
        const Divided& t = tensors[i];
        const at::Tensor full = gathers.take(i);
        EXPECT_TRUE(full.is_contiguous()) << what;
        expect_same(full, all_gather(t.input, t.dim, t.sizes, mesh(), 0), c10::str(what, ", number ", i));
      }
    };
    for (at::ScalarType dtype : kAll) {
      for (int64_t size : {int64_t{2} * n(), int64_t{5}, int64_t{1}}) {  // even, uneven, empty for all but one
        for (Memory memory : {row_major, transposed, sliced}) {
          const std::string what = c10::str(dtype, " of ", size, " in memory ", static_cast<int>(memory));
          std::vector<Divided> tensors;
          for (int64_t dim : {0, 1, 2}) tensors.push_back(part(dtype, dim, size, memory));
          const auto first = all_gather_coalesced(tensors, mesh(), 0);
          // A second one before the first is waited for, of several dtypes.
          const std::vector<Divided> others{part(at::kBool, 0, 5, memory), part(dtype, 1, size, row_major),
                                            part(at::kDouble, 2, 3, memory), part(at::kHalf, 1, 7, row_major)};
          const auto second = all_gather_coalesced(others, mesh(), 0);
          expect_gathered(tensors, *first, what);
          expect_gathered(others, *second, "several dtypes with " + what);
          const std::vector<Divided> one{tensors[0]};
          expect_gathered(one, *all_gather_coalesced(one, mesh(), 0), "one");
        }
      }
    }
  });
}

INSTANTIATE_TEST_SUITE_P(Ways, CoalescedCollectives, ways(), testing::PrintToStringParamName());

}  // namespace
}  // namespace weft::comm
