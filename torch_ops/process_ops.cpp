// Processes, and what they compare.
#include <torch/csrc/distributed/c10d/GroupRegistry.hpp>
#include <weft/weft.h>

#include <algorithm>
#include <cstdlib>
#include <tuple>

#include "comm/agree/check_same.h"
#include "comm/lockstep/call.h"
#include "comm/lockstep/failure.h"
#include "comm/lockstep/guard.h"
#include "comm/world/initialize.h"
#include "comm/world/last_work.h"
#include "comm/world/share_random_state.h"
#include "comm/world/timeouts.h"
#include "dispatch/process_groups.h"
#include "mesh/any_mesh.h"
#include "mesh/context.h"
#include "ops.h"
#include "redistribute/tensors.h"

namespace weft {
namespace {

using Strings = std::vector<std::string>;

std::vector<Group> groups_named(const Strings& names) {
  std::vector<Group> groups;
  for (const std::string& name : names) groups.push_back(c10d::resolve_process_group(name));
  return groups;
}

void adopt_groups(const MeshPtr& mesh, const Strings& names) {
  TORCH_CHECK_VALUE(mesh, "[W030] adopt_groups: no mesh given");
  context().adopt(mesh->mesh, groups_named(names));
}

std::tuple<std::string, int64_t, int64_t, int64_t, std::string> find_rendezvous(
    const std::optional<std::string>& addresses, std::optional<int64_t> processes, std::optional<int64_t> process) {
  const auto r =
      comm::rendezvous_from(addresses, processes, process, [](const char* name) -> std::optional<std::string> {
        const char* text = std::getenv(name);
        if (text == nullptr) return std::nullopt;
        return text;
      });
  if (!r) return {"", 0, 0, 1, ""};
  return {r->host, r->port, r->rank, r->world_size, r->prefix};
}

void define_processes(torch::Library& m) {
  const auto def = [&m](const char* schema, auto function) { define_op(m, schema, function); };
  // Time-outs in seconds.
  def("initialize(str? job_addresses=None, int? num_processes=None, int? process_id=None, float? timeout=None, "
      "float? first_timeout=None) -> ()",
      [](std::optional<std::string> addresses, std::optional<int64_t> processes, std::optional<int64_t> process,
         std::optional<double> timeout, std::optional<double> first) {
        initialize(std::move(addresses), processes, process, comm::timeout_from(timeout, "timeout"),
                   comm::timeout_from(first, "first_timeout"));
      });
  // Time-outs in seconds; those that are None stay as they are.
  def("set_timeouts(float? timeout, float? first_timeout) -> ()",
      [](std::optional<double> timeout, std::optional<double> first) {
        set_timeouts(comm::timeout_from(timeout, "timeout"), comm::timeout_from(first, "first_timeout"));
      });
  // Time-outs in seconds; None: those of the process group.
  def("timeouts() -> (float? timeout, float? first_timeout)", []() {
    const auto seconds = [](std::optional<std::chrono::milliseconds> t) {
      return t ? std::make_optional(std::chrono::duration<double>(*t).count()) : std::nullopt;
    };
    return std::make_tuple(seconds(comm::timeouts().steady()), seconds(comm::timeouts().first()));
  });
  // Takes a process group that torch.distributed made, by the name that it goes by there, as the world.
  def("set_world(str group_name) -> ()", [](const std::string& name) { set_world(name); });
  def("_share_random_state() -> ()", []() { comm::share_random_state(); });
  def("_any_mesh() -> bool", []() { return any_mesh(); });
  def("rank() -> int", []() { return rank(); });
  def("world_size() -> int", []() { return world_size(); });
  // Where the ranks of the job meet, as initialize would read it from these arguments or the environment; nothing is
  // opened. host is empty for a world of this one process.
  def("rendezvous(str? job_addresses=None, int? num_processes=None, int? process_id=None)"
      " -> (str host, int port, int rank, int world_size, str prefix)",
      &find_rendezvous);
  // Groups that torch.distributed made, one for each axis of the mesh, in place of groups that Weft would make.
  def("adopt_groups(" WEFT_CLASS "DeviceMesh mesh, str[] group_names) -> ()", &adopt_groups);
  // What the planner takes collectives to cost, as JSON text (weft/cost.h).
  def("mesh_cost(" WEFT_CLASS "DeviceMesh mesh) -> str", [](const MeshPtr& mesh) { return cost(mesh->mesh); });
  // Seconds that the planner takes one collective to last (weft/cost.h).
  def("collective_seconds(" WEFT_CLASS "DeviceMesh mesh, str kind, str axis, int bytes) -> float",
      [](const MeshPtr& mesh, const std::string& kind, const std::string& axis, int64_t bytes) {
        return collective_seconds(mesh->mesh, kind, axis, bytes);
      });
  // Seconds that the planner takes a tensor to need from one layout to another (weft/cost.h).
  def("redistribution_seconds(int[] sizes, int element_bytes, " WEFT_CLASS "TensorLayout before, " WEFT_CLASS
      "TensorLayout after) -> float",
      [](const std::vector<int64_t>& sizes, int64_t element_bytes, const LayoutPtr& before, const LayoutPtr& after) {
        return redistribution_seconds(sizes, element_bytes, before ? before->layout : nullptr,
                                      after ? after->layout : nullptr);
      });
  // Called at the end of a program, for Weft's groups and these.
  def("finish_last_work(str[] group_names) -> ()",
      [](const Strings& names) { comm::finish_last_work(groups_named(names)); });
  // Until what collectives of Weft's groups and these were given is let go of.
  def("_await_workers(str[] group_names) -> ()",
      [](const Strings& names) { comm::await_workers(groups_named(names)); });
}

void define_agreement(torch::Library& m) {
  const auto def = [&m](const char* schema, auto function) { define_op(m, schema, function); };
  // soon: not waited for; raises at the next collective, or in finish_checks.
  // Without a mesh: what has to do with none. facts: name and value of what the error tells (comm::Facts), in turns.
  def("check_same(int[] words, str what, " WEFT_CLASS
      "DeviceMesh? mesh=None, bool soon=False, str[]? facts=None) -> ()",
      [](const std::vector<int64_t>& words, const std::string& what, const std::optional<MeshPtr>& given, bool soon,
         const std::optional<std::vector<std::string>>& facts) {
        const Mesh mesh = given && *given ? (*given)->mesh : nullptr;
        if (soon) return comm::check_same_soon(words, what, mesh ? mesh : comm::world_mesh());
        comm::check_same(words, what, mesh, [&] {
          comm::Facts told;
          for (size_t i = 0; facts && i + 1 < facts->size(); i += 2) told.emplace_back((*facts)[i], (*facts)[i + 1]);
          return told;
        });
      });
  // Whether all ranks give the same.
  def("_all_same(int[] words, str what) -> bool", [](const std::vector<int64_t>& words, const std::string& what) {
    const comm::Comparing comparing(what);
    const auto given = comm::gather_words(words);
    return std::all_of(given.begin(), given.end(), [&](const auto& of_rank) { return of_rank == given[0]; });
  });
  // The `what` under which the function of this name compares its arguments between the ranks (check_same).
  def("compared_by(str function) -> str", [](const std::string& function) { return compared_by(function); });
  // Waits for what check_same(soon=True) has left open, and raises what it found.
  def("finish_checks() -> ()", []() { comm::finish_checks(); });
  def("_guard(bool on) -> ()", [](bool on) { comm::guard_is_on = on; });
  def("_compared_before() -> bool", []() { return comm::compared_before(); });
  // What a collective of torch.distributed says of a sharded tensor that it does not take: the text of W066.
  def("_refusal_of_collective(str op, Tensor tensor, str why='') -> str",
      [](const std::string& op, const at::Tensor& t, const std::string& why) {
        return refusal_of_collective(op, t, why);
      });
  // This rank leaves the common program: the others raise the error at the next collective that they wait for.
  def("report_failure(str what, str error) -> ()", [](const std::string& what, const std::string& error) {
    try {
      throw std::runtime_error(error);
    } catch (...) {
      comm::report_failure(what);
    }
  });
}

}  // namespace

void define_process_ops(torch::Library& m) {
  define_processes(m);
  define_agreement(m);
}

}  // namespace weft
