#include "checkpoint/optimizer.h"

#include <ATen/ATen.h>
#include <c10/util/Exception.h>
#include <c10/util/StringUtil.h>

#include <algorithm>
#include <iterator>
#include <set>
#include <utility>

#include "base/quote.h"
#include "checkpoint/archive.h"
#include "redistribute/tensors.h"
#include "tensor/sharded.h"

namespace weft::checkpoint {
namespace {

using torch::serialize::OutputArchive;

constexpr const char *kOptimizer = "optimizer", *kState = "state", *kParamGroups = "param_groups", *kParams = "params";
constexpr int kDeepest = 100;  // objects in objects

OutputArchive archive_of(const torch::optim::Optimizer& optimizer) {
  OutputArchive archive;
  optimizer.save(archive);
  const torch::jit::Module contents = contents_of(archive);
  for (const char* part : {kState, kParamGroups}) {
    TORCH_CHECK_VALUE(contents.hasattr(part) && contents.attr(part).isModule(),
                      "[W117] the optimizer's save(OutputArchive&) writes no archive ", quote(part),
                      ", as torch's own optimizers do: save and load its tensors by names");
  }
  return archive;
}

torch::jit::Module part_of(const OutputArchive& archive, const char* part) {
  return contents_of(archive).attr(part).toModule();
}

// How torch's archives name a parameter's state, and the numbered groups.
std::string archive_key(const at::Tensor& parameter) {
  return std::to_string(reinterpret_cast<size_t>(parameter.unsafeGetTensorImpl()));
}
std::string group_key(size_t number) { return std::string(kParamGroups) + "/" + std::to_string(number); }

torch::jit::Module options_of(const OutputArchive& archive, size_t group) {
  return part_of(archive, kParamGroups).attr(group_key(group)).toModule().attr("options").toModule();
}

std::unordered_map<const c10::TensorImpl*, std::string> names_in(const NamedTensors& model) {
  std::unordered_map<const c10::TensorImpl*, std::string> names;
  for (const auto& [name, tensor] : model) names.emplace(tensor.unsafeGetTensorImpl(), name);
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

std::vector<std::string> names_of(const Json& group) {
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

void copy_values(const torch::jit::Module& from, OutputArchive& to) {
  for (const auto& entry : from.named_attributes(/*recurse=*/false)) {
    if (!entry.value.isModule()) to.write(entry.name, entry.value);
  }
}

}  // namespace

std::string values_with(const torch::optim::Optimizer& optimizer, const NamedTensors& model, std::vector<Item>& items) {
  const OutputArchive archive = archive_of(optimizer);
  const torch::jit::Module states = part_of(archive, kState);
  const auto known = names_in(model);
  const auto encode_all = [&](const torch::jit::Module& values, const std::string& place) {
    Json object = Json::object();
    for (const auto& entry : values.named_attributes(/*recurse=*/false)) {
      object[entry.name] = encode(entry.value, kOptimizer, place + "." + entry.name, items);
    }
    return object;
  };
  const std::string place = kOptimizer;
  Json state = Json::object(), groups = Json::array();
  size_t number = 0;
  for (const auto& group : optimizer.param_groups()) {
    Json names = Json::array();
    for (const at::Tensor& parameter : group.params()) {
      const auto found = known.find(parameter.unsafeGetTensorImpl());
      const std::string name = found != known.end() ? found->second : std::to_string(number);
      ++number;
      names.push_back(name);
      const std::string key = archive_key(parameter);
      if (states.hasattr(key)) state[name] = encode_all(states.attr(key).toModule(), place + ".state." + name);
    }
    const size_t i = groups.size();
    groups.push_back(encode_all(options_of(archive, i), place + "." + kParamGroups + "." + std::to_string(i)));
    groups.back()[kParams] = std::move(names);
  }
  const Json values = {{kOptimizer, {{kState, std::move(state)}, {kParamGroups, std::move(groups)}}},
                       {"extra", nullptr}};
  // A name that is not UTF-8 is refused with its tensor.
  return values.dump(/*indent=*/-1, ' ', /*ensure_ascii=*/false, Json::error_handler_t::replace);
}

LoadingOptimizer::LoadingOptimizer(torch::optim::Optimizer& optimizer, const NamedTensors& model,
                                   const Contents& contents)
    : optimizer_(optimizer), present_(archive_of(optimizer)) {
  const auto known = names_in(model);
  size_t number = 0;
  for (const auto& group : optimizer.param_groups()) {
    groups_.emplace_back();
    for (const at::Tensor& parameter : group.params()) {
      const auto found = known.find(parameter.unsafeGetTensorImpl());
      groups_.back().push_back({found != known.end() ? found->second : std::to_string(number), parameter});
      ++number;
    }
  }
  read(contents);
  check_parameters();
  add_targets(contents);
  archive();  // whether all has a place in it
}

void LoadingOptimizer::read(const Contents& contents) {
  const Json values = parsed(contents.values);
  TORCH_CHECK_VALUE(values.is_object() && values.contains(kOptimizer),
                    "[W111] load: the checkpoint holds no optimizer");
  saved_ = values.at(kOptimizer);
  for (const auto& [name, state] : need(saved_, kState, &Json::is_object).items()) {
    TORCH_CHECK_VALUE(state.is_object(), "[W112] load: the state of ", quote(name), " is none");
  }
  for (const Json& group : need(saved_, kParamGroups, &Json::is_array)) names_of(group);
}

void LoadingOptimizer::check_parameters() const {
  std::set<std::string> mine, theirs;
  for (const auto& group : groups_) {
    for (const Parameter& parameter : group) mine.insert(parameter.name);
  }
  for (const Json& group : saved_.at(kParamGroups)) {
    for (std::string& name : names_of(group)) theirs.insert(std::move(name));
  }
  const auto missing = difference(mine, theirs), unexpected = difference(theirs, mine);
  TORCH_CHECK_VALUE(missing.empty() && unexpected.empty(),
                    "[W113] load: the optimizer has other parameters than the one that was saved: ",
                    listed(quote_all(missing)), " are missing in the checkpoint, ", listed(quote_all(unexpected)),
                    " are in it alone (parameters go by the names in the model that is passed beside the optimizer)");
  for (const auto& group : groups_) saved_group_of(group);
}

const Json& LoadingOptimizer::saved_group_of(const std::vector<Parameter>& group) const {
  std::set<std::string> mine;
  for (const Parameter& parameter : group) mine.insert(parameter.name);
  for (const Json& saved : saved_.at(kParamGroups)) {
    const auto names = names_of(saved);
    if (mine == std::set<std::string>(names.begin(), names.end())) return saved;
  }
  C10_THROW_ERROR(ValueError,
                  c10::str("[W113] load: the optimizer has a parameter group of ",
                           listed(quote_all({mine.begin(), mine.end()})), ", and the checkpoint none of just these"));
}

void LoadingOptimizer::add_targets(const Contents& contents) {
  const StoredGroup* group = contents.group(kOptimizer);
  const auto stored = group != nullptr ? by_name(*group) : decltype(by_name(*group))();
  const auto add = [&](const std::string& name, const at::Tensor& owner, const c10::IValue& present) {
    const auto found = stored.find(name);
    TORCH_CHECK_VALUE(found != stored.end(), "[W112] load: the checkpoint's optimizer names a tensor ", quote(name),
                      ", which is not there");
    const StoredTensor& like = *found->second;
    const bool fits = present.isTensor() && present.toTensor().sizes() == c10::IntArrayRef(like.shape) &&
                      present.toTensor().scalar_type() == like.dtype;
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
          decoded = decoded.toTensor().item<int64_t>();
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
    const Json& saved = saved_group_of(groups_[i]);
    OutputArchive group(unit), options(unit);
    copy_values(present.attr(group_key(i)).toModule(), group);
    for (const auto& entry : options_of(present_, i).named_attributes(/*recurse=*/false)) {
      const bool there = saved.contains(entry.name);
      const c10::IValue value = there ? decode(saved.at(entry.name), entry.name, entry.value, tensor_of) : entry.value;
      TORCH_CHECK_VALUE(same_kind(value, entry.value), "[W113] load: the optimizer's ", quote(entry.name),
                        " is of kind ", entry.value.tagKind(), ", in the checkpoint ", value.tagKind());
      options.write(entry.name, value);
    }
    group.write("options", options);
    groups.write(group_key(i), group);
  }
  all.write(kParamGroups, groups);
  return all;
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
