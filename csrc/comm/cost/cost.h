#pragma once
// How long a collective over a mesh axis takes, as plans are chosen by it: a model of the links, the same on all ranks.
// Fixed, so that plans are the same in every run, unless WEFT_COST=measure or a file in the environment says otherwise.
#include <weft/mesh.h>

#include <array>
#include <cstdint>
#include <string>
#include <vector>

namespace weft::comm {

enum class Moves : uint8_t { all_gather, all_to_all, all_reduce, reduce_scatter };
constexpr std::array<const char*, 4> kMoves{"all_gather", "all_to_all", "all_reduce", "reduce_scatter"};

/// Times are whole numbers of 0.1 ns: plans compare them, and ranks must find the same one smaller whatever their
/// floating point units do.
using Ticks = int64_t;
constexpr double kSecondsPerTick = 1e-10;

/// What the collectives over one axis take.
class AxisCost {
 public:
  /// Buffers that are measured: bytes that a rank holds before or after, whichever are more.
  static constexpr std::array<int64_t, 5> kSizes{1 << 10, 32 << 10, 256 << 10, 1 << 20, 4 << 20};
  using Table = std::array<std::array<Ticks, kSizes.size()>, kMoves.size()>;

  /// The fixed model: 20 us, and 10 GB/s for what a ring or pairwise exchange sends.
  explicit AxisCost(int64_t ranks) : ranks_(ranks) {}
  /// Measured times per kind and size; made to rise with the size.
  AxisCost(int64_t ranks, const Table& table);

  /// The time for a buffer of that many bytes, as above: straight between the measured sizes, and on beyond the last.
  Ticks of(Moves moves, int64_t bytes) const;
  /// The time for the smallest buffer by the quickest kind.
  Ticks least() const;
  double seconds(Moves moves, double bytes) const {
    return static_cast<double>(of(moves, static_cast<int64_t>(bytes))) * kSecondsPerTick;
  }
  const Table& table() const { return table_; }
  int64_t ranks() const { return ranks_; }

 private:
  int64_t ranks_;
  bool measured_ = false;
  Table table_{};
};

/// What collectives on a mesh take.
struct MeshCost {
  std::vector<AxisCost> axes;
  double seconds_per_product = 1e-11;  // one multiplication and addition of a contraction in float32, on one rank
  double seconds_per_byte = 5e-11;     // that an op reads or writes in a rank's own memory
  std::string source = "fixed";        // "fixed", "measured", or the file's path

  static MeshCost fixed(Mesh mesh);
};

/// The costs of the calling rank's mesh. Where it is to be measured, the first call does so: a collective step, which
/// every rank reaches at the same op. Raises ValueError, the same on all ranks, for a file that cannot be read, is not
/// of such a mesh, or differs between ranks.
const MeshCost& cost_of(Mesh mesh);

/// Takes a second for most meshes, less where collectives are quick: larger buffers are left out where time is short,
/// and what they take follows from the smaller ones.
MeshCost measure_cost(Mesh mesh);

/// JSON text: {"weft_cost": 1, "bytes": [sizes], "axes": {name: {"ranks": n, kind: [nanoseconds per size]}}, ...}.
std::string to_json(const MeshCost& cost, Mesh mesh);
/// The other way. Raises ValueError "source:line:column: ..." where the text is not that, or lacks an axis of the mesh.
MeshCost cost_from_json(const std::string& text, const std::string& source, Mesh mesh);

}  // namespace weft::comm
