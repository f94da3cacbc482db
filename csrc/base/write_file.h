#pragma once
// Files that a program asks for: plan files, costs, traces, pictures.
#include <string>
#include <string_view>

namespace weft {

/// Writes a file that holds this alone. One that is there is replaced in one step, so that processes may write to one
/// path at the same time, and after an error it is as it was; a link goes on naming it. What is no file (a pipe, a
/// device) is written itself. Raises ValueError, which names the path as it is given.
void write_file(const std::string& path, std::string_view content);

}  // namespace weft
