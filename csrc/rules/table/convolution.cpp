// Convolution: the batch is free, windows reach into the neighbours' rows.
#include "rules/registry.h"

namespace weft::rules {

RULES(convolution) {
  for (const std::string dims : {"x", "y x", "z y x"}) {
    std::string halo, sum, ones;
    for (const char d : dims) {
      if (d == ' ') continue;
      halo.append(";  halo ").append(1, d).append(" convolution");
      sum.append(";  sum ").append(1, d);
      ones += " 1";
    }
    for (const bool transposed : {false, true}) {
      const std::string weight = (transposed ? "(g i) o" : "(g o) i") + ones;
      const std::string when = transposed ? ";  when transposed" : ";  unless transposed";
      rule("convolution", "b (g i) " + dims + ", " + weight + ", +?(g o) -> b (g o) " + dims + ";  sum i" + halo +
                              ";  size g @groups;  linear 0|1" + when);
      rule("convolution_backward", "b (g o) " + dims + ", b (g i) " + dims + ", " + weight + " -> b (g i) " + dims +
                                       ", " + weight + ", (g o);  sum b;  sum o;  free i" + sum + halo +
                                       ";  size g @groups;  size g o @bias_sizes" + when);
    }
  }
}

}  // namespace weft::rules
