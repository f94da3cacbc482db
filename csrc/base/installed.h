#pragma once
// Whether this copy of the library is the one that the dispatcher knows.
#include <string>

#include "base/installed.h"

namespace weft {

/// Told once at load: empty, or why the handler could not be registered.
void set_install_error(std::string reason);
/// Raises RuntimeError with the reason where it could not.
void require_installed();

}  // namespace weft
