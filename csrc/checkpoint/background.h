#pragma once
// Saves that go on while the program does: one at a time, each on a thread of its own.
#include <weft/checkpoint.h>

#include <functional>
#include <memory>

namespace weft::checkpoint {

/// Waits for the save before, if there is one. Its error is its own handle's.
void finish_save();

/// The same of all ranks that this process is.
void finish_all_saves();

/// Runs it on a thread. The program's end waits for it.
/// @param memory  kept as long as the handle is
PendingSave start_save(std::function<void()> save, std::shared_ptr<void> memory);

/// One that has ended well.
PendingSave ended_save();

}  // namespace weft::checkpoint
