#pragma once
// See algorithm.h.
#include <chrono>
#include <memory>

namespace gloo {

namespace transport {
class UnboundBuffer {
 public:
  virtual ~UnboundBuffer();
};

class Pair {
 public:
  virtual ~Pair() = 0;
};

namespace tcp {
// It has more bases, and functions, than this one; weak, as a torch may be built without it.
class Pair : public transport::Pair {
 public:
  bool isConnected() __attribute__((weak));
};
}  // namespace tcp
}  // namespace transport

class Context {
 public:
  void setTimeout(std::chrono::milliseconds timeout);
  std::unique_ptr<transport::Pair>& getPair(int rank);
};

}  // namespace gloo
