#pragma once
// What ops of core and of programs draw by themselves (multinomial, dropout in attention): ranks whose generators have
// come apart draw other values, and are told by it.
#include <ATen/core/Generator.h>

#include <cstdint>
#include <optional>

namespace weft::random {

/// Around the run of an op that may draw, which is told by whether the generator has moved. Not told while a graph is
/// captured.
class Draws {
 public:
  /// `generator`: the op's own; none: the device's.
  Draws(const std::optional<at::Generator>& generator, at::Device device);
  /// Makes where it drew from a part of the running op's identity.
  void finish() const;

 private:
  at::Generator generator_;
  std::optional<uint64_t> before_;  // none: unknown
};

}  // namespace weft::random
