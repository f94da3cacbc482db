#include "checkpoint/archive.h"

namespace weft::checkpoint {
namespace {

using torch::serialize::InputArchive;
using torch::serialize::OutputArchive;

// An explicit instantiation may name what is private ([temp.spec.general]/6), and hands it to its friend.
template <class Archive, torch::jit::Module Archive::* member>
struct Opened {
  friend torch::jit::Module& module_in(Archive& archive) { return archive.*member; }
};
torch::jit::Module& module_in(OutputArchive& archive);
torch::jit::Module& module_in(InputArchive& archive);
template struct Opened<OutputArchive, &OutputArchive::module_>;
template struct Opened<InputArchive, &InputArchive::module_>;

}  // namespace

torch::jit::Module contents_of(const OutputArchive& archive) { return module_in(const_cast<OutputArchive&>(archive)); }

InputArchive reader_of(const OutputArchive& written) {
  InputArchive archive;
  module_in(archive) = contents_of(written);
  return archive;
}

}  // namespace weft::checkpoint
