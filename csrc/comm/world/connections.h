#pragma once
// Whether a rank's processes are still there, as its connections tell. Gloo tells the operations that wait for a
// connection when that ends, but for a send whose last words its own thread was writing (Pair::write, which takes it
// out of those that are told).
#include <cstdint>
#include <vector>

namespace c10d {
class Backend;
}

namespace weft::comm {

struct Connections {
  std::vector<int64_t> ended;  // the ranks at their other ends: of the world, where the backend knows them
  int64_t all = 0;             // how many this rank has
};

/// Those of a Gloo group over TCP. None of another backend, or where connections are made when first needed
/// (TORCH_GLOO_LAZY_INIT).
Connections connections_of(c10d::Backend& backend);

}  // namespace weft::comm
