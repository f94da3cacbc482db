#pragma once
// Which op runs on this thread, for the trace of collectives (and for KERAS_DISTRIBUTION_DEBUG, which shows each kind
// of collective the first time). Costs one load where nobody watches.
#include <ATen/core/Tensor.h>
#include <ATen/core/ivalue.h>
#include <weft/trace.h>

#include <atomic>
#include <string>
#include <vector>

namespace weft {

namespace trace_detail {
inline std::atomic<int> watchers{0};
}

/// While it lives, collectives on this thread are put down to that op, and to the first of its tensors that carries a
/// variable path. Of nested scopes the outermost op counts and the innermost path.
class CurrentOp {
 public:
  /// An op that comes over the stack; its tensors are looked at now, before the handler takes them.
  CurrentOp(const std::string& name, const std::vector<c10::IValue>& stack, size_t arguments) {
    if (trace_detail::watchers.load(std::memory_order_relaxed) != 0) [[unlikely]]
      begin(name, stack.data() + (stack.size() - arguments), arguments);
  }
  /// Anything else that concerns one tensor (any, or none).
  CurrentOp(const char* name, const at::Tensor& tensor) {
    if (trace_detail::watchers.load(std::memory_order_relaxed) != 0) [[unlikely]]
      begin(name, c10::IValue(tensor));
  }
  /// Anything else that concerns variables.
  CurrentOp(const char* name, const std::string& path) {
    if (trace_detail::watchers.load(std::memory_order_relaxed) != 0) [[unlikely]]
      begin(name, path);
  }
  ~CurrentOp() {
    if (begun_) [[unlikely]]
      end();
  }
  CurrentOp(const CurrentOp&) = delete;
  CurrentOp& operator=(const CurrentOp&) = delete;

 private:
  void begin(const std::string& name, const c10::IValue* arguments, size_t count);
  void begin(const std::string& name, const c10::IValue& tensor) { begin(name, &tensor, 1); }
  void begin(const std::string& name, const std::string& path);
  void end();
  bool begun_ = false;
};

/// Puts the observer in place; watches from the start where the log level is debug.
void install_trace();

}  // namespace weft
