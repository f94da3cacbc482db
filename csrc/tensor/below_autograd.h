#pragma once
// Where local shards are computed on: below autograd, version counting and autocast, which ran above on the full
// tensor.
#include <c10/core/impl/LocalDispatchKeySet.h>

namespace weft {

class BelowAutograd {
  c10::impl::ExcludeDispatchKeyGuard guard_{c10::autograd_dispatch_keyset_with_ADInplaceOrView |
                                            c10::autocast_dispatch_keyset};
};

}  // namespace weft
