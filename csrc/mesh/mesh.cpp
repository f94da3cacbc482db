#include <c10/util/Exception.h>
#include <c10/util/StringUtil.h>
#include <weft/mesh.h>

#include <algorithm>
#include <limits>
#include <mutex>
#include <numeric>
#include <set>

#include "base/hash.h"
#include "base/quote.h"
#include "mesh/any_mesh.h"

namespace weft {
namespace {

constexpr size_t kMaxNameBytes = 128;

// Leaked on purpose: meshes are compared by address until the process ends.
struct Known {
  const DeviceMesh* mesh;
  bool in_order;  // its ranks are 0, 1, ...
};
struct Interned {
  std::mutex mutex;
  std::vector<Known> meshes;
};
Interned& interned() {
  static Interned* table = new Interned();
  return *table;
}

int64_t checked_size(const std::vector<int64_t>& shape) {
  TORCH_CHECK_VALUE(!shape.empty() && shape.size() <= kMaxAxes, "[W020] device mesh: 1 to ", kMaxAxes,
                    " axes are possible, but the shape has ", shape.size());
  int64_t size = 1;
  for (size_t a = 0; a < shape.size(); ++a) {
    TORCH_CHECK_VALUE(shape[a] >= 1, "[W020] device mesh: axis ", a, " has size ", shape[a], "; each needs at least 1");
    TORCH_CHECK_VALUE(shape[a] <= std::numeric_limits<int32_t>::max() / size, "[W020] device mesh: shape (",
                      c10::Join(", ", shape), ") has too many ranks");
    size *= shape[a];
  }
  return size;
}

void check_names(const std::vector<int64_t>& shape, const std::vector<std::string>& names) {
  TORCH_CHECK_VALUE(names.size() == shape.size(), "[W021] device mesh: ", shape.size(), " axes in shape (",
                    c10::Join(", ", shape), ") but ", names.size(), " axis names; name each axis once");
  for (size_t a = 0; a < names.size(); ++a) {
    TORCH_CHECK_VALUE(!names[a].empty(), "[W021] device mesh: axis ", a, " has an empty name");
    TORCH_CHECK_VALUE(names[a].size() <= kMaxNameBytes, "[W021] device mesh: the name ", quote(names[a], 100),
                      " of axis ", a, " is longer than ", kMaxNameBytes, " bytes");
    TORCH_CHECK_VALUE(is_printable(names[a]), "[W021] device mesh: the name ", quote(names[a]), " of axis ", a,
                      " has control characters, or bytes that are not UTF-8");
    for (size_t b = 0; b < a; ++b) {
      TORCH_CHECK_VALUE(names[a] != names[b], "[W021] device mesh: axes ", b, " and ", a, " are both named '", names[a],
                        "'");
    }
  }
}

void check_ranks(const std::vector<int64_t>& shape, int64_t size, const std::vector<int64_t>& ranks) {
  TORCH_CHECK_VALUE(static_cast<int64_t>(ranks.size()) == size, "[W022] device mesh: shape (", c10::Join(", ", shape),
                    ") needs ", size, " devices, but ", ranks.size(), " are given");
  std::set<int64_t> seen;
  for (int64_t rank : ranks) {
    TORCH_CHECK_VALUE(rank >= 0, "[W022] device mesh: ", rank, " is no rank");
    TORCH_CHECK_VALUE(seen.insert(rank).second, "[W022] device mesh: rank ", rank, " is there twice");
  }
}

}  // namespace

const DeviceMesh* DeviceMesh::get(std::vector<int64_t> shape, std::vector<std::string> axis_names,
                                  std::vector<int64_t> ranks, std::string device_type) {
  return intern(std::move(shape), std::move(axis_names), std::move(ranks), std::move(device_type), -1);
}

const DeviceMesh* DeviceMesh::simulate(std::vector<int64_t> shape, std::vector<std::string> axis_names, int64_t rank,
                                       std::string device_type) {
  const int64_t size = checked_size(shape);
  TORCH_CHECK_VALUE(rank >= 0 && rank < size, "[W022] device mesh: rank ", rank, " cannot be simulated: shape (",
                    c10::Join(", ", shape), ") has the ranks 0 to ", size - 1);
  return intern(std::move(shape), std::move(axis_names), {}, std::move(device_type), rank);
}

const DeviceMesh* DeviceMesh::intern(std::vector<int64_t> shape, std::vector<std::string> axis_names,
                                     std::vector<int64_t> ranks, std::string device_type, int64_t simulated_rank) {
  // The world's own mesh is asked for wherever ranks compare something: one that is known is found without its ranks.
  const auto is_it = [&](const Known& known) {
    const DeviceMesh& mesh = *known.mesh;
    return mesh.shape_ == shape && mesh.axis_names_ == axis_names &&
           (ranks.empty() ? known.in_order : mesh.ranks_ == ranks) && mesh.device_type_ == device_type &&
           mesh.simulated_rank_ == simulated_rank;
  };
  const auto find = [&]() -> const DeviceMesh* {
    const auto& meshes = interned().meshes;
    const auto it = std::find_if(meshes.begin(), meshes.end(), is_it);
    return it == meshes.end() ? nullptr : it->mesh;
  };
  {
    std::lock_guard<std::mutex> lock(interned().mutex);
    if (const DeviceMesh* mesh = find()) return mesh;
  }
  const int64_t size = checked_size(shape);
  check_names(shape, axis_names);
  std::vector<int64_t> in_order(size);
  std::iota(in_order.begin(), in_order.end(), 0);
  if (ranks.empty()) ranks = in_order;
  check_ranks(shape, size, ranks);
  TORCH_CHECK_VALUE(device_type == "cpu" || device_type == "cuda", "[W022] device mesh: device type ",
                    quote(device_type), " is unknown; it is 'cpu' or 'cuda'");
  std::lock_guard<std::mutex> lock(interned().mutex);
  if (const DeviceMesh* mesh = find()) return mesh;
  auto* mesh = new DeviceMesh();
  mesh->shape_ = std::move(shape);
  mesh->axis_names_ = std::move(axis_names);
  mesh->ranks_ = std::move(ranks);
  mesh->device_type_ = std::move(device_type);
  mesh->simulated_rank_ = simulated_rank;
  mesh->hash_ = mix(hash_text(mesh->str()), hash_text(mesh->device_type_));
  for (int64_t rank : mesh->ranks_) mesh->hash_ = mix(mesh->hash_, static_cast<uint64_t>(rank));
  interned().meshes.push_back({mesh, mesh->ranks_ == in_order});
  return mesh;
}

bool any_mesh() {
  std::lock_guard<std::mutex> lock(interned().mutex);
  return !interned().meshes.empty();
}

int DeviceMesh::axis(const std::string& name) const {
  const auto it = std::find(axis_names_.begin(), axis_names_.end(), name);
  TORCH_CHECK_VALUE(it != axis_names_.end(), "[W025] no axis ", quote(name), " in ", str(),
                    "; its axes are: ", c10::Join(", ", axis_names_));
  return static_cast<int>(it - axis_names_.begin());
}

std::vector<int64_t> DeviceMesh::coordinates_of(int64_t rank) const {
  const auto it = std::find(ranks_.begin(), ranks_.end(), rank);
  if (it == ranks_.end()) return {};
  int64_t position = it - ranks_.begin();
  std::vector<int64_t> coordinates(shape_.size());
  for (size_t a = shape_.size(); a-- > 0;) {
    coordinates[a] = position % shape_[a];
    position /= shape_[a];
  }
  return coordinates;
}

std::string DeviceMesh::str() const {
  std::string out = "mesh (";
  for (size_t a = 0; a < shape_.size(); ++a) {
    out += (a == 0 ? "" : ", ") + axis_names_[a] + "=" + std::to_string(shape_[a]);
  }
  return out + ")";
}

}  // namespace weft
