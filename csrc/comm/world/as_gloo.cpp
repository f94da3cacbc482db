#include "comm/world/as_gloo.h"

#ifndef USE_C10D_GLOO
#define USE_C10D_GLOO  // without it the headers below are empty
#endif
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupWrapper.hpp>

namespace weft::comm {

c10d::ProcessGroupGloo* as_gloo(c10d::Backend& backend) {
  if (auto* wrapper = dynamic_cast<c10d::ProcessGroupWrapper*>(&backend)) return as_gloo(*wrapper->getWrappedPg());
  return dynamic_cast<c10d::ProcessGroupGloo*>(&backend);
}

}  // namespace weft::comm
