#pragma once
// Collectives run without Python's global lock. An op may be called with the lock held (torch's indexing does), and a
// backend's thread may need it to let go of what it captured (Gloo's does so holding the lock that the next call
// takes).
namespace weft::comm {

/// Lets go of the global lock for its lifetime if this thread holds it. In a process without Python it does nothing.
class WithoutPythonLock {
 public:
  WithoutPythonLock();
  ~WithoutPythonLock();
  WithoutPythonLock(const WithoutPythonLock&) = delete;
  WithoutPythonLock& operator=(const WithoutPythonLock&) = delete;

 private:
  void* state_ = nullptr;
};

}  // namespace weft::comm
