#pragma once
// Between plain and sharded tensors, differentiably. The public names are in <weft/tensor.h>.
#include <ATen/core/Tensor.h>
#include <weft/tensor.h>
