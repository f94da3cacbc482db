// Normalizations. Where the dimension of the statistics arrives split a composite computes them over all shards.
#include "rules/registry.h"

namespace weft::rules {

RULES(norm) {
  rule("native_layer_norm",
       "... n@normalized_shape, ?n@normalized_shape, ?n@normalized_shape"
       " -> ... n@normalized_shape, ... 1@normalized_shape, ... 1@normalized_shape;  whole n via layer_norm");
  rule("native_layer_norm_backward",
       "... n@normalized_shape, ... n@normalized_shape, ... 1@normalized_shape, ... 1@normalized_shape,"
       " ?n@normalized_shape, ?n@normalized_shape"
       " -> ... n@normalized_shape, n@normalized_shape, n@normalized_shape;"
       "  sum ...;  whole n via layer_norm_backward");
  rule("_fused_rms_norm",
       "... n@normalized_shape, ?n@normalized_shape -> ... n@normalized_shape, ... 1@normalized_shape;"
       "  whole n via rms_norm");
  rule("_fused_rms_norm_backward",
       "... n@normalized_shape, ... n@normalized_shape, ... 1@normalized_shape, ?n@normalized_shape"
       " -> ... n@normalized_shape, n@normalized_shape;  sum ...;  whole n via rms_norm_backward");
  // The norms are over all dimensions but the first, or the last.
  rule("_weight_norm_interface", "c ..., c ... -> c ..., c ...;  whole ...;  when dim=0");
  rule("_weight_norm_interface", "... c, ... c -> ... c, ... c;  whole ...;  when dim");
  rule("_weight_norm_interface_backward",
       "c ..., c ..., c ..., c ... -> c ..., c ...;  whole ...;  linear 0;  when dim=0");
  rule("_weight_norm_interface_backward",
       "... c, ... c, ... c, ... c -> ... c, ... c;  whole ...;  linear 0;  when dim");
  rule("native_group_norm",
       "b (g i) ..., ?(g i), ?(g i) -> b (g i) ..., b g, b g;  whole i via group_norm;  whole ... via group_norm;"
       "  size b @N;  size g @group;  size g i @C");
  rule("native_group_norm_backward",
       "b (g i) ..., b (g i) ..., b g, b g, ?(g i) -> b (g i) ..., (g i), (g i);  sum b;"
       "  whole i via group_norm_backward;  whole ... via group_norm_backward;"
       "  size b @N;  size g @group;  size g i @C");
  rule({"native_batch_norm", "_native_batch_norm_legit"},
       "b c ..., ?c, ?c, ?c, ?c -> b c ..., c, c;  whole b via batch_norm;  whole ... via batch_norm;  when training");
  rule({"native_batch_norm", "_native_batch_norm_legit"},
       "b c ..., ?c, ?c, ?c, ?c -> b c ..., 1, 1;  free b;  free ...;  free c;  unless training");
  rule("_native_batch_norm_legit_no_training", "b c ..., ?c, ?c, ?c, ?c -> b c ..., 1, 1;  free b;  free ...;  free c");
  rule("native_batch_norm_backward",
       "b c ..., b c ..., ?c, ?c, ?c, ?c, ?c -> b c ..., c, c;  whole b via batch_norm_backward;"
       "  whole ... via batch_norm_backward;  when train");
  rule("native_batch_norm_backward",
       "b c ..., b c ..., ?c, ?c, ?c, ?c, ?c -> b c ..., c, c;  sum b;  sum ...;  unless train");
}

}  // namespace weft::rules
