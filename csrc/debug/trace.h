#pragma once
// The record of collectives, and KERAS_DISTRIBUTION_DEBUG's lines of each kind the first time.
#include <weft/trace.h>

namespace weft {

/// Puts the observer in place; watches from the start where the log level is debug.
void install_trace();

}  // namespace weft
