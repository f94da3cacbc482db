#include "redistribute/gather_kept.h"

#include <algorithm>

namespace weft {

void KeptGathers::add(const std::vector<GatherRequest>& requests) {
  const GatherRequest& request = requests.back();
  const auto same =
      std::find_if(requests.begin(), requests.end(), [&](const auto& r) { return r.same_gather(request); });
  same_.push_back(static_cast<Number>(same - requests.begin()));
  again_.push_back(false);
  if (request.is_backward()) again_[same_.back()] = true;
}

void KeptGathers::keep(Number number, const Moment& moment, const at::Tensor& gathered) {
  Kept& kept = kept_[same_[number]];
  kept = {moment, gathered, kept.uses + 1};
}

at::Tensor KeptGathers::take(const GatherRequest& request, Number number, const ShardedTensorImpl& operand) {
  const auto found = kept_.find(same_[number]);
  if (found == kept_.end()) return {};
  Kept& kept = found->second;
  if (!request.is_current(operand, kept.moment)) {
    kept_.erase(found);
    return {};
  }
  at::Tensor result = request.result(kept.gathered);
  if (request.is_forward()) ++kept.uses;
  if (request.is_backward() && --kept.uses == 0) kept_.erase(found);
  return result;
}

}  // namespace weft
