#include "rules/bind_recurrent.h"

#include "rules/op_info.h"
#include "rules/rule.h"

namespace weft::rules {

bool bind_rnn_backward(const Call& call, BoundRule& bound, std::string& why) {
  static const auto of = [](const std::string& biases) {
    return parse("t b i, w i, w h, " + biases +
                 ", b h, b h, t b h, b h, b h, ?t b h, ?b h, ?b h, 1 -> t b i, w i, w h, w, w, b h, b h"
                 ";  sum b;  whole t;  whole i;  whole h;  whole w");
  };
  static const Rule with_biases = of("w, w"), without = of("w i, w h");  // in whose place are the weights again
  if (!bind(call.flag("has_biases") ? with_biases : without, call, bound, why)) return false;
  bound.tensors[call.tensor("output")].stays = true;
  return true;
}

}  // namespace weft::rules
