#include "checkpoint/sources.h"

#include <ATen/ATen.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <map>
#include <set>
#include <string_view>
#include <tuple>
#include <utility>

#include "base/hash.h"
#include "base/quote.h"
#include "base/random_state.h"
#include "checkpoint/safetensors.h"
#include "tensor/sharded.h"
#include "tensor/strided.h"

namespace weft::checkpoint {
namespace {

bool valid_utf8(const std::string& text) {
  for (size_t i = 0; i < text.size();) {
    const size_t length = utf8_length(std::string_view(text).substr(i));
    if (length == 0) return false;
    i += length;
  }
  return true;
}

void check(const Item& item) {
  TORCH_CHECK_VALUE(item.tensor.defined(), "[W117] save: no tensor under the name ", quote(item.name));
  check_strided("save", item.tensor);
  TORCH_CHECK_VALUE(valid_utf8(item.name) && item.name.find('\0') == std::string::npos && item.name != "__metadata__",
                    "[W117] save: ", quote(item.name), " cannot be a name in a safetensors file");
  TORCH_CHECK_VALUE(safetensors_type(item.tensor.scalar_type()) != nullptr, "[W117] save: ", quote(item.name),
                    " is of type ", item.tensor.scalar_type(),
                    ", which safetensors files have not; save it as another type");
  const at::Tensor local = holds_shards(item.tensor) ? sharded(item.tensor).local() : item.tensor;
  TORCH_CHECK_VALUE(!local.is_meta(), "[W117] save: ", quote(item.name), " is on the meta device and has no value");
}

// What two names of one tensor have in common.
std::tuple<const void*, std::vector<int64_t>, std::vector<int64_t>, c10::ScalarType, bool, bool> place_of(
    const at::Tensor& t) {
  const void* memory = t.unsafeGetTensorImpl();
  if (holds_shards(t)) {
    if (!sharded(t).chain()) memory = &sharded(t).cell();
  } else if (t.numel() > 0) {
    memory = t.const_data_ptr();
  }
  return {memory, t.sizes().vec(), t.strides().vec(), t.scalar_type(), t.is_conj(), t.is_neg()};
}

}  // namespace

std::vector<Source> sort_out(const std::vector<Item>& items, Contents& contents) {
  std::vector<Source> sources;
  std::map<decltype(place_of(at::Tensor())), std::pair<std::string, std::string>> known;
  std::set<std::pair<std::string, std::string>> names;
  for (const Item& item : items) {
    check(item);
    TORCH_CHECK_VALUE(names.emplace(item.group, item.name).second, "[W117] save: the name ", quote(item.name),
                      " is given twice");
    auto group = std::find_if(contents.groups.begin(), contents.groups.end(),
                              [&](const StoredGroup& g) { return g.name == item.group; });
    if (group == contents.groups.end()) group = contents.groups.insert(group, {.name = item.group});
    const auto [place, is_new] = known.try_emplace(place_of(item.tensor), item.group, item.name);
    if (!is_new && place->second.first == item.group) {
      group->aliases.emplace_back(item.name, place->second.second);
      continue;
    }
    sources.push_back({static_cast<size_t>(group - contents.groups.begin()), group->tensors.size(), item.tensor});
    StoredTensor tensor{.name = item.name, .dtype = item.tensor.scalar_type(), .shape = item.tensor.sizes().vec()};
    if (holds_shards(item.tensor)) tensor.layout = sharded(item.tensor).layout()->describe();
    group->tensors.push_back(std::move(tensor));
  }
  return sources;
}

std::vector<int64_t> facts(const std::string& folder, const Contents& contents, const std::vector<Source>& sources) {
  std::vector<int64_t> words;
  const auto add = [&](const std::string& text) { words.push_back(static_cast<int64_t>(hash_text(text))); };
  add(folder);
  add(contents.values);
  words.push_back(contents.step.value_or(-1));
  for (const StoredGroup& group : contents.groups) {
    add(group.name);
    for (const StoredTensor& tensor : group.tensors) {
      add(tensor.name);
      add(tensor.layout);
      words.push_back(static_cast<int64_t>(tensor.dtype));
      words.insert(words.end(), tensor.shape.begin(), tensor.shape.end());
    }
    for (const auto& [alias, target] : group.aliases) add(alias + '\0' + target);
  }
  for (const Source& source : sources) {
    if (!holds_shards(source.value)) words.push_back(static_cast<int64_t>(sample(source.value.detach(), kValueWords)));
  }
  return words;
}

void add_random_state(Contents& contents, std::vector<Source>& sources) {
  StoredGroup random{.name = kRandomGroup};
  for (const auto& [device, state] : random_state()) {
    sources.push_back({contents.groups.size(), random.tensors.size(), state});
    random.tensors.push_back({.name = device, .dtype = state.scalar_type(), .shape = state.sizes().vec()});
  }
  contents.groups.push_back(std::move(random));
}

}  // namespace weft::checkpoint
