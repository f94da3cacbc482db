#pragma once
// What is compared between ranks, as one hash of each; and who differs from whom, for an error. Internal to comm/agree.
#include <c10/util/ArrayRef.h>
#include <weft/mesh.h>

#include <cstdint>
#include <string>
#include <vector>

#include "comm/agree/check_same.h"

namespace weft::comm {

uint64_t hash_of(const std::vector<int64_t>& words);
/// The words and the mesh, which may itself differ.
std::vector<int64_t> with_mesh(std::vector<int64_t> words, Mesh mesh);

/// "rank 2 differs from ranks 0, 1"; empty where all ranks have the same hash. They come in the order of the mesh.
std::string difference(c10::ArrayRef<int64_t> hashes, Mesh mesh);
/// Raises ValueError where the ranks' hashes of `what` differ.
void compare(c10::ArrayRef<int64_t> hashes, const std::string& what, Mesh mesh);
/// "; the shape is [4] on rank 0, [5] on rank 1", of the facts and the mesh that are not the same on all ranks, the
/// first of them where they are many; empty where there is none. A collective.
std::string different_facts(Facts facts, Mesh mesh);

}  // namespace weft::comm
