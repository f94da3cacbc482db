#pragma once
// Making, reading and laying out sharded tensors. All are differentiable, and every rank of the mesh calls them alike.
#include <ATen/core/Tensor.h>
#include <weft/layout.h>

#include <optional>
#include <vector>

namespace weft {

/// A sharded tensor with the given value. A plain tensor is taken to be the same on all ranks: each keeps its part and
/// nothing moves. A sharded tensor is redistributed; to another mesh by way of the whole value. Shape, dtype and device
/// as `tensor`.
/// Raises ValueError where the layout's rank differs from the tensor's, or the ranks pass different tensors (shape,
/// strides, dtype, requires_grad) or layouts; a sharded tensor's are compared when it is first sent from its layout to
/// that one, which costs a small collective.
WEFT_API at::Tensor distribute_tensor(const at::Tensor& tensor, Layout layout);

/// The full value as a plain tensor on every rank, which shares no memory with the sharded one (a collective unless
/// that is replicated). A plain tensor is returned as it is.
WEFT_API at::Tensor full_tensor(const at::Tensor& tensor);

/// This rank's part as a plain tensor that shares the shard's memory; pending parts as they are. A plain tensor is
/// returned as it is. The gradient of the part is taken to be laid out as the tensor. Needs no other rank, unless the
/// value is still on its way (a gradient, a view of rows of other ranks): then every rank calls it.
WEFT_API at::Tensor local_tensor(const at::Tensor& tensor);

/// A sharded tensor from each rank's part. `shape` is the full tensor's; none: told by the parts, which then must be as
/// torch.chunk would cut the full tensor. It lies in memory as the part of the mesh's first rank does; parts that lie
/// otherwise are copied, of the others the memory is shared. Two small collectives. Raises ValueError, on all ranks,
/// where the parts do not make up the full tensor.
WEFT_API at::Tensor from_local(const at::Tensor& local, Layout layout,
                               std::optional<std::vector<int64_t>> shape = std::nullopt);

/// Whether it has a layout, a replicated or pending one included.
WEFT_API bool is_sharded(const at::Tensor& tensor);
/// Raises ValueError for a plain tensor.
WEFT_API Layout layout_of(const at::Tensor& tensor);
/// The variable path the tensor was tagged with; empty: none.
WEFT_API std::string path_of(const at::Tensor& tensor);
WEFT_API void set_path(const at::Tensor& tensor, const std::string& path);

}  // namespace weft
