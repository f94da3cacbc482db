// Convolution: the batch is free, windows reach into the neighbours' rows.
#include "rules/registry.h"

namespace weft::rules {

RULES(convolution) {
  // Of one, two and three dimensions; the weight of a transposed convolution has the channels the other way round.
  rule("convolution",
       "b (g i) x, (g o) i 1, +?(g o) -> b (g o) x"
       ";  sum i;  halo x convolution;  size g @groups;  linear 0|1;  unless transposed");
  rule("convolution",
       "b (g i) x, (g i) o 1, +?(g o) -> b (g o) x"
       ";  sum i;  halo x convolution;  size g @groups;  linear 0|1;  when transposed");
  rule("convolution",
       "b (g i) y x, (g o) i 1 1, +?(g o) -> b (g o) y x"
       ";  sum i;  halo y convolution;  halo x convolution;  size g @groups;  linear 0|1;  unless transposed");
  rule("convolution",
       "b (g i) y x, (g i) o 1 1, +?(g o) -> b (g o) y x"
       ";  sum i;  halo y convolution;  halo x convolution;  size g @groups;  linear 0|1;  when transposed");
  rule("convolution",
       "b (g i) z y x, (g o) i 1 1 1, +?(g o) -> b (g o) z y x"
       ";  sum i;  halo z convolution;  halo y convolution;  halo x convolution;  size g @groups;  linear 0|1"
       ";  unless transposed");
  rule("convolution",
       "b (g i) z y x, (g i) o 1 1 1, +?(g o) -> b (g o) z y x"
       ";  sum i;  halo z convolution;  halo y convolution;  halo x convolution;  size g @groups;  linear 0|1"
       ";  when transposed");
  rule("convolution_backward",
       "b (g o) x, b (g i) x, (g o) i 1 -> b (g i) x, (g o) i 1, (g o)"
       ";  sum b;  sum o;  free i;  sum x;  halo x convolution;  size g @groups;  size g o @bias_sizes"
       ";  unless transposed");
  rule("convolution_backward",
       "b (g o) x, b (g i) x, (g i) o 1 -> b (g i) x, (g i) o 1, (g o)"
       ";  sum b;  sum o;  free i;  sum x;  halo x convolution;  size g @groups;  size g o @bias_sizes"
       ";  when transposed");
  rule("convolution_backward",
       "b (g o) y x, b (g i) y x, (g o) i 1 1 -> b (g i) y x, (g o) i 1 1, (g o)"
       ";  sum b;  sum o;  free i;  sum y;  sum x;  halo y convolution;  halo x convolution;  size g @groups"
       ";  size g o @bias_sizes;  unless transposed");
  rule("convolution_backward",
       "b (g o) y x, b (g i) y x, (g i) o 1 1 -> b (g i) y x, (g i) o 1 1, (g o)"
       ";  sum b;  sum o;  free i;  sum y;  sum x;  halo y convolution;  halo x convolution;  size g @groups"
       ";  size g o @bias_sizes;  when transposed");
  rule("convolution_backward",
       "b (g o) z y x, b (g i) z y x, (g o) i 1 1 1 -> b (g i) z y x, (g o) i 1 1 1, (g o)"
       ";  sum b;  sum o;  free i;  sum z;  sum y;  sum x;  halo z convolution;  halo y convolution"
       ";  halo x convolution;  size g @groups;  size g o @bias_sizes;  unless transposed");
  rule("convolution_backward",
       "b (g o) z y x, b (g i) z y x, (g i) o 1 1 1 -> b (g i) z y x, (g i) o 1 1 1, (g o)"
       ";  sum b;  sum o;  free i;  sum z;  sum y;  sum x;  halo z convolution;  halo y convolution"
       ";  halo x convolution;  size g @groups;  size g o @bias_sizes;  when transposed");
}

}  // namespace weft::rules
