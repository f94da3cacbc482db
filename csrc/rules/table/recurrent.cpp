// Recurrent layers that core runs as one kernel: the batch is free.
#include "rules/registry.h"

namespace weft::rules {

RULES(recurrent) {
  // One layer of an LSTM in one direction; its last result is the kernel's own memory.
  rule("mkldnn_rnn_layer",
       "t b i, w i, w h, w, w, b h, b h -> t b h, b h, b h, 1"
       ";  free b;  when has_biases;  whole t;  whole i;  whole h;  whole w");
  rule("mkldnn_rnn_layer",
       "t b i, w i, w h, w i, w h, b h, b h -> t b h, b h, b h, 1"
       ";  free b;  unless has_biases;  whole t;  whole i;  whole h;  whole w");
  rule("mkldnn_rnn_layer_backward",
       "t b i, w i, w h, w, w, b h, b h, t b h, b h, b h, ?t b h, ?b h, ?b h, 1"
       " -> t b i, w i, w h, w, w, b h, b h"
       ";  sum b;  whole t;  whole i;  whole h;  whole w;  when has_biases");
  rule("mkldnn_rnn_layer_backward",
       "t b i, w i, w h, w i, w h, b h, b h, t b h, b h, b h, ?t b h, ?b h, ?b h, 1"
       " -> t b i, w i, w h, w, w, b h, b h"
       ";  sum b;  whole t;  whole i;  whole h;  whole w;  unless has_biases");
}

}  // namespace weft::rules
