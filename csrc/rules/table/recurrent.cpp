// Recurrent layers, and their steps, that core runs as one kernel: the batch is free.
#include "rules/bind_recurrent.h"
#include "rules/registry.h"

namespace weft::rules {

RULES(recurrent) {
  // One layer of an LSTM in one direction; its last result is the kernel's own memory, on each rank another.
  rule("mkldnn_rnn_layer",
       "t b i, w i, w h, w, w, b h, b h -> t b h, b h, b h, 1"
       ";  free b;  when has_biases;  whole t;  whole i;  whole h;  whole w");
  rule("mkldnn_rnn_layer",
       "t b i, w i, w h, w i, w h, b h, b h -> t b h, b h, b h, 1"
       ";  free b;  unless has_biases;  whole t;  whole i;  whole h;  whole w");
  rule("mkldnn_rnn_layer_backward", "the batch is free, split as forward's was", &bind_rnn_backward);
  // One step on a GPU, of the gates that products have made; its last result is what backward needs of them.
  rule("_thnn_fused_lstm_cell", "b w, b w, b h, ?w, ?w -> b h, b h, b w;  whole w;  whole h");
  rule("_thnn_fused_lstm_cell_backward_impl", "?b h, ?b h, b h, b h, b w -> b w, b h, w;  sum b;  whole w;  whole h");
  rule("_thnn_fused_gru_cell", "b w, b w, b h, ?w, ?w -> b h, b 1;  whole w;  whole h");
  rule("_thnn_fused_gru_cell_backward", "b h, b 1 -> b 1, b 1, b h, 1, 1;  sum b;  whole h");
}

}  // namespace weft::rules
