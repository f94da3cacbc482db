#pragma once
// What the running ops are for, as it is shown.
#include <string>

#include "tensor/identity.h"

namespace weft {

struct RunningFor {
  const char* op = nullptr;           // the outermost: what the program asked for; null: none
  const std::string* path = nullptr;  // of the innermost that concerns a variable; null: none

  static RunningFor now() {
    RunningFor found;
    for (const RunningOp* op = RunningOp::current(); op != nullptr; op = op->outer()) {
      found.op = op->name();
      if (found.path == nullptr) found.path = op->path();
    }
    return found;
  }
  /// The variable's path, else the op: " up/weight", " [mm]", "".
  std::string str() const {
    if (path != nullptr) return " " + *path;
    return op != nullptr ? std::string(" [") + op + "]" : "";
  }
};

}  // namespace weft
