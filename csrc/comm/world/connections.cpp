#include "comm/world/connections.h"

#include <string_view>
#include <typeinfo>

#include "comm/world/as_gloo.h"

#ifndef USE_C10D_GLOO
#define USE_C10D_GLOO  // without it the header below is empty
#endif
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>

namespace weft::comm {
namespace {

using Contexts = std::vector<std::shared_ptr<::gloo::Context>>;

// They are for classes that derive from it.
struct Opened : c10d::ProcessGroupGloo {
  static const Contexts& contexts(const c10d::ProcessGroupGloo& gloo) { return gloo.*(&Opened::contexts_); }
};

bool is_over_tcp(const ::gloo::transport::Pair& pair) {
  const std::string_view name = typeid(pair).name();
  return name == "N4gloo9transport3tcp4PairE" || name == "N4gloo9transport3tcp3tls4PairE";
}

}  // namespace

Connections connections_of(c10d::Backend& backend) {
  Connections out;
  c10d::ProcessGroupGloo* const gloo = as_gloo(backend);
  auto is_connected = &::gloo::transport::tcp::Pair::isConnected;  // weak
  if (gloo == nullptr || c10d::getDefaultGlooLazyInit() || is_connected == nullptr) return out;
  const auto& ranks = gloo->getOptions()->global_ranks_in_group;
  for (int r = 0; r < gloo->getSize(); ++r) {
    if (r == gloo->getRank()) continue;
    ++out.all;
    for (const auto& context : Opened::contexts(*gloo)) {
      ::gloo::transport::Pair* const pair = context->getPair(r).get();
      if (pair == nullptr || !is_over_tcp(*pair)) continue;
      if ((static_cast<::gloo::transport::tcp::Pair*>(pair)->*is_connected)()) continue;
      out.ended.push_back(ranks.empty() ? r : static_cast<int64_t>(ranks[r]));
      break;
    }
  }
  return out;
}

}  // namespace weft::comm
