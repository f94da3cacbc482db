#pragma once
// Writing the files of a checkpoint, so that the folder always holds a whole one: the data have a new generation in
// their files' names, and the manifest, put in place last, says which counts.
#include <ATen/core/Tensor.h>

#include <functional>
#include <string>
#include <vector>

#include "checkpoint/box.h"
#include "checkpoint/contents.h"
#include "checkpoint/team.h"

namespace weft::checkpoint {

/// Elements of a tensor that this rank writes.
struct Piece {
  size_t group, tensor;  // in Contents
  Box box;               // this rank's part of the tensor
  Share share;           // of the part
  at::Tensor elements;   // consecutive ones of the part, among which the share's are
  int64_t first;         // of them, in the part
};

/// The elements of a rank's part that are its share: these alone where they lie in memory one after the other.
Piece piece_of(size_t group, size_t tensor, const at::Tensor& part, const Box& box, const Share& share);

/// Gives all of its tensors their files and places. Names, dtypes and shapes are set.
void lay_out_files(Contents& contents);

/// Makes the folder where it is not there, and says whether it was not. Raises where it cannot be, or cannot take a
/// checkpoint. One rank calls it.
bool make_folder(const std::string& folder);

using EachPiece = c10::function_ref<void(const Piece&)>;
/// Passes this rank's pieces on, one after the other.
using Pieces = std::function<void(EachPiece)>;

/// Lays out the files, writes the pieces and ends the save. Every rank calls it once the folder is there, with names,
/// dtypes and shapes of the tensors; where it fails on one rank all raise its error, and the folder holds what it held
/// before. No collectives but the exchange's.
void write(const std::string& folder, Contents contents, const Pieces& pieces, int64_t rank, const Exchange& exchange);

/// Removes the files of that generation. Raises nothing.
void discard(const std::string& folder, const std::string& generation) noexcept;

}  // namespace weft::checkpoint
