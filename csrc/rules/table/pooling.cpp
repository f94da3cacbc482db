// Pooling: batch and channels are free. Windows reach into the neighbours' rows; where they follow from the lengths,
// spatial dimensions stay whole.
#include "rules/registry.h"

namespace weft::rules {

RULES(pooling) {
  for (const std::string dims : {"y x", "z y x"}) {
    std::string average, maximum;
    for (const char d : dims) {
      if (d == ' ') continue;
      average += std::string(";  halo ") + d + " average";
      maximum += std::string(";  halo ") + d + " maximum";
    }
    const std::string n = dims == "y x" ? "2d" : "3d", planes = "... " + dims;
    rule("avg_pool" + n, planes + " -> " + planes + average);
    rule("avg_pool" + n + "_backward", planes + ", #" + planes + " -> " + planes + average + ";  linear 0");
    rule("max_pool" + n + "_with_indices", planes + " -> " + planes + ", " + planes + maximum);
    rule("max_pool" + n + "_with_indices_backward",
         planes + ", #" + planes + ", " + planes + " -> " + planes + maximum + ";  linear 0");
  }

  rule("max_unpool2d", "... y x, ... y x -> ... p q;  whole y;  whole x");
  rule("max_unpool3d", "... z y x, ... z y x -> ... o p q;  whole z;  whole y;  whole x");
  rule("adaptive_max_pool2d", "... y x -> ... p q, ... p q;  whole y;  whole x");
  rule("adaptive_max_pool3d", "... z y x -> ... o p q, ... o p q;  whole z;  whole y;  whole x");
  rule("fractional_max_pool2d", "b c y x, b c 1 -> b c p q, b c p q;  whole y;  whole x");
  rule("fractional_max_pool2d_backward",
       "b c p q, b c y x, b c p q -> b c y x;  whole p;  whole q;  whole y;  whole x");
  rule("fractional_max_pool3d", "b c z y x, b c 1 -> b c o p q, b c o p q;  whole z;  whole y;  whole x");
  rule("fractional_max_pool3d_backward",
       "b c o p q, b c z y x, b c o p q -> b c z y x;  whole o;  whole p;  whole q;  whole z;  whole y;  whole x");
  rule("adaptive_max_pool2d_backward",
       "... p q, ... y x, ... p q -> ... y x;  whole p;  whole q;  whole y;  whole x;  linear 0");
  rule("adaptive_max_pool3d_backward",
       "... o p q, ... z y x, ... o p q -> ... z y x;  whole o;  whole p;  whole q;  whole z;  whole y;  whole x;"
       "  linear 0");
  rule("_adaptive_avg_pool2d", "... y x -> ... p q;  whole y;  whole x");
  rule("_adaptive_avg_pool3d", "... z y x -> ... o p q;  whole z;  whole y;  whole x");
  rule("_adaptive_avg_pool2d_backward",
       "... p q, ... y x -> ... y x;  whole p;  whole q;  whole y;  whole x;  linear 0");
  rule("_adaptive_avg_pool3d_backward",
       "... o p q, ... z y x -> ... z y x;  whole o;  whole p;  whole q;  whole z;  whole y;  whole x;  linear 0");
}

}  // namespace weft::rules
