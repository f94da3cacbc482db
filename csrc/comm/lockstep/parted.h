#pragma once
// What is said of ranks, and of those that have parted. Internal to comm/.
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "comm/lockstep/failure_log.h"
#include "comm/lockstep/recent_calls.h"

namespace weft::comm {

/// "rank 2", or "ranks 1, 2".
std::string named(const std::vector<int64_t>& ranks);

/// The ranks that rank `rank` of `ranks` looks at: those at distances that are powers of two to both sides.
std::vector<int64_t> looked_at_by(int64_t rank, int64_t ranks);

/// The ranks of the world that this one waits for in `call` and looks at, itself left out.
std::vector<int64_t> waited_for(const Call& call, int64_t rank, int64_t world_size);

/// "the ranks ask for different collectives: …": calls number `difference.number` of the two ranks.
Failure differing(const RecentCalls::Difference& difference, const std::string& first_op, int64_t rank, int64_t other);

/// "rank 2 has not come to …": by one that waits in `call`, whose number is `number`; `before` is the one before it.
Failure missing(const std::vector<int64_t>& ranks, int64_t number, const Call& call, const std::string& before,
                const std::string& why);

/// The same as above, where nobody is known to be missing.
Failure broken(int64_t number, const Call& call, const std::string& why);

/// The first line of a backend's text, without its position in the backend's source.
std::string reason(const std::string& what);

}  // namespace weft::comm
