#include "base/installed.h"

#include <c10/util/Exception.h>

#include <utility>

#include "base/error_codes.h"

namespace weft {
namespace {

std::string& error() {
  static auto* text = new std::string("it is still loading");
  return *text;
}

}  // namespace

void set_install_error(std::string reason) { error() = std::move(reason); }

void require_installed() {
  TORCH_CHECK(error().empty(), coded("W001", "weft is not active in this process: " + error()));
}

}  // namespace weft
