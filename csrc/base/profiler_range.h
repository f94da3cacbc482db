#pragma once
// Ranges with names of ours in torch's profiler.
#include <ATen/record_function.h>

#include <optional>

namespace weft {

/// A range as long as it lives.
class ProfilerRange {
 public:
  /// `name` is called, for a std::string, only where a profiler runs.
  template <class Name>
  explicit ProfilerRange(const Name& name) {
    auto callbacks = at::getStepCallbacksUnlessEmpty(at::RecordScope::USER_SCOPE);
    if (!callbacks.has_value()) [[likely]]
      return;
    range_.emplace(std::move(*callbacks));
    range_->before(name());
  }
  bool on() const { return range_.has_value(); }

 private:
  std::optional<at::RecordFunction> range_;
};

}  // namespace weft
