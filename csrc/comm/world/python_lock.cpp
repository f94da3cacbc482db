#include "comm/world/python_lock.h"

#include <dlfcn.h>

namespace weft::comm {
namespace {

// Looked up in the process at the first collective, since the library itself must not need Python. All are of its
// stable ABI.
struct Python {
  int (*is_initialized)() = nullptr;
  int (*holds_lock)() = nullptr;
  void* (*save_thread)() = nullptr;
  void (*restore_thread)(void*) = nullptr;

  Python() {
    find("Py_IsInitialized", is_initialized);
    find("PyGILState_Check", holds_lock);
    find("PyEval_SaveThread", save_thread);
    find("PyEval_RestoreThread", restore_thread);
  }
  bool here() const { return is_initialized && holds_lock && save_thread && restore_thread && is_initialized(); }

 private:
  template <class F>
  static void find(const char* name, F& f) {
    f = reinterpret_cast<F>(dlsym(RTLD_DEFAULT, name));
  }
};

const Python& python() {
  static const Python found;
  return found;
}

}  // namespace

WithoutPythonLock::WithoutPythonLock() {
  if (python().here() && python().holds_lock()) state_ = python().save_thread();
}

WithoutPythonLock::~WithoutPythonLock() {
  if (state_) python().restore_thread(state_);
}

}  // namespace weft::comm
