#pragma once
// What the ranks of a save or a load tell each other: small texts, and errors, which all of them raise.
#include <c10/util/FunctionRef.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace weft::checkpoint {

/// Every rank's text, by rank. All ranks call it alike.
using Exchange = std::function<std::vector<std::string>(const std::string& mine)>;

/// Exchanges by collectives of the world.
Exchange exchange_by_collectives();
/// Makes a connection to the world's store for the exchanges by it, unless there is one. May fail on one rank alone.
void connect_to_store(const std::string& what);
/// Through that connection: from any thread, and beside collectives. All ranks pass the same `name`, which no exchange
/// had before. Where a rank ends, all others raise an error that names `what`: soon after its process has ended on
/// their own machine; on another one when it gives no signs of life, which it does while its exchange exists.
Exchange exchange_by_store(const std::string& name, const std::string& what);

/// Every rank's result of `part`, which is not zero, in the one collective that compares `words` (comm::check_same)
/// before. Where it fails on one rank all raise its error.
std::vector<int64_t> together_same(const std::vector<int64_t>& words, const std::string& what,
                                   c10::function_ref<int64_t()> part);

/// Every rank's result of `part`. Where it fails on one rank all raise its error, which names the rank unless all have
/// the same.
std::vector<std::string> together(const Exchange& exchange, c10::function_ref<std::string()> part);

}  // namespace weft::checkpoint
