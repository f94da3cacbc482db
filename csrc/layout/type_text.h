#pragma once
// Dtype, shape and layout in one short form, for errors and printing.
#include <c10/core/ScalarType.h>
#include <c10/util/ArrayRef.h>
#include <weft/layout.h>

#include <string>

namespace weft {

/// `f32[8@data, 4@model]{norm: sum}`: global lengths, each with the axes that split it (major first; `@data/2` in
/// blocks of two elements), then the axes over which a reduction is pending. Dtypes as in torch.fx's printed graphs.
/// @param layout  null: of a plain tensor, `f32[8, 4]`
std::string type_text(c10::ScalarType dtype, c10::IntArrayRef sizes, Layout layout);

/// The axes over which a reduction is pending: `{model: sum, data: sum}` in the mesh's order; empty: none.
std::string pending_text(const TensorLayout& layout);

}  // namespace weft
