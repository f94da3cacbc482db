#pragma once
// Checkpoints: tensors saved by all ranks together into one folder, which any mesh or layout, or one plain process, can
// load. Every rank makes the same calls.
//
// The folder holds safetensors files, an index of them that Hugging Face's loaders read, and a manifest with checksums.
// It holds a whole checkpoint at any time: a save that fails or is killed leaves the one before.
#include <ATen/core/Tensor.h>
#include <weft/export.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace torch::nn {
class Module;
}
namespace torch::optim {
class Optimizer;
}

namespace weft {

/// Tensors in any order, each name once. Two names of one tensor are saved as such.
using NamedTensors = std::vector<std::pair<std::string, at::Tensor>>;

/// A save that goes on in the background. The host memory of its copy is kept as long as a handle is, for the next
/// save, which then blocks for less.
class WEFT_API PendingSave {
 public:
  /// Whether it has ended, well or not. Of this rank alone.
  bool done() const;
  /// Until it has ended. Raises its error, the same on all ranks.
  void wait() const;

  struct State;
  explicit PendingSave(std::shared_ptr<State> state) : state_(std::move(state)) {}

 private:
  std::shared_ptr<State> state_;
};

/// Saves plain and sharded tensors. Each rank writes a part of its own of the sharded ones; a plain one is taken to be
/// the same on all ranks. The folder's parent must exist. A save that is still under way is waited for first.
/// Raises ValueError where the ranks pass different tensors (names, shapes, dtypes, layouts) or paths, for dtypes that
/// safetensors has not (complex128), names that are not UTF-8, and a folder with a model.safetensors of others;
/// RuntimeError, naming rank and file, for what cannot be written. The same on all ranks, and the folder is as before.
WEFT_API void save(const std::string& folder, const NamedTensors& tensors, std::optional<int64_t> step = std::nullopt);
/// The same with a module's parameters and buffers, by their names.
WEFT_API void save(const std::string& folder, const torch::nn::Module& module,
                   std::optional<int64_t> step = std::nullopt);
/// The same with an optimizer: its state and its groups' options, as its own save(OutputArchive&) writes them, by the
/// names of its parameters in `tensors` or the module (by their numbers where they have none; of those the state alone
/// is saved, not the value). Python's `weft.load` reads it, too. Raises ValueError also for an optimizer that writes
/// itself otherwise than torch's own, or something beside.
WEFT_API void save(const std::string& folder, const NamedTensors& tensors, const torch::optim::Optimizer& optimizer,
                   std::optional<int64_t> step = std::nullopt);
WEFT_API void save(const std::string& folder, const torch::nn::Module& module, const torch::optim::Optimizer& optimizer,
                   std::optional<int64_t> step = std::nullopt);

/// Copies this rank's part to host memory and returns; the copy is written in the background, and the tensors may be
/// changed meanwhile. A program's end waits for it. Raises as `save` does, for what cannot be written in `wait()`.
WEFT_API PendingSave async_save(const std::string& folder, const NamedTensors& tensors,
                                std::optional<int64_t> step = std::nullopt);
WEFT_API PendingSave async_save(const std::string& folder, const torch::nn::Module& module,
                                std::optional<int64_t> step = std::nullopt);
WEFT_API PendingSave async_save(const std::string& folder, const NamedTensors& tensors,
                                const torch::optim::Optimizer& optimizer, std::optional<int64_t> step = std::nullopt);
WEFT_API PendingSave async_save(const std::string& folder, const torch::nn::Module& module,
                                const torch::optim::Optimizer& optimizer, std::optional<int64_t> step = std::nullopt);

/// Fills the tensors, in the layouts that they have, with what was saved under their names, bit for bit; tensors of
/// another type with what it converts to, where that keeps its kind (c10::canCast). Returns the step. A rank reads its
/// own part alone. Also loads a folder of Hugging Face's (model.safetensors, or an index). Raises, on all ranks and
/// before any tensor is changed: ValueError naming all tensors that are missing, not asked for, of another shape or
/// kind of dtype, and all that are damaged (checksums, lengths, headers); RuntimeError for what cannot be read.
/// @param strict  false: tensors that are missing or not asked for are passed over
WEFT_API std::optional<int64_t> load(const std::string& folder, const NamedTensors& tensors, bool strict = true);
WEFT_API std::optional<int64_t> load(const std::string& folder, torch::nn::Module& module, bool strict = true);
/// The same with an optimizer of the parameters that it was saved with, on any mesh, in any order; its state is laid
/// out as they are. What Python's `weft.save` wrote loads as well. Raises ValueError also where there is none in it, or
/// one of another kind, of other parameters or groups of them, or with an option that C++ has not (maximize); the
/// optimizer is as it was, too.
WEFT_API std::optional<int64_t> load(const std::string& folder, const NamedTensors& tensors,
                                     torch::optim::Optimizer& optimizer, bool strict = true);
WEFT_API std::optional<int64_t> load(const std::string& folder, torch::nn::Module& module,
                                     torch::optim::Optimizer& optimizer, bool strict = true);

/// Sets torch's generators of random numbers, of which every save keeps rank 0's state, to where they were then. Raises
/// as `load` does, and ValueError for a folder of others.
WEFT_API void load_random_state(const std::string& folder);

}  // namespace weft
