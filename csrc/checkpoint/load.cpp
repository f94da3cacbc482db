#include <ATen/ATen.h>
#include <c10/util/Exception.h>
#include <c10/util/StringUtil.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "base/hash.h"
#include "base/quote.h"
#include "base/random_state.h"
#include "checkpoint/background.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/crc32c.h"
#include "checkpoint/optimizer.h"
#include "checkpoint/part.h"
#include "checkpoint/reader.h"
#include "checkpoint/safetensors.h"
#include "checkpoint/team.h"
#include "comm/agree/agree_or_throw.h"
#include "comm/agree/check_same.h"
#include "comm/lockstep/call.h"
#include "mesh/context.h"
#include "tensor/below_autograd.h"
#include "tensor/sharded.h"
#include "tensor/strided.h"

namespace weft::checkpoint {
namespace {

// A stored tensor on its way into a tensor.
struct Way {
  const StoredTensor* stored;
  at::Tensor tensor;
  bool has_value;
  uint32_t crc = 0;  // what this rank's part adds
};

std::string shape_text(c10::IntArrayRef shape) { return "(" + printable(c10::Join(", ", shape)) + ")"; }

// What of the checkpoint goes where. Raises ValueError naming all that does not fit.
std::vector<Way> find_ways(const std::string& folder, const Contents& contents, const std::vector<Target>& targets,
                           bool strict, Loaded& loaded) {
  std::map<std::string, std::unordered_map<std::string, const StoredTensor*>> stored;
  std::unordered_set<const StoredTensor*> used;
  std::unordered_map<const c10::TensorImpl*, size_t> way_of;  // two names of one tensor are filled once
  std::vector<Way> ways;
  std::vector<const Target*> missing;
  std::vector<std::string> wrong;
  for (const Target& target : targets) {
    check_strided("load", target.tensor);
    auto group = stored.find(target.group);
    if (group == stored.end()) {
      const StoredGroup* found = contents.group(target.group);
      group = stored.emplace(target.group, found ? by_name(*found) : decltype(group->second)()).first;
    }
    const auto it = group->second.find(target.name);
    if (it == group->second.end()) {
      missing.push_back(&target);
      continue;
    }
    const StoredTensor& found = *it->second;
    used.insert(&found);
    const at::Tensor& tensor = target.tensor;
    if (!c10::canCast(found.dtype, tensor.scalar_type()) || tensor.sizes() != c10::IntArrayRef(found.shape)) {
      wrong.push_back(c10::str(quote(target.name), " is ", found.dtype, " of shape ", shape_text(found.shape), ", not ",
                               tensor.scalar_type(), " of shape ", shape_text(tensor.sizes())));
    } else if (const std::string why = cannot_fill(tensor); !why.empty()) {
      wrong.push_back(quote(target.name) + " is to be read into " + why);
    } else if (way_of.emplace(tensor.unsafeGetTensorImpl(), ways.size()).second) {
      ways.push_back({&found, tensor, target.has_value});
    }
  }
  for (const Target* target : missing) {
    // One name of tied variables is enough, as Hugging Face saves them.
    if (!way_of.contains(target->tensor.unsafeGetTensorImpl())) loaded.missing.push_back(target->name);
  }
  for (const auto& [name, tensors] : stored) {
    if (const StoredGroup* group = contents.group(name)) {
      for (const StoredTensor& tensor : group->tensors) {
        if (!used.contains(&tensor)) loaded.unexpected.push_back(tensor.name);
      }
    }
  }
  std::string text;
  if (strict && !loaded.missing.empty()) text += "; missing in it: " + listed(quote_all(loaded.missing));
  if (strict && !loaded.unexpected.empty())
    text += "; in it, but not asked for: " + listed(quote_all(loaded.unexpected));
  if (!wrong.empty()) text += "; not as they should be: " + listed(wrong);
  TORCH_CHECK_VALUE(text.empty(), "[W113] load: the checkpoint in ", quote(folder), " does not fit", text);
  return ways;
}

Box box_of(const at::Tensor& tensor) {
  if (!holds_shards(tensor)) return Box(tensor.sizes());
  const Layout layout = sharded(tensor).layout();
  return Box(tensor.sizes(), layout->without_partial(), context().bind(layout->mesh()).coordinates);
}

at::Tensor part_of(const at::Tensor& tensor) {
  return holds_shards(tensor) ? sharded(tensor).local() : tensor.detach();
}

// The ranks that hold a tensor once among them have its checksum together: each set of them in a list, by rank.
std::vector<int64_t> sets_of_ranks(const at::Tensor& tensor, int64_t ranks) {
  std::vector<int64_t> sets;
  for (int64_t rank = 0; rank < ranks; ++rank) {
    if (!holds_shards(tensor)) {
      sets.push_back(rank);
      continue;
    }
    const Layout layout = sharded(tensor).layout()->without_partial();
    sets.push_back(replica_of(layout, layout->mesh()->coordinates_of(rank)).index);
  }
  return sets;
}

void check_sums(const std::string& folder, const Contents& contents, const std::vector<Way>& ways,
                const std::vector<std::string>& parts) {
  std::vector<std::string> damaged;
  for (size_t i = 0; i < ways.size(); ++i) {
    const StoredTensor& stored = *ways[i].stored;
    if (!stored.crc) continue;
    std::map<int64_t, uint32_t> sums;
    const std::vector<int64_t> sets = sets_of_ranks(ways[i].tensor, static_cast<int64_t>(parts.size()));
    for (size_t rank = 0; rank < parts.size(); ++rank) {
      uint32_t crc = 0;
      std::memcpy(&crc, parts[rank].data() + i * sizeof crc, sizeof crc);
      sums[sets[rank]] ^= crc;
    }
    const bool intact = std::all_of(sums.begin(), sums.end(), [&](const auto& sum) {
      return from_zero_begun(sum.second, static_cast<uint64_t>(stored.bytes)) == *stored.crc;
    });
    if (!intact) damaged.push_back(quote(stored.name) + " (in " + contents.files[stored.file].name + ")");
  }
  TORCH_CHECK_VALUE(damaged.empty(), "[W112] load: the checkpoint in ", quote(folder),
                    " is damaged: other bytes than were saved in ", listed(damaged));
}

std::string compared_by_load(const std::string& folder) {
  return "load from " + quote(folder) + ": what is there, what it is loaded into, and how that goes";
}

}  // namespace

Contents open(const std::string& folder) {
  finish_save();
  const std::string compared = compared_by_load(folder);
  const comm::Comparing comparing(compared);
  for (int tries = 1; tries <= kTries; ++tries) {  // as a save may end in between
    Contents contents;
    const auto manifests = together(exchange_by_collectives(), [&] {
      contents = read_contents(folder);
      std::string facts = contents.generation;
      for (const StoredFile& file : contents.files)
        facts += c10::str('\n', file.name, ' ', file.bytes, ' ', file.header_crc);
      return facts + "\n" + std::to_string(crc32c(contents.values));
    });
    const auto differs = [&](const std::string& other) { return other != manifests[0]; };
    if (std::none_of(manifests.begin(), manifests.end(), differs)) return contents;
  }
  TORCH_CHECK_VALUE(false, "[W114] load: not all ranks find the same checkpoint in ", quote(folder));
}

Loaded load(const std::string& folder, const Contents& contents, const std::vector<Target>& targets, bool strict) {
  const std::string compared = compared_by_load(folder);
  const comm::Comparing comparing(compared);
  const Exchange exchange = exchange_by_collectives();
  Loaded loaded;
  std::vector<Way> ways;
  comm::agree_or_throw(kLoading, nullptr, [&] { ways = find_ways(folder, contents, targets, strict, loaded); });
  std::vector<int64_t> words = {static_cast<int64_t>(hash_text(folder)), strict};
  for (const Way& way : ways) {
    const std::string layout = holds_shards(way.tensor) ? sharded(way.tensor).layout()->describe() : "";
    for (const std::string& text : {way.stored->name, layout}) words.push_back(static_cast<int64_t>(hash_text(text)));
    words.push_back(way.has_value);
  }
  comm::check_same(words, kLoading, nullptr, [&] {
    comm::Facts facts{{"folder", quote(folder)}, {"strict", strict ? "True" : "False"}};
    for (const Way& way : ways) {
      facts.emplace_back("variable " + quote(way.stored->name),
                         (holds_shards(way.tensor) ? sharded(way.tensor).layout()->describe() : "plain") +
                             (way.has_value ? "" : ", without a value"));
    }
    return facts;
  });
  RunningOp running("load", new_root("load"), nullptr);
  running.add(hash_text(contents.generation));
  const BelowAutograd guard;
  for (const Way& way : ways) finish_pending(way.tensor, "load");
  Reader reader(contents);
  // What has a value keeps it until all is known to be good, and so is read twice.
  const auto sums = together(exchange, [&] {
    std::string mine;
    for (Way& way : ways) {
      const bool into = !way.has_value;
      if (into || way.stored->crc) {
        way.crc = reader.read(*way.stored, box_of(way.tensor), into ? part_of(way.tensor) : at::Tensor());
      }
      mine.append(reinterpret_cast<const char*>(&way.crc), sizeof way.crc);
    }
    return mine;
  });
  check_sums(folder, contents, ways, sums);
  const auto fill_others = [&] {
    for (const Way& way : ways) {
      if (way.has_value) {
        const uint32_t crc = reader.read(*way.stored, box_of(way.tensor), part_of(way.tensor));
        TORCH_CHECK(!way.stored->crc || crc == way.crc, "[W115] load: ", quote(way.stored->name), " in ", quote(folder),
                    " was changed while it was read; some of the tensors have their new values, others the old ones");
      }
      note_write(way.tensor);
    }
    return std::string();
  };
  if (std::any_of(ways.begin(), ways.end(), [](const Way& way) { return way.has_value; })) {
    together(exchange, fill_others);
  } else {
    fill_others();  // there are none, and so nothing that could fail
  }
  return loaded;
}

void load_random_state(const std::string& folder, const Contents& contents) {
  const StoredGroup* group = contents.group(kRandomGroup);
  TORCH_CHECK_VALUE(group != nullptr, "[W111] load: ", quote(folder), " holds no random state");
  std::vector<Target> targets;
  for (const StoredTensor& tensor : group->tensors) {
    targets.push_back({{kRandomGroup, tensor.name, at::empty(tensor.shape, tensor.dtype)}, false});
  }
  load(folder, contents, targets, /*strict=*/true);
  for (const Target& target : targets) set_random_state(target.name, target.tensor);
}

}  // namespace weft::checkpoint

