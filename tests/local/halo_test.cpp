// Which rows ranks exchange, against a count of what each result's window reads.
#include "local/halo.h"

#include <gtest/gtest.h>

#include <set>

namespace weft {
namespace {

using Places = std::set<int64_t>;

Places places(const Rows& rows) {
  Places out;
  for (int64_t i = rows.begin; i < rows.end; ++i) out.insert(i);
  return out;
}

// The input rows within the window of each of some results.
Places read_by(const Window& w, const Rows& results) {
  Places out;
  for (int64_t r : places(results)) {
    for (int64_t k = 0; k < w.kernel; ++k) {
      const int64_t row = r * w.stride - w.padding + k * w.dilation;
      if (row >= 0 && row < w.in) out.insert(row);
    }
  }
  return out;
}

Window window(int64_t in, int64_t kernel, int64_t stride, int64_t padding, int64_t dilation) {
  Window w;
  w.in = in;
  w.kernel = kernel;
  w.stride = stride;
  w.padding = padding;
  w.dilation = dilation;
  w.out = (in + 2 * padding - dilation * (kernel - 1) - 1) / stride + 1;
  return w;
}

std::vector<Window> windows() {
  std::vector<Window> out;
  for (int64_t in : {5, 8, 13}) {
    for (int64_t kernel : {1, 2, 3}) {
      for (int64_t stride : {1, 2, 3}) {
        for (int64_t dilation : {1, 2}) {
          for (int64_t padding = 0; 2 * padding <= dilation * (kernel - 1); ++padding) {
            const Window w = window(in, kernel, stride, padding, dilation);
            if (in + 2 * padding > dilation * (kernel - 1)) out.push_back(w);
          }
        }
      }
    }
  }
  return out;
}

TEST(Halo, BringsEachRankWhatItsResultsRead) {
  for (const Window& w : windows()) {
    for (int64_t parts : {1, 2, 3, 4}) {
      Places results;
      for (int64_t c = 0; c < parts; ++c) {
        const Halo halo = make_halo(w, 0, parts, c, 1);
        results.merge(places(halo.results));
        Places there = places(halo.held);
        for (const Rows& rows : halo.received) {
          for (int64_t row : places(rows)) EXPECT_TRUE(there.insert(row).second) << "row " << row << " comes twice";
        }
        for (int64_t row : read_by(w, halo.results)) EXPECT_TRUE(there.count(row) > 0) << row;
        if (halo.has_results()) {
          for (int64_t row : read_by(w, halo.results)) EXPECT_TRUE(places(halo.reads).count(row) > 0) << row;
        }
      }
      EXPECT_EQ(results, places({0, w.out}));
    }
  }
}

TEST(Halo, SendsWhatTheOthersReceive) {
  for (const Window& w : windows()) {
    for (int64_t parts : {2, 3, 4}) {
      std::vector<Halo> halos;
      for (int64_t c = 0; c < parts; ++c) halos.push_back(make_halo(w, 0, parts, c, 1));
      int64_t most = 0;
      for (int64_t to = 0; to < parts; ++to) {
        int64_t received = 0;
        for (int64_t from = 0; from < parts; ++from) {
          EXPECT_EQ(places(halos[from].sent[to]), places(halos[to].received[from]));
          received += halos[to].received[from].length();
        }
        EXPECT_TRUE(halos[to].received[to].empty());
        most = std::max(most, received);
      }
      EXPECT_EQ(halo_rows(w, parts), most);
      for (const Halo& halo : halos) EXPECT_EQ(halo.moves, most > 0);  // alike on all ranks
    }
  }
}

TEST(Halo, MovesNothingWhereWindowsDoNotOverlapTheCuts) {
  EXPECT_EQ(halo_rows(window(8, 2, 2, 0, 1), 2), 0);
  EXPECT_EQ(halo_rows(window(8, 1, 1, 0, 1), 3), 0);
  EXPECT_GT(halo_rows(window(8, 3, 1, 1, 1), 2), 0);
}

TEST(Halo, OfARankWithoutResultsReadsPaddingAlone) {
  const Window w = window(5, 3, 3, 0, 1);  // one result
  const Halo halo = make_halo(w, 0, 3, 2, 1);
  EXPECT_FALSE(halo.has_results());
  EXPECT_LE(halo.reads.end, 0);
  EXPECT_EQ(w.results_of(halo.reads), 1);
  for (const Rows& rows : halo.received) EXPECT_TRUE(rows.empty());
}

}  // namespace
}  // namespace weft
