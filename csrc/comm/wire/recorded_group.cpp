#include "comm/wire/recorded_group.h"

#include <ATen/ATen.h>
#include <c10/util/Exception.h>
#include <c10/util/StringUtil.h>
#include <torch/csrc/distributed/c10d/Backend.hpp>
#include <torch/csrc/distributed/c10d/GroupRegistry.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroup.hpp>

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <numeric>
#include <utility>
#include <vector>

#include "comm/wire/axis.h"
#include "comm/wire/coalesced_gather.h"
#include "comm/wire/collectives.h"
#include "mesh/context.h"

namespace weft::comm {
namespace {

thread_local Identity program_of_thread = 0;

using Started = c10::intrusive_ptr<c10d::Work>;
using Tensors = std::vector<at::Tensor>;

// One collective for several tensors may be waited for by each of them.
class RecordedWork : public c10d::Work {
 public:
  explicit RecordedWork(std::function<void()> finish) : finish_(std::move(finish)) {}
  bool isCompleted() override { return !finish_; }
  bool isSuccess() const override { return !finish_; }
  bool wait(std::chrono::milliseconds) override {
    const at::AutoDispatchBelowADInplaceOrView below;
    if (const auto finish = std::exchange(finish_, {})) finish();
    return true;
  }

 private:
  std::function<void()> finish_;
};

Started started(std::function<void()> finish) { return c10::make_intrusive<RecordedWork>(std::move(finish)); }

Started started_work(Started work, c10d::Backend* watched, std::function<void()> then) {
  return started([work = std::move(work), watched, then = std::move(then)] {
    const WithoutPythonLock unlocked;
    const OneThread alone;
    if (work) wait_for(*work, watched);
    if (then) then();
  });
}

// Of tensors that are lowered already (comm/wire/reduction.h).
Reduction reduction_of(c10d::ReduceOp::RedOpType op) {
  switch (op) {
    case c10d::ReduceOp::SUM:
      return Reduction::sum;
    case c10d::ReduceOp::PRODUCT:
      return Reduction::product;
    case c10d::ReduceOp::MIN:
      return Reduction::min;
    case c10d::ReduceOp::MAX:
      return Reduction::max;
    default:
      TORCH_INTERNAL_ASSERT(false, "no such reduction is recorded");
  }
}

// In rows, as many of each rank.
std::vector<Divided> rows_of(const Tensors& tensors, int64_t ranks, bool whole) {
  std::vector<Divided> out;
  for (const at::Tensor& t : tensors)
    out.push_back({t, 0, std::vector<int64_t>(ranks, t.size(0) / (whole ? ranks : 1))});
  return out;
}

// Pieces that lie in the order of the coordinates, in that of the ranks in the axis's group.
at::Tensor by_group_rank(const Axis& line, const at::Tensor& flat, const std::vector<int64_t>& lengths) {
  const Tensors pieces = flat.split_with_sizes(lengths);
  Tensors out;
  for (int64_t c : line.by_group_rank()) out.push_back(pieces[c]);
  return at::cat(out);
}
std::vector<int64_t> by_group_rank(const Axis& line, const std::vector<int64_t>& lengths) {
  std::vector<int64_t> out;
  for (int64_t c : line.by_group_rank()) out.push_back(lengths[c]);
  return out;
}

class RecordedGroup : public c10d::Backend {
 public:
  RecordedGroup(Mesh mesh, int axis, int coordinate)
      : Backend(coordinate, static_cast<int>(mesh->axis_size(axis))), mesh_(mesh), axis_(axis) {}

  const std::string getBackendName() const override { return "weft"; }

  Started allreduce(Tensors& tensors, const c10d::AllreduceOptions& options) override {
    const RunningOp running(kCompiledProgram, running_program(), nullptr);
    Tensors dense;
    for (const at::Tensor& t : tensors) dense.push_back(t.contiguous());
    std::shared_ptr<Pending> pending = all_reduce_coalesced_(dense, reduction_of(options.reduceOp), mesh_, axis_);
    return started([pending, tensors, dense] {
      pending->wait();
      // Inductor lays out what several tensors are reduced in as it likes.
      for (size_t i = 0; i < tensors.size(); ++i) {
        if (!tensors[i].is_same(dense[i])) tensors[i].copy_(dense[i]);
      }
    });
  }
  Started allreduce_coalesced(Tensors& tensors, const c10d::AllreduceCoalescedOptions& options) override {
    return allreduce(tensors, options);
  }

  Started allgather_into_tensor_coalesced(Tensors& outputs, Tensors& inputs, const c10d::AllgatherOptions&) override {
    const RunningOp running(kCompiledProgram, running_program(), nullptr);
    std::shared_ptr<PendingGathers> pending = all_gather_coalesced(rows_of(inputs, size_, false), mesh_, axis_);
    return started([pending, outputs] {
      for (size_t i = 0; i < outputs.size(); ++i) outputs[i].copy_(pending->take(i));
    });
  }

