#pragma once
// This rank's share of what is saved, in an order and of a form that the files take quickly.
#include <vector>

#include "checkpoint/sources.h"
#include "checkpoint/team.h"
#include "checkpoint/writer.h"

namespace weft::checkpoint {

/// Passes the pieces on that this rank writes at once. A collective where a tensor's parts have to be put together.
void each_piece_now(const std::vector<Source>& sources, const Exchange& exchange, EachPiece each);

/// The same of those that it copies, and writes in the background, where short runs cost nobody but for very many.
void each_piece_to_copy(const std::vector<Source>& sources, EachPiece each);

}  // namespace weft::checkpoint
