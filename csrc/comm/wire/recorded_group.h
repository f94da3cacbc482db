#pragma once
// The groups that compiled programs communicate over: of c10d's kind, so that its functional ops find them by their
// names, and over the engine's own collectives, which are counted, tagged, watched and traced as those of any op. A
// rank's number in such a group is its coordinate on the axis, whatever it is in the axis's own group.
#include <weft/mesh.h>

#include <string>

#include "tensor/identity.h"

namespace weft::comm {

/// What compiled programs, and what they ask for, are called where ranks that part are told of it.
constexpr const char* kCompiledProgram = "a compiled program";

/// Which program runs on this thread, or ran last, on which values: of what it sends and returns.
Identity running_program();
void set_running_program(Identity program);

/// The name of the group of that axis, by which c10d's registry has it from then on: the same on all ranks and in each
/// run of the program, as it stands in compiled code.
std::string recorded_group(Mesh mesh, int axis);

}  // namespace weft::comm
