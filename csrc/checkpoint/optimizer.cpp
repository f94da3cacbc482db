#include "checkpoint/optimizer.h"

#include <ATen/ATen.h>
#include <c10/util/Exception.h>
#include <c10/util/StringUtil.h>
#include <c10/util/Type.h>
#include <torch/optim/adamw.h>

#include <algorithm>
#include <iterator>
#include <set>
#include <typeinfo>
#include <utility>

#include "base/quote.h"
#include "checkpoint/archive.h"
#include "redistribute/tensors.h"
#include "tensor/sharded.h"

namespace weft::checkpoint {
namespace {

using torch::serialize::OutputArchive;

constexpr const char *kOptimizer = "optimizer", *kState = "state", *kParamGroups = "param_groups", *kParams = "params";
constexpr const char *kKind = "kind", *kOptions = "options", *kTorchVersion = "pytorch_version";
constexpr const char* kDecoupled = "decoupled_weight_decay";
constexpr int kDeepest = 100;                    // objects in objects
constexpr double kMostSteps = int64_t{1} << 53;  // that a float64 counts

OutputArchive archive_of(const torch::optim::Optimizer& optimizer) {
  OutputArchive archive;
  optimizer.save(archive);
  const torch::jit::Module contents = contents_of(archive);
  for (const char* part : {kState, kParamGroups}) {
    TORCH_CHECK_VALUE(contents.hasattr(part) && contents.attr(part).isModule(),
                      "[W117] the optimizer's save(OutputArchive&) writes no archive ", quote(part),
                      ", as torch's own optimizers do: save and load its tensors by names");
  }
  for (const auto& entry : contents.named_attributes(/*recurse=*/false)) {
    const bool known = entry.name == kState || entry.name == kParamGroups || entry.name == kTorchVersion;
    TORCH_CHECK_VALUE(known, "[W117] the optimizer's save(OutputArchive&) writes ", quote(entry.name),
                      " beside its state and groups, which has no place here: save and load that by itself");
  }
  return archive;
}

std::string kind_of(const torch::optim::Optimizer& optimizer) { return c10::demangle(typeid(optimizer).name()); }

torch::jit::Module part_of(const OutputArchive& archive, const char* part) {
  return contents_of(archive).attr(part).toModule();
}

// How torch's archives name a parameter's state, and the numbered groups.
std::string archive_key(const at::Tensor& parameter) {
  return std::to_string(reinterpret_cast<size_t>(parameter.unsafeGetTensorImpl()));
}
std::string group_key(size_t number) { return std::string(kParamGroups) + "/" + std::to_string(number); }

torch::jit::Module options_of(const OutputArchive& archive, size_t group) {
  return part_of(archive, kParamGroups).attr(group_key(group)).toModule().attr(kOptions).toModule();
}

// The names of the parameters, group by group: those that they have in the model, else their numbers.
std::vector<std::vector<std::string>> names_of(const torch::optim::Optimizer& optimizer, const NamedTensors& model) {
  std::unordered_map<const c10::TensorImpl*, std::string> known;
  for (const auto& [name, tensor] : model) known.emplace(tensor.unsafeGetTensorImpl(), name);
  std::vector<std::vector<std::string>> names;
  std::set<std::string> all;
  size_t number = 0;
  for (const auto& group : optimizer.param_groups()) {
    names.emplace_back();
    for (const at::Tensor& parameter : group.params()) {
      const auto found = known.find(parameter.unsafeGetTensorImpl());
      names.back().push_back(found != known.end() ? found->second : std::to_string(number));
      TORCH_CHECK_VALUE(all.insert(names.back().back()).second, "[W117] two of the optimizer's parameters are ",
                        quote(names.back().back()),
                        ": parameters that have no name in the model go by their numbers, "
                        "and a name is such a number; pass tensors with other names");
      ++number;
    }
  }
  return names;
}

Json parsed(const std::string& text) {
  const auto shallow = [](int depth, Json::parse_event_t, Json&) {
    TORCH_CHECK_VALUE(depth <= kDeepest, "[W112] load: more than ", kDeepest, " objects in each other");
    return true;
  };
  try {
    return Json::parse(text, shallow);
  } catch (const Json::exception& error) {
    C10_THROW_ERROR(ValueError, c10::str("[W112] load: the checkpoint's values are no JSON: ", error.what()));
  }
}

// What stands under a key of an object, which the manifest's checksums say is as it was saved.
const Json& need(const Json& object, const char* key, bool (Json::*is)() const noexcept) {
  const bool there = object.is_object() && object.contains(key) && (object.at(key).*is)();
  TORCH_CHECK_VALUE(there, "[W112] load: the checkpoint's optimizer has no ", quote(key));
  return object.at(key);
}

std::vector<std::string> saved_names(const Json& group) {
  std::vector<std::string> names;
  for (const Json& name : need(group, kParams, &Json::is_array)) {
    TORCH_CHECK_VALUE(name.is_string(), "[W112] load: the checkpoint's optimizer has parameters without names");
    names.push_back(name.get<std::string>());
  }
  return names;
}

std::vector<std::string> difference(const std::set<std::string>& a, const std::set<std::string>& b) {
  std::vector<std::string> names;
  std::set_difference(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(names));
  return names;
}

bool same_kind(const c10::IValue& a, const c10::IValue& b) {
  if (a.isNone() || b.isNone()) return true;  // an optional value
  if (!a.isTuple() || !b.isTuple()) return a.tagKind() == b.tagKind();
  const auto &of_a = a.toTupleRef().elements(), &of_b = b.toTupleRef().elements();
  return of_a.size() == of_b.size() && std::equal(of_a.begin(), of_a.end(), of_b.begin(), same_kind);
}

// Memory for a parameter's state, laid out as it is; what was plain beside a sharded parameter stays plain.
at::Tensor memory_for(const at::Tensor& parameter, const StoredTensor& stored) {
  const auto options = at::TensorOptions(stored.dtype);
  const bool same = parameter.sizes() == c10::IntArrayRef(stored.shape);
  if (holds_shards(parameter) && (same || !stored.layout.empty())) {
    const Layout layout = sharded(parameter).layout();
    const auto dimensions = static_cast<int64_t>(stored.shape.size());
    return empty_sharded(stored.shape, same ? layout : TensorLayout::replicated(layout->mesh(), dimensions),
                         options.device(parameter.device()));
  }
  return at::zeros(stored.shape, stored.shape.empty() ? options : options.device(parameter.device()));
}

bool is_like(const at::Tensor& t, const StoredTensor& stored) {
  return t.sizes() == c10::IntArrayRef(stored.shape) && t.scalar_type() == stored.dtype;
}

// Not where the parameter was laid out over another mesh since.
bool on_one_mesh(const at::Tensor& state, const at::Tensor& parameter) {
  if (!parameter.defined() || !holds_shards(state) || !holds_shards(parameter)) return true;
  return sharded(state).layout()->mesh() == sharded(parameter).layout()->mesh();
}

void copy_values(const torch::jit::Module& from, OutputArchive& to) {
  for (const auto& entry : from.named_attributes(/*recurse=*/false)) {
    if (!entry.value.isModule()) to.write(entry.name, entry.value);
  }
}

}  // namespace

std::string values_with(const torch::optim::Optimizer& optimizer, const NamedTensors& model, std::vector<Item>& items) {
  const OutputArchive archive = archive_of(optimizer);
  const torch::jit::Module states = part_of(archive, kState);
  const auto names = names_of(optimizer, model);
  const auto encode_all = [&](const torch::jit::Module& values, const std::string& place) {
    Json object = Json::object();
    for (const auto& entry : values.named_attributes(/*recurse=*/false)) {
      object[entry.name] = encode(entry.value, kOptimizer, place + "." + entry.name, items);
    }
    return object;
  };
  const std::string place = kOptimizer;
  Json state = Json::object(), groups = Json::array();
  for (size_t i = 0; i < names.size(); ++i) {
    const auto& parameters = optimizer.param_groups()[i].params();
    for (size_t p = 0; p < parameters.size(); ++p) {
      const std::string& name = names[i][p];
      const std::string key = archive_key(parameters[p]);
      if (states.hasattr(key)) state[name] = encode_all(states.attr(key).toModule(), place + ".state." + name);
    }
    groups.push_back(encode_all(options_of(archive, i), place + "." + kParamGroups + "." + std::to_string(i)));
    groups.back()[kParams] = names[i];
  }
  Json saved = {{kKind, kind_of(optimizer)}, {kState, std::move(state)}, {kParamGroups, std::move(groups)}};
  const Json values = {{kOptimizer, std::move(saved)}, {"extra", nullptr}};
  // A name that is not UTF-8 is refused with its tensor.
  return values.dump(/*indent=*/-1, ' ', /*ensure_ascii=*/false, Json::error_handler_t::replace);
}

LoadingOptimizer::LoadingOptimizer(torch::optim::Optimizer& optimizer, const NamedTensors& model,
                                   const Contents& contents)
    : optimizer_(optimizer), present_(archive_of(optimizer)) {
  const auto names = names_of(optimizer, model);
  for (size_t i = 0; i < names.size(); ++i) {
    const auto& parameters = optimizer.param_groups()[i].params();
    groups_.emplace_back();
    for (size_t p = 0; p < parameters.size(); ++p) groups_.back().push_back({names[i][p], parameters[p]});
  }
  read(contents);
  check_kind();
  check_parameters();
  check_options();
  add_targets(contents);
  try_archive();
}

void LoadingOptimizer::read(const Contents& contents) {
  const Json values = parsed(contents.values);
  TORCH_CHECK_VALUE(values.is_object() && values.contains(kOptimizer),
                    "[W111] load: the checkpoint holds no optimizer");
  saved_ = values.at(kOptimizer);
  for (const auto& [name, state] : need(saved_, kState, &Json::is_object).items()) {
    TORCH_CHECK_VALUE(state.is_object(), "[W112] load: the state of ", quote(name), " is none");
  }
  for (const Json& group : need(saved_, kParamGroups, &Json::is_array)) saved_names(group);
}

void LoadingOptimizer::check_kind() const {
  if (!saved_.contains(kKind)) return;
  const std::string mine = kind_of(optimizer_),
                    its = saved_.at(kKind).is_string() ? saved_.at(kKind).get<std::string>() : "";
  TORCH_CHECK_VALUE(mine == its, "[W113] load: the optimizer that was saved is of another kind, ", quote(its), ", not ",
                    quote(mine));
}

void LoadingOptimizer::check_parameters() {
  std::set<std::string> mine, theirs;
  for (const auto& group : groups_) {
    for (const Parameter& parameter : group) mine.insert(parameter.name);
  }
  for (const Json& group : saved_.at(kParamGroups)) {
    for (const std::string& name : saved_names(group)) {
      TORCH_CHECK_VALUE(theirs.insert(name).second, "[W112] load: the checkpoint's optimizer has ", quote(name),
                        " twice");
    }
  }
  for (const auto& [name, state] : saved_.at(kState).items()) {
    TORCH_CHECK_VALUE(theirs.contains(name), "[W112] load: the checkpoint's optimizer has state of ", quote(name),
                      ", which is none of its parameters");
  }
  const auto missing = difference(mine, theirs), unexpected = difference(theirs, mine);
  TORCH_CHECK_VALUE(missing.empty() && unexpected.empty(),
                    "[W113] load: the optimizer has other parameters than the one that was saved: ",
                    listed(quote_all(missing)), " are missing in the checkpoint, ", listed(quote_all(unexpected)),
                    " are in it alone (parameters go by the names in the model that is passed beside the optimizer)");
  std::set<const Json*> taken;
  for (const auto& group : groups_) {
    std::set<std::string> names;
    for (const Parameter& parameter : group) names.insert(parameter.name);
    saved_groups_.push_back(nullptr);
    for (const Json& saved : saved_.at(kParamGroups)) {
      const auto its = saved_names(saved);
      if (names != std::set<std::string>(its.begin(), its.end()) || !taken.insert(&saved).second) continue;
      saved_groups_.back() = &saved;
      break;
    }
    TORCH_CHECK_VALUE(saved_groups_.back() != nullptr, "[W113] load: the optimizer has a parameter group of ",
                      listed(quote_all({names.begin(), names.end()})), ", and the checkpoint none of just these");
  }
}

// A checkpoint of Python's says by its options alone of what kind the optimizer was.
void LoadingOptimizer::check_options() const {
  const std::set<std::string> without_effect = {"foreach", "fused", "capturable", "differentiable"};
  const bool decoupled = dynamic_cast<const torch::optim::AdamW*>(&optimizer_) != nullptr;
  for (size_t i = 0; i < groups_.size(); ++i) {
    const Json& saved = *saved_groups_[i];
    const torch::jit::Module options = options_of(present_, i);
    for (const auto& entry : options.named_attributes(/*recurse=*/false)) {
      TORCH_CHECK_VALUE(saved.contains(entry.name), "[W113] load: the optimizer that was saved has no option ",
                        quote(entry.name), ": it is of another kind than this ", kind_of(optimizer_));
    }
    for (const auto& [key, value] : saved.items()) {
      const bool set = value.is_boolean() && value.get<bool>() && !options.hasattr(key);
      const bool fits = key == kDecoupled ? decoupled == value : !set || without_effect.contains(key);
      TORCH_CHECK_VALUE(fits, "[W113] load: the optimizer was saved with ", quote(key), " = ", value.dump(),
                        ", and this ", kind_of(optimizer_), " cannot do that");
    }
  }
}

void LoadingOptimizer::add_targets(const Contents& contents) {
  const StoredGroup* group = contents.group(kOptimizer);
  const auto stored = group != nullptr ? by_name(*group) : decltype(by_name(*group))();
  const auto add = [&](const std::string& name, const at::Tensor& owner, const c10::IValue& present) {
    const auto found = stored.find(name);
    TORCH_CHECK_VALUE(found != stored.end(), "[W112] load: the checkpoint's optimizer names a tensor ", quote(name),
                      ", which is not there");
    const StoredTensor& like = *found->second;
    const bool fits = present.isTensor() && is_like(present.toTensor(), like) && on_one_mesh(present.toTensor(), owner);
    const at::Tensor tensor = fits              ? present.toTensor()
                              : owner.defined() ? memory_for(owner, like)
                                                : at::zeros(like.shape, like.dtype);
    if (tensors_.emplace(name, tensor).second) targets_.push_back({{kOptimizer, name, tensor}, fits});
  };
  for (const auto& parameters : groups_) {
    for (const Parameter& parameter : parameters) {
      if (!saved_.at(kState).contains(parameter.name)) continue;
      for (const auto& [key, value] : saved_.at(kState).at(parameter.name).items()) {
        const c10::IValue present = tensor_name(value) != nullptr ? state_now(parameter, key) : c10::IValue();
        for (const std::string& name : tensor_names(value)) add(name, parameter.tensor, present);
      }
    }
  }
  for (const std::string& name : tensor_names(saved_)) add(name, at::Tensor(), c10::IValue());  // of the groups
}

// None: there is no such state.
c10::IValue LoadingOptimizer::state_now(const Parameter& parameter, const std::string& key) const {
  const torch::jit::Module states = part_of(present_, kState);
  const std::string owner = archive_key(parameter.tensor);
  if (!states.hasattr(owner)) return {};
  const torch::jit::Module state = states.attr(owner).toModule();
  return state.hasattr(key) ? state.attr(key) : c10::IValue();
}

OutputArchive LoadingOptimizer::archive() const {
  const auto tensor_of = [&](const std::string& name) { return tensors_.at(name); };
  OutputArchive all;
  const auto& unit = all.compilation_unit();
  copy_values(contents_of(present_), all);
  OutputArchive states(unit);
  for (const auto& parameters : groups_) {
    for (const Parameter& parameter : parameters) {
      if (!saved_.at(kState).contains(parameter.name)) continue;
      OutputArchive state(unit);
      for (const auto& [key, value] : saved_.at(kState).at(parameter.name).items()) {
        c10::IValue decoded = decode(value, parameter.name + "." + key, {}, tensor_of);
        // Python's optimizers count their steps in tensors, those of C++ in integers.
        if (key == "step" && decoded.isTensor() && decoded.toTensor().dim() == 0 &&
            !state_now(parameter, key).isTensor()) {
          const double steps = decoded.toTensor().item<double>();
          TORCH_CHECK_VALUE(steps >= 0 && steps < kMostSteps, "[W112] load: ", quote(parameter.name), " has taken ",
                            steps, " steps");
          decoded = static_cast<int64_t>(steps);
        }
        if (!decoded.isNone()) state.write(key, decoded);  // none: as a tensor that is not defined
      }
      states.write(archive_key(parameter.tensor), state);
    }
  }
  all.write(kState, states);
  OutputArchive groups(unit);
  const torch::jit::Module present = part_of(present_, kParamGroups);
  copy_values(present, groups);
  for (size_t i = 0; i < groups_.size(); ++i) {
    const Json& saved = *saved_groups_[i];
    OutputArchive group(unit), options(unit);
    copy_values(present.attr(group_key(i)).toModule(), group);
    for (const auto& entry : options_of(present_, i).named_attributes(/*recurse=*/false)) {
      const c10::IValue value = decode(saved.at(entry.name), entry.name, entry.value, tensor_of);
      TORCH_CHECK_VALUE(same_kind(value, entry.value), "[W113] load: the optimizer's ", quote(entry.name),
                        " is of kind ", entry.value.tagKind(), ", in the checkpoint ", value.tagKind());
      options.write(entry.name, value);
    }
    group.write(kOptions, options);
    groups.write(group_key(i), group);
  }
  all.write(kParamGroups, groups);
  return all;
}

// Whether the optimizer takes it, before anything is filled: that is known to its load(InputArchive&) alone.
void LoadingOptimizer::try_archive() {
  auto state = std::move(optimizer_.state());
  optimizer_.state().clear();
  const auto restore = [&] {  // the groups' options stay the same objects, which programs may hold
    torch::serialize::InputArchive reader = reader_of(present_);
    optimizer_.load(reader);
    optimizer_.state() = std::move(state);
  };
  try {
    torch::serialize::InputArchive reader = reader_of(archive());
    optimizer_.load(reader);
  } catch (const c10::ValueError&) {
    restore();
    throw;
  } catch (const c10::Error& error) {
    restore();
    const std::string text = error.what_without_backtrace();
    C10_THROW_ERROR(ValueError, c10::str("[W113] load: the optimizer cannot take what was saved: ",
                                         printable(text.substr(0, text.find('\n')))));
  }
  restore();
}

void LoadingOptimizer::finish() {
  torch::serialize::InputArchive reader = reader_of(archive());
  optimizer_.load(reader);
  for (const auto& group : groups_) {
    for (const Parameter& parameter : group) {
      if (!saved_.at(kState).contains(parameter.name)) optimizer_.state().erase(parameter.tensor.unsafeGetTensorImpl());
    }
  }
}

}  // namespace weft::checkpoint
