#pragma once
// Values that all ranks must have alike are compared, or gathered, by one small collective of the world.
#include <weft/layout.h>

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace weft::comm {

/// What a rank has, by name: {"shape", "[4, 2]"}.
using Facts = std::vector<std::pair<std::string, std::string>>;

/// Raises the same ValueError on all ranks where `words` (anything that must agree: shapes, dtypes, layouts) or the
/// mesh (null: none) differs between ranks; the message names `what`, the ranks that differ, and what these and the
/// others have of `facts`, which are asked for on all ranks and only then, and of meshes. Costs one small collective of
/// the world; the mesh is not bound before, as making its groups takes ranks that agree about it.
void check_same(const std::vector<int64_t>& words, const std::string& what, Mesh mesh,
                const std::function<Facts()>& facts = nullptr);
/// `check_same` of a mesh that all ranks make; costs nothing where it was compared before.
void check_mesh(Mesh mesh);
/// Whether all ranks of the world have compared anything yet, as they do where the first mesh is made: the same on all.
bool compared_before();
constexpr const char* kMeshMade = "the device mesh";  // what ranks compare there
/// Every rank's words, as many on each, by rank of the world. One small collective of the world, which binds no mesh.
/// Those that a simulated mesh stands for are taken to have the same.
std::vector<std::vector<int64_t>> gather_words(const std::vector<int64_t>& words, Mesh mesh = nullptr);
/// All ranks in one line, whatever their meshes are, on a device that the world can send from; of a simulated mesh its
/// own.
Mesh world_mesh(Mesh mesh = nullptr);
/// `check_same`, not waited for. It travels in the next all-reduce that takes others along (comm/wire/piggyback.h) and
/// raises when that arrives; where another collective comes first, or `finish_checks`, it raises there.
void check_same_soon(const std::vector<int64_t>& words, const std::string& what, Mesh mesh);
/// Waits for those that have found no carrier.
void finish_checks();

}  // namespace weft::comm
