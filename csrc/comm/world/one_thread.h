#pragma once
// Collectives match by the order in which they are asked for. Two threads of one process that ask at once have no order
// that other processes could know.
namespace weft::comm {

/// Held while a thread asks for a collective or waits for one; may nest. Raises RuntimeError where another thread of
/// this rank holds it. Threads may take turns, as autograd's do.
class OneThread {
 public:
  OneThread();
  ~OneThread();
  OneThread(const OneThread&) = delete;
  OneThread& operator=(const OneThread&) = delete;

 private:
  bool outermost_;
};

}  // namespace weft::comm
