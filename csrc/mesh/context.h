#pragma once
// What depends on the rank that runs: its place in each mesh, its process groups, its plans and counters. One context
// per process; a thread can stand for a rank of its own with a ContextGuard (the C++ tests run ranks as threads).
#include <c10/util/SmallVector.h>
#include <c10/util/intrusive_ptr.h>
#include <torch/csrc/distributed/c10d/ProcessGroup.hpp>
#include <weft/mesh.h>

#include <array>
#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace weft {

using Group = c10::intrusive_ptr<c10d::ProcessGroup>;

/// This rank's side of a mesh.
struct MeshBinding {
  Mesh mesh = nullptr;
  c10::SmallVector<int64_t, 4> coordinates;  // of this rank, per axis
  std::vector<Group> groups;                 // per axis; null for an axis of size 1
  // Per axis: the rank within the group that each coordinate has. c10d numbers a group's members by rising global rank,
  // a mesh may list its ranks in any order. Empty where both orders are the same.
  std::vector<std::vector<int64_t>> group_ranks;
  // Per axis: whether they are the same in every line along it.
  std::vector<bool> rising;
};

/// Makes the group of some ranks of the world (rising, this one among them) where the world's own backend cannot.
using GroupFactory = std::function<Group(const std::vector<int>& ranks)>;

/// Anything that a rank keeps and that lower folders need not know (plans, traces, warnings already given).
struct ContextState {
  virtual ~ContextState() = default;
};

class Context {
 public:
  /// A null world is a world of one rank, without c10d.
  explicit Context(Group world, GroupFactory make_group = {});
  ~Context();

  int64_t rank() const { return world_ ? world_->getRank() : 0; }
  int64_t world_size() const { return world_ ? world_->getSize() : 1; }
  const Group& world() const { return world_; }
  /// A group of all ranks beside the world's; null: none was set.
  const Group& side() const { return side_; }
  void set_side(Group side) { side_ = std::move(side); }
  /// Sets the world; an error where another one is in use by a bound mesh.
  void set_world(Group world);

  /// This rank's coordinates and groups in the mesh; made at first use (a collective step then: every rank of the world
  /// reaches it at the same op). Raises ValueError where the mesh's size is not the world's, naming both.
  const MeshBinding& bind(Mesh mesh);
  /// Takes the groups of a mesh from outside (one per axis; may be null for an axis of size 1) instead of making them.
  /// A mesh that is bound already keeps its groups.
  void adopt(Mesh mesh, std::vector<Group> axis_groups);
  /// The world, and all groups that its meshes communicate over; none while another thread makes one.
  std::vector<Group> groups();

  /// State of type T, made at first use; one per context.
  template <class T>
  T& state() {
    static const int slot = next_slot();
    return static_cast<T&>(state_at(slot, [] { return std::unique_ptr<ContextState>(new T()); }));
  }

 private:
  struct Bound : MeshBinding {
    Bound* next = nullptr;
  };
  static int next_slot();
  ContextState& state_at(int slot, std::unique_ptr<ContextState> (*make)());
  const Bound* find(Mesh mesh) const;
  std::unique_ptr<Bound> place(Mesh mesh) const;
  Group axis_group(Mesh mesh, int axis);
  const MeshBinding& publish(std::unique_ptr<Bound> bound);

  Group world_, side_;
  GroupFactory make_group_;
  std::mutex mutex_;
  std::atomic<Bound*> bound_{nullptr};  // a list that only grows at its head: read without a lock
  std::vector<std::unique_ptr<Bound>> owned_bindings_;
  std::map<std::vector<std::vector<int>>, Group> split_groups_;  // by how they cut the world: meshes share them
  int64_t splits_ = 0;  // of any world: the world's own count is not initialized before torch 2.15
  std::array<std::atomic<ContextState*>, 32> states_{};
  std::mutex states_mutex_;
  std::vector<std::unique_ptr<ContextState>> owned_states_;
};

/// Called on each rank before the world is split for a mesh, in which a rank that never comes is waited for blindly.
void set_before_split(void (*call)());

/// The context of the calling thread: its override, else the process's.
Context& context();

/// While it lives, the calling thread runs as the given context. Autograd's worker threads are not covered: ranks as
/// threads run their backward on the calling thread, as the CPU engine does.
class ContextGuard {
 public:
  explicit ContextGuard(Context* context);
  ~ContextGuard();
  ContextGuard(const ContextGuard&) = delete;
  ContextGuard& operator=(const ContextGuard&) = delete;

 private:
  Context* previous_;
};

}  // namespace weft
