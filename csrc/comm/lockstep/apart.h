#pragma once
// What one rank does by itself, while the others go on: it looks at steps over a simulated mesh.

namespace weft::comm {

/// Between begin and end an error of this thread is told to nobody, as no other rank waits for what failed. They nest.
void begin_apart();
void end_apart();

}  // namespace weft::comm
