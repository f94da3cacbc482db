#include "comm/wire/collectives.h"

#include <ATen/ATen.h>

#include <limits>
#include <numeric>

#include "comm/lockstep/event.h"
#include "comm/names.h"
#include "comm/wire/ways.h"
#include "mesh/context.h"

namespace weft::comm {
namespace {

class Collectives : public OnEveryWay {};

TEST_P(Collectives, AllReduce) {
  on_ranks([&](int64_t me) {
    for (at::ScalarType dtype : kAll) {
      for (Reduction reduction :
           {Reduction::sum, Reduction::avg, Reduction::max, Reduction::min, Reduction::product, Reduction::norm2}) {
        const bool floating = at::isFloatingType(dtype), complex = at::isComplexType(dtype);
        if (reduction == Reduction::avg && !floating && !complex) continue;
        if (reduction == Reduction::norm2 && !floating) continue;
        if ((reduction == Reduction::max || reduction == Reduction::min) && (complex || dtype == at::kUInt64)) continue;
        std::vector<at::Tensor> parts;
        for (int r = 0; r < n(); ++r) parts.push_back(values({2, 3}, dtype, r));
        const at::Tensor before = parts[me].clone();
        const at::Tensor got = all_reduce(parts[me], reduction, mesh(), 0);
        const std::string what = c10::str(to_string(reduction), " of ", dtype);
        expect_same(parts[me], before, what + ": input");
        const at::Tensor all = at::stack(parts).to(complex ? at::kComplexDouble : at::kDouble);
        at::Tensor expected;
        switch (reduction) {
          case Reduction::sum:
            expected = all.sum(0);
            break;
          case Reduction::avg:
            expected = all.mean(0);
            break;
          case Reduction::max:
            expected = all.amax(0);
            break;
          case Reduction::min:
            expected = all.amin(0);
            break;
          case Reduction::product:
            expected = all.prod(0);
            break;
          default:
            expected = all.square().sum(0).sqrt();
        }
        EXPECT_EQ(got.scalar_type(), dtype) << what;
        if (!floating) {
          expect_same(got, expected.to(dtype), what);
        } else {
          const double tolerance = dtype == at::kDouble ? 1e-12 : dtype == at::kFloat ? 1e-6 : 0.1;
          EXPECT_TRUE(at::allclose(got.to(at::kDouble), expected, tolerance, tolerance)) << what << got << expected;
        }
      }
    }
  });
}

TEST_P(Collectives, MaximaOfWhatIsNoNumberAreNone) {
  constexpr double inf = std::numeric_limits<double>::infinity(), nan = std::numeric_limits<double>::quiet_NaN();
  on_ranks([&](int64_t me) {
    for (const auto dtype : {at::kDouble, at::kFloat, at::kHalf, at::kBFloat16}) {
      std::vector<at::Tensor> parts;
      for (int r = 0; r < n(); ++r) {
        at::Tensor part = at::tensor({1., -1., inf, -inf, -0., 1e-7, -65504., 0.}, at::kDouble) * (r + 1);
        part[r % 2] = r % 3 == 1 ? -nan : nan;
        if (r == n() - 1) part[7] = nan;
        parts.push_back(part.to(dtype));
      }
      for (const Reduction reduction : {Reduction::max, Reduction::min}) {
        const at::Tensor all = at::stack(parts), got = all_reduce(parts[me], reduction, mesh(), 0);
        const at::Tensor expected = reduction == Reduction::max ? all.amax(0) : all.amin(0);
        EXPECT_TRUE(at::allclose(got, expected, 0, 0, /*equal_nan=*/true)) << dtype << got << expected;
      }
    }
  });
}

TEST_P(Collectives, AllReduceKeepsShapeAndStrides) {
  on_ranks([&](int64_t me) {
    for (Memory memory : {row_major, channels_last, transposed, sliced}) {
      for (std::vector<int64_t> sizes : {std::vector<int64_t>{}, {0, 3}, {5}, {2, 3, 4, 5}, {1, 3, 1, 2}}) {
        if (sizes.empty() && memory == transposed) continue;
        std::vector<at::Tensor> parts;
        for (int r = 0; r < n(); ++r) parts.push_back(relaid(values(sizes, at::kFloat, r), memory));
        const at::Tensor got = all_reduce(parts[me], Reduction::sum, mesh(), 0);
        expect_same(got, at::stack(parts).sum(0), c10::str("memory ", static_cast<int>(memory)));
        EXPECT_TRUE(got.is_non_overlapping_and_dense() || n() == 1);
        if (sizes.size() == 4 && sizes[0] > 1 && memory == channels_last) {
          EXPECT_TRUE(got.is_contiguous(at::MemoryFormat::ChannelsLast));
        }
        if (sizes.size() == 4 && memory == transposed) {
          const at::Tensor ordered = all_reduce(parts[me], Reduction::sum, mesh(), 0, {3, 1, 2, 0});
          expect_same(ordered, got, "order given");
          EXPECT_TRUE(ordered.permute({3, 1, 2, 0}).is_contiguous());
        }
      }
    }
  });
}

TEST_P(Collectives, AllGather) {
  on_ranks([&](int64_t me) {
    for (Memory memory : {row_major, channels_last, transposed, sliced}) {
      for (std::vector<int64_t> sizes :
           {std::vector<int64_t>{7}, {1}, {0, 2}, {3, 0}, {4, 5}, {5, 3, 4, 6}, {6, 1, 1, 2}}) {
        for (int64_t dim = 0; dim < static_cast<int64_t>(sizes.size()); ++dim) {
          const at::Tensor whole = relaid(values(sizes, at::kFloat, 1), memory);
          const at::Tensor shard = relaid(chunk_of(whole, dim, n(), me), memory);
          const std::string what = c10::str(whole.sizes(), " along ", dim, " memory ", static_cast<int>(memory));
          const at::Tensor got = all_gather(shard, dim, chunks(sizes[dim], n()), mesh(), 0);
          expect_same(got, whole, what);
          EXPECT_TRUE(got.is_non_overlapping_and_dense() || n() == 1) << what;
          EXPECT_TRUE(got.is_contiguous() || memory != row_major) << what;
          if (memory == channels_last && sizes[0] == 5 && shard.numel() > 0 && shard.size(1) > 1) {
            EXPECT_TRUE(got.is_contiguous(at::MemoryFormat::ChannelsLast)) << what;
          }
          std::vector<int64_t> order(sizes.size());
          std::iota(order.rbegin(), order.rend(), 0);
          const at::Tensor ordered = all_gather(shard, dim, chunks(sizes[dim], n()), mesh(), 0, order);
          expect_same(ordered, whole, what + " order given");
          EXPECT_TRUE(ordered.permute(order).is_contiguous() || n() == 1) << what;
        }
      }
    }
    for (at::ScalarType dtype : kAll) {
      const at::Tensor whole = values({5, 4}, dtype, 2);
      for (int64_t dim : {0, 1}) {
        expect_same(all_gather(chunk_of(whole, dim, n(), me), dim, chunks(whole.size(dim), n()), mesh(), 0), whole,
                    c10::str(dtype));
      }
    }
    // Lengths need not be torch.chunk's.
    std::vector<int64_t> lengths(n(), 0);
    lengths[n() / 2] = 3;
    const at::Tensor whole = values({2, 3}, at::kInt, 0);
    expect_same(all_gather(n() / 2 == me ? whole : whole.narrow(1, 0, 0), 1, lengths, mesh(), 0), whole, "one has all");
  });
}

TEST_P(Collectives, ReduceScatter) {
  on_ranks([&](int64_t me) {
    for (at::ScalarType dtype : kAll) {
      for (Reduction reduction : {Reduction::sum, Reduction::max, Reduction::product, Reduction::norm2}) {
        if (reduction == Reduction::norm2 && !at::isFloatingType(dtype)) continue;
        if (reduction == Reduction::max && (at::isComplexType(dtype) || dtype == at::kUInt64)) continue;
        for (int64_t dim : {0, 1}) {
          const at::Tensor part = values({5, 4}, dtype, me);
          const at::Tensor got = reduce_scatter(part, dim, chunks(part.size(dim), n()), reduction, mesh(), 0);
          const at::Tensor whole = all_reduce(part, reduction, mesh(), 0);
          const std::string what = c10::str(to_string(reduction), " of ", dtype, " along ", dim);
          const at::Tensor expected = chunk_of(whole, dim, n(), me);
          ASSERT_EQ(got.sizes(), expected.sizes()) << what;
          EXPECT_EQ(got.scalar_type(), dtype) << what;
          // 16-bit and 8-bit sums may be rounded at other places.
          if (at::isFloatingType(dtype)) {
            const double tolerance = at::elementSize(dtype) < 4 ? 0.1 : 1e-6;
            EXPECT_TRUE(at::allclose(got.to(at::kDouble), expected.to(at::kDouble), tolerance, tolerance)) << what;
          } else {
            expect_same(got, expected, what);
          }
        }
      }
    }
    for (Memory memory : {row_major, channels_last, transposed, sliced}) {
      for (std::vector<int64_t> sizes : {std::vector<int64_t>{7}, {1}, {0, 2}, {3, 0}, {5, 3, 4, 6}}) {
        for (int64_t dim = 0; dim < static_cast<int64_t>(sizes.size()); ++dim) {
          std::vector<at::Tensor> parts;
          for (int r = 0; r < n(); ++r) parts.push_back(relaid(values(sizes, at::kDouble, r), memory));
          const auto lengths = chunks(sizes[dim], n());
          const at::Tensor expected = chunk_of(at::stack(parts).mean(0), dim, n(), me);
          const std::string what = c10::str(parts[0].sizes(), " along ", dim, " memory ", static_cast<int>(memory));
          const at::Tensor got = reduce_scatter(parts[me], dim, lengths, Reduction::avg, mesh(), 0);
          ASSERT_EQ(got.sizes(), expected.sizes()) << what;
          EXPECT_TRUE(at::allclose(got, expected)) << what;
          std::vector<int64_t> order(sizes.size());
          std::iota(order.rbegin(), order.rend(), 0);
          const at::Tensor ordered = reduce_scatter(parts[me], dim, lengths, Reduction::avg, mesh(), 0, order);
          ASSERT_EQ(ordered.sizes(), expected.sizes()) << what;
          EXPECT_TRUE(at::allclose(ordered, expected)) << what;
        }
      }
    }
  });
}

TEST_P(Collectives, AllToAll) {
  on_ranks([&](int64_t me) {
    for (Memory memory : {row_major, channels_last, transposed, sliced}) {
      for (std::vector<int64_t> sizes : {std::vector<int64_t>{4, 6}, {0, 3}, {1, 1}, {5, 3, 4, 6}, {2, 7, 1}}) {
        const int64_t ndim = static_cast<int64_t>(sizes.size());
        const at::Tensor whole = relaid(values(sizes, at::kFloat, 3), memory);
        for (int64_t from = 0; from < ndim; ++from) {
          for (int64_t to = 0; to < ndim; ++to) {
            if (from == to) continue;
            const at::Tensor shard = relaid(chunk_of(whole, to, n(), me), memory);
            const std::string what =
                c10::str(whole.sizes(), " ", to, " -> ", from, " memory ", static_cast<int>(memory));
            const auto cut = chunks(sizes[from], n()), joined = chunks(sizes[to], n());
            const at::Tensor expected = chunk_of(whole, from, n(), me);
            expect_same(all_to_all(shard, from, cut, to, joined, mesh(), 0), expected, what);
            std::vector<int64_t> order(ndim);
            std::iota(order.rbegin(), order.rend(), 0);
            const at::Tensor ordered = all_to_all(shard, from, cut, to, joined, mesh(), 0, order);
            expect_same(ordered, expected, what + " order given");
          }
        }
      }
    }
    for (at::ScalarType dtype : kAll) {
      const at::Tensor whole = values({5, 4}, dtype, 2);
      expect_same(all_to_all(chunk_of(whole, 0, n(), me), 1, chunks(4, n()), 0, chunks(5, n()), mesh(), 0),
                  chunk_of(whole, 1, n(), me), c10::str(dtype));
    }
  });
}

TEST_P(Collectives, Broadcast) {
  on_ranks([&](int64_t me) {
    for (at::ScalarType dtype : kAll) {
      for (int root = 0; root < n(); ++root) {
        const at::Tensor mine = relaid(values({3, 2}, dtype, me), transposed);
        expect_same(broadcast(mine, root, mesh(), 0), values({3, 2}, dtype, root), c10::str(dtype, " from ", root));
        expect_same(mine, values({3, 2}, dtype, me), "input");
      }
    }
    EXPECT_EQ(broadcast(at::empty({0, 4}), n() - 1, mesh(), 0).sizes(), (c10::IntArrayRef{0, 4}));
  });
}

// Of two of Gloo's ranks small tensors go another way than large ones.
TEST_P(Collectives, AllReduceOfManyBytes) {
  on_ranks([&](int64_t me) {
    for (int64_t elements : {int64_t{1} << 17, (int64_t{1} << 17) + 1}) {  // 1 MiB of double, and more
      const at::Tensor mine = at::full({elements}, me + 1, at::kDouble);
      const at::Tensor expected = at::full({elements}, n() * (n() + 1) / 2, at::kDouble);
      expect_same(all_reduce(mine, Reduction::sum, mesh(), 0), expected, "all_reduce");
      expect_same(mine, at::full({elements}, me + 1, at::kDouble), "its input");
      all_reduce_coalesced_({mine}, Reduction::sum, mesh(), 0)->wait();
      expect_same(mine, expected, "coalesced");
    }
  });
}

TEST_P(Collectives, ConjugatedAndNegatedInputs) {
  on_ranks([&](int64_t me) {
    const at::Tensor part = values({2, 3}, at::kComplexFloat, me);
    const at::Tensor sum = all_reduce(part, Reduction::sum, mesh(), 0);
    const at::Tensor conjugate = at::conj(part), negative = at::_neg_view(at::real(part));
    expect_same(all_reduce(conjugate, Reduction::sum, mesh(), 0), at::conj(sum).resolve_conj(), "conj");
    expect_same(all_reduce(negative, Reduction::sum, mesh(), 0), at::real(sum).neg(), "neg");
    const std::vector<int64_t> twos(n(), 2);
    expect_same(all_gather(conjugate, 0, twos, mesh(), 0),
                at::conj(all_gather(part, 0, twos, mesh(), 0)).resolve_conj(), "gathered");
  });
}

INSTANTIATE_TEST_SUITE_P(Ways, Collectives, ways(), testing::PrintToStringParamName());

TEST(CollectivesOnGrid, UseTheGroupOfTheirAxis) {
  run_ranks(6, [](int rank) {
    Mesh mesh = DeviceMesh::get({2, 3}, {"data", "model"}, {0, 2, 4, 5, 3, 1});
    const auto& c = context().bind(mesh).coordinates;
    const at::Tensor mine = at::full({1}, rank, at::kLong);
    auto at = [&](int64_t i, int64_t j) { return mesh->ranks()[i * 3 + j]; };
    expect_same(all_gather(mine, 0, {1, 1}, mesh, 0), at::tensor({at(0, c[1]), at(1, c[1])}, at::kLong), "data");
    expect_same(all_gather(mine, 0, {1, 1, 1}, mesh, 1), at::tensor({at(c[0], 0), at(c[0], 1), at(c[0], 2)}, at::kLong),
                "model");
    expect_same(broadcast(mine, 2, mesh, 1), at::full({1}, at(c[0], 2), at::kLong), "broadcast");
  });
}

// The lines along y have the same values, and number their ranks the other way round.
TEST(CollectivesOnGrid, AddUpAlikeInEveryLine) {
  for (const char* backend : {"gloo", "nccl"}) {
    for (const int n : {2, 3, 4}) {
      std::vector<int64_t> ranks(2 * n);
      std::iota(ranks.begin(), ranks.begin() + n, 0);
      std::iota(ranks.rbegin(), ranks.rbegin() + n, n);
      const Mesh mesh = DeviceMesh::get({2, n}, {"x", "y"}, ranks);
      std::vector<std::vector<at::Tensor>> results(2 * n);  // by place in the mesh
      LoopbackOptions options;
      options.backend = backend;
      const auto body = [&](int) {
        const auto& at = context().bind(mesh).coordinates;
        const at::Tensor noise = at::arange(1, 64 * n + 1, at::kFloat).mul_(at[1] + 0.3).sin_();
        auto& out = results[at[0] * n + at[1]];
        const std::vector<int64_t> parts(n, 64);
        for (Reduction r : {Reduction::sum, Reduction::norm2, Reduction::product, Reduction::avg}) {
          out.push_back(all_reduce(noise, r, mesh, 1));
          out.push_back(reduce_scatter(noise, 0, parts, r, mesh, 1));
          out.push_back(noise.clone());
          all_reduce_coalesced_({out.back()}, r, mesh, 1)->wait();
          out.push_back(reduce_scatter_coalesced({{noise, 0, parts}}, r, mesh, 1)->wait());
        }
      };
      run_ranks(2 * n, body, options);
      for (int y = 0; y < n; ++y) {
        for (size_t i = 0; i < results[y].size(); ++i) {
          EXPECT_TRUE(at::equal(results[y][i], results[n + y][i])) << backend << ' ' << n << ' ' << i;
        }
      }
    }
  }
}

TEST(CollectivesOnGrid, RefuseReductionsThatADtypeLacks) {
  Mesh mesh = line(2);
  auto error = [&](at::ScalarType dtype, Reduction reduction) {
    return errors_of_ranks(2, [&](int) { all_reduce(at::zeros({2}, dtype), reduction, mesh, 0); });
  };
  EXPECT_THAT(error(at::kLong, Reduction::avg), Each(HasSubstr("a pending avg of dtype Long")));
  EXPECT_THAT(error(at::kComplexFloat, Reduction::max), Each(HasSubstr("a pending max of dtype ComplexFloat")));
  EXPECT_THAT(error(at::kBool, Reduction::norm2), Each(HasSubstr("a pending norm2 of dtype Bool")));
}

TEST(Observer, SeesEachCollectiveWithItsBytes) {
  const Sent sent;
  auto bytes = [&](const std::function<void(Mesh)>& body) {
    sent.clear();
    run_ranks(4, [&](int) { body(line(4)); });
    EXPECT_EQ(sent.count(), 4);
    return sent.bytes() / 4;
  };
  EXPECT_EQ(bytes([](Mesh mesh) { all_reduce(at::ones({8}), Reduction::sum, mesh, 0); }), 2 * 3 * 32 / 4);
  EXPECT_EQ(bytes([](Mesh mesh) { all_gather(at::ones({2}), 0, {2, 2, 2, 2}, mesh, 0); }), 3 * 32 / 4);
  EXPECT_EQ(bytes([](Mesh mesh) { reduce_scatter(at::ones({8}), 0, {2, 2, 2, 2}, Reduction::sum, mesh, 0); }), 24);
  EXPECT_EQ(bytes([](Mesh mesh) { all_to_all(at::ones({2, 4}), 1, {1, 1, 1, 1}, 0, {2, 2, 2, 2}, mesh, 0); }), 24);
  EXPECT_EQ(bytes([](Mesh mesh) { broadcast(at::ones({8}), 1, mesh, 0); }), 24);
  sent.clear();
  run_ranks(1, [](int) { all_reduce(at::ones({8}), Reduction::sum, line(1), 0); });
  EXPECT_EQ(sent.count(), 0);
}

}  // namespace
}  // namespace weft::comm
