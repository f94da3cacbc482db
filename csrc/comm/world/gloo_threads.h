#pragma once
// Gloo's thread that watches the sockets, beside those that compute and send. A message wakes it, and where cores are
// few the kernel lets it preempt the very thread that is sending and holds the lock of the pair: it then asks epoll
// over and over, some thousand times a step, until its slice is over and the sender goes on.

namespace weft::comm {

/// Lets that thread of each Gloo device which this process has begin only when a core is free or the tick says so, as
/// Linux's SCHED_BATCH does: it preempts nobody where it is woken. Unprivileged; does nothing where the kernel refuses
/// it, where the thread has another policy than the usual one, or where the thread has no name (torch before 2.15).
void let_gloo_wait_its_turn();

}  // namespace weft::comm
