#pragma once
// A rank's part of a tensor as plain memory, for what reads and writes shards by itself.
#include <ATen/core/Tensor.h>

#include <string>

namespace weft::checkpoint {

/// Carries out what is pending in a tensor, for all of its aliases: a collective. It has its part without one then.
void finish_pending(const at::Tensor& tensor, const char* op);

/// Nothing is pending in it: a collective where something was. Of a plain tensor: all of it.
at::Tensor part_to_read(const at::Tensor& tensor);

/// Why a tensor's part cannot be filled; empty: it can. "a view whose data had to be moved"
std::string cannot_fill(const at::Tensor& tensor);

/// The same memory to be filled, which counts as a write from now on. Raises ValueError where it cannot be.
at::Tensor part_to_fill(const at::Tensor& tensor);

/// Does what follows any write in place.
void note_write(const at::Tensor& tensor);

}  // namespace weft::checkpoint
