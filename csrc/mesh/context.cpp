#include "mesh/context.h"

#include <c10/util/Exception.h>
#include <c10/util/StringUtil.h>

#include <algorithm>

#include "mesh/split.h"

namespace weft {
namespace {

void (*before_split)() = [] {};

// The global ranks of each line of the mesh along `axis`, rising; the lines in rising order of their first rank, so
// that two meshes which cut the world alike get equal lists.
std::vector<std::vector<int>> lines_along(Mesh mesh, int axis) {
  int64_t inner = 1;
  for (int a = axis + 1; a < mesh->ndim(); ++a) inner *= mesh->axis_size(a);
  const int64_t length = mesh->axis_size(axis);
  std::vector<std::vector<int>> lines;
  for (int64_t start = 0; start < mesh->size(); ++start) {
    if (start / inner % length != 0) continue;
    std::vector<int> line;
    for (int64_t i = 0; i < length; ++i) line.push_back(static_cast<int>(mesh->ranks()[start + i * inner]));
    std::sort(line.begin(), line.end());
    lines.push_back(std::move(line));
  }
  std::sort(lines.begin(), lines.end());
  return lines;
}

// The global rank at each coordinate of the line along `axis` through `coordinates`.
std::vector<int64_t> line_through(Mesh mesh, int axis, c10::ArrayRef<int64_t> coordinates) {
  int64_t position = 0, inner = 1;
  for (int a = mesh->ndim() - 1; a >= 0; --a) {
    if (a != axis) position += coordinates[a] * inner;
    inner *= mesh->axis_size(a);
  }
  inner = 1;
  for (int a = axis + 1; a < mesh->ndim(); ++a) inner *= mesh->axis_size(a);
  std::vector<int64_t> line;
  for (int64_t i = 0; i < mesh->axis_size(axis); ++i) line.push_back(mesh->ranks()[position + i * inner]);
  return line;
}

std::vector<int64_t> group_ranks_of(const std::vector<int64_t>& line) {
  std::vector<int64_t> sorted = line;
  std::sort(sorted.begin(), sorted.end());
  if (sorted == line) return {};
  std::vector<int64_t> out;
  for (int64_t rank : line) out.push_back(std::lower_bound(sorted.begin(), sorted.end(), rank) - sorted.begin());
  return out;
}

// Of two ranks nobody asks: they take what they exchange by their coordinates.
bool all_lines_rise(Mesh mesh, int axis) {
  const int64_t n = mesh->axis_size(axis);
  if (n < 3) return true;
  int64_t inner = 1;
  for (int a = axis + 1; a < mesh->ndim(); ++a) inner *= mesh->axis_size(a);
  const auto& ranks = mesh->ranks();
  for (int64_t i = 0; i + inner < mesh->size(); ++i) {
    if (i / inner % n + 1 < n && ranks[i] > ranks[i + inner]) return false;
  }
  return true;
}

}  // namespace

void set_before_split(void (*call)()) { before_split = call; }

Context::Context(Group world, GroupFactory make_group) : world_(std::move(world)), make_group_(std::move(make_group)) {}

Context::~Context() {
  // Later states may use earlier ones.
  while (!owned_states_.empty()) owned_states_.pop_back();
}

void Context::set_world(Group world) {
  std::lock_guard<std::mutex> lock(mutex_);
  if (world.get() == world_.get()) return;
  for (const Bound* b = bound_.load(std::memory_order_acquire); b != nullptr; b = b->next) {
    const bool in_use = std::any_of(b->groups.begin(), b->groups.end(), [](const Group& g) { return bool(g); });
    TORCH_CHECK_VALUE(!in_use, "[W008] the world cannot be set any more: ", b->mesh->str(),
                      " already communicates over another one of ", world_size(),
                      " ranks; initialize before the first sharded tensor is made");
  }
  // What was bound without groups belongs to a world of one rank and is bound anew.
  bound_.store(nullptr, std::memory_order_release);
  split_groups_.clear();
  world_ = std::move(world);
}

const Context::Bound* Context::find(Mesh mesh) const {
  const Bound* b = bound_.load(std::memory_order_acquire);
  while (b != nullptr && b->mesh != mesh) b = b->next;
  return b;
}

const MeshBinding& Context::bind(Mesh mesh) {
  if (const Bound* bound = find(mesh)) return *bound;
  std::lock_guard<std::mutex> lock(mutex_);
  if (const Bound* bound = find(mesh)) return *bound;
  std::unique_ptr<Bound> bound = place(mesh);
  for (int a = 0; a < mesh->ndim(); ++a) {
    bound->groups.push_back(mesh->is_simulated() ? Group() : axis_group(mesh, a));
  }
  return publish(std::move(bound));
}

void Context::adopt(Mesh mesh, std::vector<Group> axis_groups) {
  std::lock_guard<std::mutex> lock(mutex_);
  if (find(mesh) != nullptr) return;
  std::unique_ptr<Bound> bound = place(mesh);
  TORCH_CHECK_VALUE(static_cast<int>(axis_groups.size()) == mesh->ndim(), "[W024] ", mesh->str(), " has ", mesh->ndim(),
                    " axes, but ", axis_groups.size(), " process groups are given for it; give one per axis");
  for (int a = 0; a < mesh->ndim(); ++a) {
    Group& group = axis_groups[a];
    const int64_t size = mesh->axis_size(a);
    if (size == 1) {
      group.reset();
      continue;
    }
    TORCH_CHECK_VALUE(group && group->getSize() == size, "[W024] the process group given for axis '",
                      mesh->axis_name(a), "' of ", mesh->str(), " has ", group ? group->getSize() : 0,
                      " ranks; it needs ", size);
    const auto& numbers = bound->group_ranks[a];
    const int64_t expected = numbers.empty() ? bound->coordinates[a] : numbers[bound->coordinates[a]];
    TORCH_CHECK_VALUE(group->getRank() == expected, "[W024] rank ", rank(), " is number ", group->getRank(),
                      " in the process group given for axis '", mesh->axis_name(a), "' of ", mesh->str(),
                      ", but number ", expected, " by the mesh; give the group of this rank's line along that axis");
  }
  bound->groups = std::move(axis_groups);
  publish(std::move(bound));
}

std::vector<Group> Context::groups() {
  std::vector<Group> all;
  const std::unique_lock<std::mutex> lock(mutex_, std::try_to_lock);
  if (!lock) return all;
  for (const Group& group : {world_, side_}) {
    if (group) all.push_back(group);
  }
  for (const auto& bound : owned_bindings_) {
    for (const Group& group : bound->groups) {
      if (group && std::find(all.begin(), all.end(), group) == all.end()) all.push_back(group);
    }
  }
  return all;
}

// The binding but for its groups.
std::unique_ptr<Context::Bound> Context::place(Mesh mesh) const {
  TORCH_CHECK_VALUE(mesh->is_simulated() || mesh->size() == world_size(), "[W023] ", mesh->str(), " has ", mesh->size(),
                    mesh->size() == 1 ? " rank" : " ranks", ", but the world has ", world_size(),
                    "; a mesh covers the whole world: start ", mesh->size(),
                    " processes (torchrun --nproc_per_node=", mesh->size(), ") and initialize, or build a mesh of ",
                    world_size());
  for (int64_t r : mesh->ranks()) {
    TORCH_CHECK_VALUE(mesh->is_simulated() || r < world_size(), "[W023] ", mesh->str(), " names rank ", r,
                      ", but the world's ranks are 0 to ", world_size() - 1);
  }
  auto bound = std::make_unique<Bound>();
  bound->mesh = mesh;
  const int64_t own = mesh->is_simulated() ? mesh->simulated_rank() : rank();
  for (int64_t c : mesh->coordinates_of(own)) bound->coordinates.push_back(c);
  for (int a = 0; a < mesh->ndim(); ++a) {
    bound->group_ranks.push_back(group_ranks_of(line_through(mesh, a, bound->coordinates)));
    bound->rising.push_back(all_lines_rise(mesh, a));
  }
  return bound;
}

// Every rank comes here for the same axes in the same order: c10d's split is a step of the whole world.
Group Context::axis_group(Mesh mesh, int axis) {
  const int64_t size = mesh->axis_size(axis);
  if (size == 1) return {};
  if (size == world_size()) return world_;
  const auto lines = lines_along(mesh, axis);
  Group& group = split_groups_[lines];
  if (group) return group;
  const auto mine = std::find_if(lines.begin(), lines.end(), [&](const std::vector<int>& line) {
    return std::find(line.begin(), line.end(), static_cast<int>(rank())) != line.end();
  });
  if (make_group_) {
    group = make_group_(*mine);
  } else {
    before_split();
    // Each rank asks for its own line only. The name keeps the rendezvous of different splits and lines apart.
    const std::string name = c10::str(world_->getGroupName(), ":weft:", splits_++, ":", mine - lines.begin());
    try {
      group = split_world(world_, *mine, name);
    } catch (c10::Error& error) {
      error.add_context(c10::str("while the world was split for axis '", mesh->axis_name(axis), "' of ", mesh->str(),
                                 "; where its backend cannot do that (NCCL needs init_process_group(device_id=...)), "
                                 "give the mesh groups that are there already: DeviceMesh.from_torch"));
      throw;
    }
  }
  TORCH_CHECK(group && group->getSize() == size, "[W024] c10d made no process group for axis '", mesh->axis_name(axis),
              "' of ", mesh->str());
  return group;
}

const MeshBinding& Context::publish(std::unique_ptr<Bound> bound) {
  bound->next = bound_.load(std::memory_order_relaxed);
  owned_bindings_.push_back(std::move(bound));
  bound_.store(owned_bindings_.back().get(), std::memory_order_release);
  return *owned_bindings_.back();
}

int Context::next_slot() {
  static std::atomic<int> slots{0};
  return slots++;
}

ContextState& Context::state_at(int slot, std::unique_ptr<ContextState> (*make)()) {
  TORCH_INTERNAL_ASSERT(slot < static_cast<int>(states_.size()), "too many kinds of context state");
  if (ContextState* state = states_[slot].load(std::memory_order_acquire)) return *state;
  // Made outside the lock, as its constructor may ask for other states; the first one there stays.
  std::unique_ptr<ContextState> made = make();
  std::lock_guard<std::mutex> lock(states_mutex_);
  if (ContextState* state = states_[slot].load(std::memory_order_acquire)) return *state;
  owned_states_.push_back(std::move(made));
  states_[slot].store(owned_states_.back().get(), std::memory_order_release);
  return *owned_states_.back();
}

namespace {
thread_local Context* override_ = nullptr;
}

Context& context() {
  if (override_ != nullptr) return *override_;
  // Leaked on purpose: at exit the backends' libraries may be gone before a static object would be.
  static Context* process = new Context({});
  return *process;
}

ContextGuard::ContextGuard(Context* context) : previous_(override_) { override_ = context; }
ContextGuard::~ContextGuard() { override_ = previous_; }

}  // namespace weft
