#pragma once
// Which random stream sharded tensors draw from.
#include <optional>

namespace weft::random {

enum class Mode {
  counter,  // one key per op, values by global index: the same for every layout
  replay,   // torch's own stream for the full tensor, of which each rank keeps its part: equal to the unsharded run
};

/// The mode of this thread: that of its innermost scope, else the process's.
Mode mode();
/// The process's mode, for all threads.
void set_mode(Mode mode);

/// A mode for this thread only. Backward on GPUs runs in threads of its own: what is recomputed there (checkpointing)
/// follows the process's mode.
class ModeScope {
 public:
  explicit ModeScope(Mode mode);
  ~ModeScope();
  ModeScope(const ModeScope&) = delete;
  ModeScope& operator=(const ModeScope&) = delete;

 private:
  std::optional<Mode> outer_;
};

}  // namespace weft::random
