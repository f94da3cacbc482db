#include "local/halo.h"

#include <algorithm>

namespace weft {
namespace {

Rows chunk(int64_t size, int64_t parts, int64_t index) {
  const int64_t start = chunk_start(size, parts, index);
  return {start, start + chunk_length(size, parts, index)};
}

// The rows of the input that the rank at `index` needs, less padding.
Rows needs(const Window& w, int64_t parts, int64_t index) {
  const Rows results = chunk(w.out, parts, index);
  return results.empty() ? Rows{} : w.reads(results).common({0, w.in});
}

}  // namespace

Halo make_halo(const Window& w, int axis, int64_t parts, int64_t coordinate, int64_t from_end) {
  Halo h{w, axis, from_end, chunk(w.in, parts, coordinate), chunk(w.out, parts, coordinate), {}, {}, {}, false};
  // A rank without results runs the op on padding for one row that is then dropped.
  h.reads = h.has_results() ? w.reads(h.results) : Rows{-w.reach() - 1, 0};
  const Rows mine = needs(w, parts, coordinate);
  for (int64_t c = 0; c < parts; ++c) {
    const bool own = c == coordinate;
    h.sent.push_back(own ? Rows{} : needs(w, parts, c).common(h.held));
    h.received.push_back(own ? Rows{} : mine.common(chunk(w.in, parts, c)));
  }
  h.moves = halo_rows(w, parts) > 0;
  return h;
}

int64_t halo_rows(const Window& w, int64_t parts) {
  int64_t most = 0;
  for (int64_t c = 0; c < parts; ++c) {
    const Rows rows = needs(w, parts, c);
    most = std::max(most, rows.length() - rows.common(chunk(w.in, parts, c)).length());
  }
  return most;
}

}  // namespace weft
