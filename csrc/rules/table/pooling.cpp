// Pooling: batch and channels are free. Windows reach into the neighbours' rows; where they follow from the lengths,
// spatial dimensions stay whole.
#include "rules/registry.h"

namespace weft::rules {

RULES(pooling) {
  rule("avg_pool2d", "... y x -> ... y x;  halo y average;  halo x average");
  rule("avg_pool2d_backward", "... y x, #... y x -> ... y x;  halo y average;  halo x average;  linear 0");
  rule("avg_pool3d", "... z y x -> ... z y x;  halo z average;  halo y average;  halo x average");
  rule("avg_pool3d_backward",
       "... z y x, #... z y x -> ... z y x;  halo z average;  halo y average;  halo x average;  linear 0");
  rule("max_pool2d_with_indices", "... y x -> ... y x, ... y x;  halo y maximum;  halo x maximum");
  rule("max_pool2d_with_indices_backward",
       "... y x, #... y x, ... y x -> ... y x;  halo y maximum;  halo x maximum;  linear 0");
  rule("max_pool3d_with_indices",
       "... z y x -> ... z y x, ... z y x;  halo z maximum;  halo y maximum;  halo x maximum");
  rule("max_pool3d_with_indices_backward",
       "... z y x, #... z y x, ... z y x -> ... z y x;  halo z maximum;  halo y maximum;  halo x maximum;  linear 0");

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
