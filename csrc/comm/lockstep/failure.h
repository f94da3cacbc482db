#pragma once
// A kernel may refuse values that one rank alone holds (an index out of range). That rank raises and issues none of the
// collectives that the others go on to. It writes the failure into a log in the world's store; who waits for a
// collective for long reads the log, and raises the same error where it has passed the point of the failure without
// having failed itself. Points of the program are told apart by the number of collectives asked for before, which all
// ranks count alike. Where all ranks fail alike at a point they are still in step: each makes sure of that before its
// next collective, the only time when one that failed waits for what the others write.
//
// Ranks that are given different layouts, or take different branches, ask for different collectives. Where messages
// carry what they belong to (comm/lockstep/message_tag.h) they wait for ever. Who waits for long tells in the store
// which ones it asked for, and the ranks have parted where those differ. Where the backend gives up, as a rank has
// ended or its time is over, those that have not come are named. Each looks at O(log n) others: those at distances that
// are powers of two, among which are its neighbours, one of which sees any difference there is.
//
// Before the world is split for a mesh, where the backend waits blindly, the ranks meet in the store. Else nothing here
// touches the store while no kernel throws and no collective takes long.
#include <weft/layout.h>

#include <cstdint>
#include <exception>
#include <string>

#include "comm/lockstep/event.h"

namespace c10d {
class Backend;
class Work;
}  // namespace c10d

namespace weft::comm {

/// Tells the other ranks of the exception that is being handled, and says in it that they are told; not of one that all
/// ranks raise. `in_collective`: it is this rank's part in the last collective that has failed.
void report_failure(const std::string& op, bool in_collective = false);

/// Runs the kernel of an op on this rank's own data.
template <class Kernel>
void run_local(const std::string& op, Kernel&& kernel) {
  try {
    kernel();
  } catch (...) {
    report_failure(op);
    throw;
  }
}

/// Every rank calls it for every collective, before its own part. Raises where the ranks have parted.
void count_collective(const Event& event);
/// The fingerprint of the collective that this thread counted last.
uint64_t asked();
/// A hash of all that this rank has asked for.
uint64_t all_asked();

/// After the backend refused a collective or gave it up, for the reason given: raises the error of those that failed,
/// else one that names who has not come.
[[noreturn]] void raise_lost(const std::string& why);

/// Issues a collective. Where the backend refuses, as those that failed have left, their error is raised.
template <class Call>
auto issue(Call&& call) {
  try {
    return call();
  } catch (const std::exception& e) {
    raise_lost(e.what());
  }
}

/// Waits for the work of a collective. `watched`: the backend that does it, if its wait blocks the host until the work
/// is done (Gloo's does); while that takes long the log is read, and the connections are looked at. Null: NCCL's only
/// makes the stream wait, and is left alone.
void wait_for(c10d::Work& work, c10d::Backend* watched);

}  // namespace weft::comm
