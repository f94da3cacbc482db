#pragma once
#include "rules/bound.h"

namespace weft::rules {

/// mkldnn_rnn_layer_backward: its batch is split as forward's was, whose kernel's memory it is given.
bool bind_rnn_backward(const Call& call, BoundRule& bound, std::string& why);

}  // namespace weft::rules
