// Padding, resampling, and pixels that trade places with channels: batch and channels are free, spatial dimensions stay
// whole.
#include "rules/registry.h"

namespace weft::rules {

RULES(resampling) {
  rule(
      {"reflection_pad1d", "replication_pad1d", "upsample_nearest1d", "upsample_linear1d", "_upsample_nearest_exact1d"},
      "... x -> ... q;  whole x");
  rule({"reflection_pad1d_backward", "replication_pad1d_backward"},
       "... q, ... x -> ... x;  whole q;  whole x;  linear 0");
  rule({"upsample_nearest2d_backward", "upsample_bilinear2d_backward", "upsample_bicubic2d_backward",
        "_upsample_nearest_exact2d_backward", "_upsample_bilinear2d_aa_backward", "_upsample_bicubic2d_aa_backward"},
       "b c p q -> b c y x;  whole p;  whole q;  size b @input_size.0;  size c @input_size.1;  linear 0");
  rule({"upsample_nearest3d_backward", "upsample_trilinear3d_backward", "_upsample_nearest_exact3d_backward"},
       "b c o p q -> b c z y x;  whole o;  whole p;  whole q;  size b @input_size.0;  size c @input_size.1;  linear 0");
  rule({"upsample_nearest1d_backward", "upsample_linear1d_backward", "_upsample_nearest_exact1d_backward"},
       "b c q -> b c x;  whole q;  size b @input_size.0;  size c @input_size.1;  linear 0");
  rule({"grid_sampler_2d", "_grid_sampler_2d_cpu_fallback"}, "b c y x, b p q 1 -> b c p q;  whole y;  whole x");
  rule({"grid_sampler_2d_backward", "_grid_sampler_2d_cpu_fallback_backward"},
       "b c p q, b c y x, b p q 1 -> b c y x, b p q 1;  whole y;  whole x;  sum c;  sum p;  sum q");
  rule("affine_grid_generator", "b 1 1 -> b 1 1 1;  size b @size.0");
  rule("grid_sampler_3d", "b c z y x, b o p q 1 -> b c o p q;  whole z;  whole y;  whole x");
  rule("grid_sampler_3d_backward",
       "b c o p q, b c z y x, b o p q 1 -> b c z y x, b o p q 1;  whole z;  whole y;  whole x;  sum c;  sum o;  sum p;"
       "  sum q");
  rule("col2im", "b 1 l -> b 1 1 1;  whole l;  linear 0");
  rule({"pixel_shuffle", "pixel_unshuffle"}, "... c y x -> ... p q r;  whole c;  whole y;  whole x;  carry 0");
  rule("channel_shuffle", "b (g c) ... -> b (c g) ...;  size g @groups;  carry 0");
  rule("im2col", "b c y x -> b (c k) l;  whole y;  whole x;  linear 0");
  rule({"reflection_pad2d", "replication_pad2d", "upsample_nearest2d", "upsample_bilinear2d", "upsample_bicubic2d",
        "_upsample_nearest_exact2d", "_upsample_bilinear2d_aa", "_upsample_bicubic2d_aa"},
       "... y x -> ... p q;  whole y;  whole x");
  rule({"reflection_pad3d", "replication_pad3d", "upsample_nearest3d", "upsample_trilinear3d",
        "_upsample_nearest_exact3d"},
       "... z y x -> ... o p q;  whole z;  whole y;  whole x");
  rule({"reflection_pad2d_backward", "replication_pad2d_backward"},
       "... p q, ... y x -> ... y x;  whole p;  whole q;  whole y;  whole x;  linear 0");
  rule({"reflection_pad3d_backward", "replication_pad3d_backward"},
       "... o p q, ... z y x -> ... z y x;  whole o;  whole p;  whole q;  whole z;  whole y;  whole x;  linear 0");
}

}  // namespace weft::rules
