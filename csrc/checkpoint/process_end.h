#pragma once
// Processes of one machine see each other's end at once, without a message.
#include <string>

namespace weft::checkpoint {

/// This process as others can look for it; empty where the system does not tell.
std::string this_process();
/// Whether that process has ended; false where it cannot be told, as on another machine.
bool has_ended(const std::string& process);

}  // namespace weft::checkpoint
