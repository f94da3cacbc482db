#pragma once
// An optimizer of C++ in the form that weft.save of Python gives one (checkpoint_optimizer.py): its state by the names
// of its parameters, which hold for any mesh and any order of the parameters. Either side loads what the other saved.
#include <torch/optim/optimizer.h>
#include <torch/serialize/archive.h>
#include <weft/checkpoint.h>

#include <string>
#include <unordered_map>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "checkpoint/values.h"

namespace weft::checkpoint {

/// What the checkpoint's values are with this optimizer in it: JSON. Its tensors are added to `items`. Raises
/// ValueError for an optimizer that writes itself in another way than torch's own.
/// @param model  names of parameters; others go by their numbers
std::string values_with(const torch::optim::Optimizer& optimizer, const NamedTensors& model, std::vector<Item>& items);

/// An optimizer on its way to the state that a checkpoint has.
class LoadingOptimizer {
 public:
  /// Raises ValueError where the checkpoint holds no optimizer, or one of another kind, of other parameters, groups or
  /// options. The optimizer is as it was.
  LoadingOptimizer(torch::optim::Optimizer& optimizer, const NamedTensors& model, const Contents& contents);
  /// State that is there already, and new memory laid out as the parameters are.
  const std::vector<Target>& targets() const { return targets_; }
  /// Takes over what the targets were filled with.
  void finish();

 private:
  struct Parameter {
    std::string name;
    at::Tensor tensor;
  };
  void read(const Contents& contents);
  void check_kind() const;
  void check_parameters();
  void check_options() const;
  void add_targets(const Contents& contents);
  torch::serialize::OutputArchive archive() const;
  c10::IValue state_now(const Parameter& parameter, const std::string& key) const;
  void try_archive();

  torch::optim::Optimizer& optimizer_;
  std::vector<std::vector<Parameter>> groups_;
  torch::serialize::OutputArchive present_;
  Json saved_;
  std::vector<const Json*> saved_groups_;  // as groups_
  std::vector<Target> targets_;
  std::unordered_map<std::string, at::Tensor> tensors_;
};

}  // namespace weft::checkpoint