  Started reduce_scatter_tensor_coalesced(Tensors& outputs, Tensors& inputs,
                                          const c10d::ReduceScatterOptions& options) override {
    const RunningOp running(kCompiledProgram, running_program(), nullptr);
    std::shared_ptr<PendingParts> pending =
        reduce_scatter_coalesced(rows_of(inputs, size_, true), reduction_of(options.reduceOp), mesh_, axis_);
    return started([pending, outputs] {
      const at::Tensor parts = pending->wait();
      int64_t offset = 0;
      for (const at::Tensor& output : outputs) {
        output.view({-1}).copy_(parts.narrow(0, offset, output.numel()));
        offset += output.numel();
      }
    });
  }

  Started alltoall_base(at::Tensor& output, at::Tensor& input, std::vector<int64_t>& arriving,
                        std::vector<int64_t>& leaving, const c10d::AllToAllOptions&) override {
    const RunningOp running(kCompiledProgram, running_program(), nullptr);
    const int64_t sent = input.numel() - leaving.at(getRank());
    // Ranks send different numbers of elements, of which nobody knows how many there are.
    const Event event{"all_to_all",       mesh_, axis_, sent * static_cast<int64_t>(input.element_size()), 0,
                      input.scalar_type()};
    return collective(event, [&] {
      const Axis line(mesh_, axis_);
      c10d::Backend* const watched = watched_backend(line, input.device().type());
      if (line.ordered()) return started_work(begin_exchange_flat(line, output, input, arriving, leaving), watched, {});
      const std::vector<int64_t> lengths = by_group_rank(line, arriving);
      const at::Tensor come = at::empty_like(output);
      auto work =
          begin_exchange_flat(line, come, by_group_rank(line, input, leaving), lengths, by_group_rank(line, leaving));
      return started_work(std::move(work), watched, [=, order = line.by_group_rank()] {
        const Tensors pieces = come.split_with_sizes(lengths), parts = output.split_with_sizes(arriving);
        for (size_t g = 0; g < order.size(); ++g) parts[order[g]].copy_(pieces[g]);
      });
    });
  }

  Started broadcast(Tensors& tensors, const c10d::BroadcastOptions& options) override {
    const RunningOp running(kCompiledProgram, running_program(), nullptr);
    const at::Tensor& tensor = tensors.at(0);
    const int64_t bytes = tensor.numel() * static_cast<int64_t>(tensor.element_size());
    const Event event{"broadcast", mesh_, axis_, (size_ - 1) * bytes / size_, tensor.numel(), tensor.scalar_type()};
    return collective(event, [&] {
      const Axis line(mesh_, axis_);
      if (tensor.numel() > 0) broadcast_flat(line, tensor, line.group_rank(options.rootRank));
      return started({});
    });
  }

 private:
  const Mesh mesh_;
  const int axis_;
};

bool is_registered(const std::string& name) {
  try {
    return c10d::resolve_process_group(name) != nullptr;
  } catch (const c10::Error&) {
    return false;
  }
}

// The registry does not keep what it has.
struct RecordedGroups : ContextState {
  std::mutex mutex;
  std::map<std::pair<Mesh, int>, Group> groups;
};

}  // namespace

Identity running_program() { return program_of_thread; }
void set_running_program(Identity program) { program_of_thread = program; }

std::string recorded_group(Mesh mesh, int axis) {
  const std::string name = c10::str("weft/", mesh->hash(), '/', mesh->axis_name(axis));
  const int coordinate = static_cast<int>(context().bind(mesh).coordinates[axis]);
  auto& made = context().state<RecordedGroups>();
  std::lock_guard<std::mutex> lock(made.mutex);
  Group& group = made.groups[{mesh, axis}];
  if (!group) {
    const int size = static_cast<int>(mesh->axis_size(axis));
    group = c10::make_intrusive<c10d::ProcessGroup>(coordinate, size);
    const auto type = c10d::ProcessGroup::BackendType::CUSTOM;
    const auto backend = c10::make_intrusive<RecordedGroup>(mesh, axis, coordinate);
    for (c10::DeviceType device : {c10::DeviceType::CPU, c10::DeviceType::CUDA})
      group->setBackend(device, type, backend);
    group->setDefaultBackend(type);
    group->setGroupName(name);
  }
  // Torch forgets all names where it ends its process group.
  if (!is_registered(name)) {
    c10d::unregister_process_group(name);
    c10d::register_process_group(name, group);
  }
  return name;
}

}  // namespace weft::comm