namespace weft {
namespace {

std::optional<int64_t> fill(const std::string& folder, const NamedTensors& tensors, torch::optim::Optimizer* optimizer,
                            bool strict) {
  std::vector<checkpoint::Target> targets;
  for (const auto& [name, tensor] : tensors) targets.push_back({{"model", name, tensor}});
  const checkpoint::Contents contents = checkpoint::open(folder);
  std::optional<checkpoint::LoadingOptimizer> loading;
  if (optimizer != nullptr) {
    comm::agree_or_throw(checkpoint::kLoading, nullptr, [&] { loading.emplace(*optimizer, tensors, contents); });
    targets.insert(targets.end(), loading->targets().begin(), loading->targets().end());
  }
  checkpoint::load(folder, contents, targets, strict);
  if (loading) loading->finish();
  return contents.step;
}

}  // namespace

std::optional<int64_t> load(const std::string& folder, const NamedTensors& tensors, bool strict) {
  return fill(folder, tensors, nullptr, strict);
}

std::optional<int64_t> load(const std::string& folder, torch::nn::Module& module, bool strict) {
  return load(folder, checkpoint::variables_of(module), strict);
}

std::optional<int64_t> load(const std::string& folder, const NamedTensors& tensors, torch::optim::Optimizer& optimizer,
                            bool strict) {
  return fill(folder, tensors, &optimizer, strict);
}

std::optional<int64_t> load(const std::string& folder, torch::nn::Module& module, torch::optim::Optimizer& optimizer,
                            bool strict) {
  return load(folder, checkpoint::variables_of(module), optimizer, strict);
}

void load_random_state(const std::string& folder) { checkpoint::load_random_state(folder, checkpoint::open(folder)); }

}  // namespace weft
