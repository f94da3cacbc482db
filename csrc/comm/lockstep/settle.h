#pragma once
// Where messages have no tags, as NCCL's have none, ranks that part exchange each other's data unseen, or wait in a
// kernel. There each collective is only put down, and before a value leaves to the user the ranks meet, by way of a
// backend whose messages have tags, under the hash of all that was put down: those that have parted do not meet, and
// are told as where they wait for a collective (comm/lockstep/failure.h). A barrier is ceil(log2(ranks)) messages a
// rank.
namespace c10d {
class Backend;
}

namespace weft::comm {

/// A collective is issued on that backend, on a device of that kind.
void note_issued(c10d::Backend& backend);

/// Makes sure that all ranks have issued the same collectives so far. Costs nothing where all were tagged, or nothing
/// was issued since the last time. Raises the same error on all ranks where they have parted.
void settle();

/// The same, not waited for: the next one does. At the end of a backward pass, so that an optimizer's step is sure of
/// its gradients by the next one without having waited for the ranks to meet.
void begin_settling();

/// After the ranks have parted: ends what still runs on backends without tags, whose kernels would wait for ever.
void abort_untagged();

}  // namespace weft::comm
