#pragma once
// Setting up the processes of a job.
#include <weft/export.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

namespace weft {

/// Joins this process to its job, over Gloo; as keras.distribution.initialize. Call it once, before the model is made:
/// every rank then has rank 0's random state.
/// @param job_addresses "host:port" of process 0, or of each process with commas between
/// @param num_processes how many there are
/// @param process_id    which one this is, from 0
/// @param timeout       how long a collective may take, 1 ms to 24 days; where it was never given as long as the group
///                      waits, which is 30 minutes for one that is made here
/// @param first_timeout the same for what precedes the end of the world's first one: ranks compile and load for
///                      different times
/// What is not given is taken from KERAS_DISTRIBUTION_JOB_ADDRESSES, KERAS_DISTRIBUTION_NUM_PROCESSES and
/// KERAS_DISTRIBUTION_PROCESS_ID, else from torchrun's MASTER_ADDR and MASTER_PORT, WORLD_SIZE and RANK. With none of
/// them set, the process is a world of its own. Raises ValueError where some are set and others not, or a value makes
/// no sense. Where the process is initialized as that already, the time-outs alone are set.
WEFT_API void initialize(std::optional<std::string> job_addresses = std::nullopt,
                         std::optional<int64_t> num_processes = std::nullopt,
                         std::optional<int64_t> process_id = std::nullopt,
                         std::optional<std::chrono::milliseconds> timeout = std::nullopt,
                         std::optional<std::chrono::milliseconds> first_timeout = std::nullopt);

/// Takes a process group that torch.distributed made, by the name that it goes by there, as the world.
WEFT_API void set_world(const std::string& group_name);

/// Sets the time-outs that are given, as `initialize` does, also of a world that is there: its backends then have the
/// longer one for all that goes over them.
WEFT_API void set_timeouts(std::optional<std::chrono::milliseconds> timeout,
                           std::optional<std::chrono::milliseconds> first_timeout);

/// This process's number in the world, and the number of processes there.
WEFT_API int64_t rank();
WEFT_API int64_t world_size();

}  // namespace weft
