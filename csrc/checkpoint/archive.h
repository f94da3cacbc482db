#pragma once
// What torch's archives hold: their own way to it is a file, in which a sharded tensor has no place.
#include <torch/csrc/jit/api/module.h>
#include <torch/serialize/archive.h>

namespace weft::checkpoint {

/// Values are attributes by their keys; archives in it are modules.
torch::jit::Module contents_of(const torch::serialize::OutputArchive& archive);

/// Reads what was written into another.
torch::serialize::InputArchive reader_of(const torch::serialize::OutputArchive& written);

}  // namespace weft::checkpoint
