#pragma once
// A comparison that takes along what the ranks tell each other.
#include <weft/layout.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "comm/agree/check_same.h"

namespace weft::comm {

/// `check_same`, whose collective takes a word of every rank's along. They come by rank of the world.
std::vector<int64_t> gather_same(const std::vector<int64_t>& words, const std::string& what, Mesh mesh, int64_t told,
                                 const std::function<Facts()>& facts = nullptr);

}  // namespace weft::comm
