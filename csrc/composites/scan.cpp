// Running sums and products along a split dimension, and the scatter that takes an entry for each chosen place.
#include <ATen/Functions.h>
#include <c10/util/Exception.h>

#include <limits>
#include <numeric>

#include "composites/arguments.h"
#include "composites/composites.h"
#include "composites/split_parts.h"
#include "redistribute/tensors.h"
#include "tensor/sharded.h"
#include "tensor/traced.h"

namespace weft::rules {

using Op = const c10::OperatorHandle&;

namespace {

struct Scan {
  at::Tensor (*along)(const at::Tensor& part, int64_t dim);  // in one part
  at::Tensor (*of)(const at::Tensor& totals);                // of [parts, ...]
  at::Tensor (*joined)(const at::Tensor& before, const at::Tensor& part);
  double of_nothing;
};

// Of each part the total is told to all: one gather of what is 1 long where the whole was gathered.
at::Tensor scanned(const Scan& scan, const at::Tensor& whole, at::ScalarType dtype, int64_t dim) {
  const SplitParts parts(whole, {dim});
  at::Tensor part = scan.along(parts.part().to(accumulation_type(dtype)), dim);
  const bool empty = parts.part().size(dim) == 0;
  const at::Tensor total =
      empty ? at::full(parts.row_sizes(), scan.of_nothing, part.options()) : part.narrow(dim, -1, 1);
  const at::Tensor totals = parts.gathered(total.unsqueeze(0)).select(1, 0);
  if (const int64_t before = parts.number(); before > 0) part = scan.joined(scan.of(totals.narrow(0, 0, before)), part);
  return parts.like_whole(part.to(dtype));
}

// cumsum, cumprod (self, dim, dtype), logcumsumexp (self, dim)
void run_scan(Op op, CompositeStack& stack, const Scan& scan) {
  Arguments a(op, stack);
  const at::Tensor x = a.tensor(0);
  const int64_t dim = wrapped_dims({a[1].toInt()}, x.dim()).at(0);
  const at::ScalarType own = at::isIntegralType(x.scalar_type(), /*includeBool=*/true) ? at::kLong : x.scalar_type();
  const at::ScalarType dtype = op.schema().arguments().size() > 2 ? a.dtype(2).value_or(own) : own;
  a.finish(scanned(scan, in_order(x, dim), dtype, dim));
}

}  // namespace

void run_cumsum(Op op, CompositeStack& stack) {
  run_scan(op, stack,
           {[](const at::Tensor& part, int64_t dim) { return part.cumsum(dim); },
            [](const at::Tensor& totals) { return totals.sum(0); },
            [](const at::Tensor& before, const at::Tensor& part) { return part + before; }, 0});
}

void run_cumprod(Op op, CompositeStack& stack) {
  run_scan(op, stack,
           {[](const at::Tensor& part, int64_t dim) { return part.cumprod(dim); },
            [](const at::Tensor& totals) { return totals.prod(0); },
            [](const at::Tensor& before, const at::Tensor& part) { return part * before; }, 1});
}

void run_logcumsumexp(Op op, CompositeStack& stack) {
  run_scan(op, stack,
           {[](const at::Tensor& part, int64_t dim) { return part.logcumsumexp(dim); },
            [](const at::Tensor& totals) { return totals.logcumsumexp(0).select(0, -1); },
            [](const at::Tensor& before, const at::Tensor& part) { return at::logaddexp(part, before); },
            -std::numeric_limits<double>::infinity()});
}

namespace {

// What a mask chooses, in parts by one dimension: `values` and `mask` broadcast.
struct Chosen {
  SplitParts values;
  at::Tensor mask;    // of this rank's part
  at::Tensor places;  // how many are chosen before each of its elements, of all parts
  at::Tensor all;     // how many are chosen
};

// The first dimension by which a tensor is split in order; -1: none.
int64_t first_split(const at::Tensor& t) {
  for (int64_t d = 0; holds_shards(t) && d < t.dim(); ++d) {
    if (t.size(d) > 1 && !sharded(t).layout()->dim(d).empty() && is_in_order(sharded(t).layout(), d)) return d;
  }
  return -1;
}

// Of each row of what lies along that dimension and those after it, the parts' counts are told to all.
Chosen chosen(const char* op, const at::Tensor& values, const at::Tensor& mask) {
  const auto sizes = at::infer_size(values.sizes(), mask.sizes());
  const auto ndim = static_cast<int64_t>(sizes.size());
  const at::Tensor& like = first_split(values) >= 0 ? values : mask;
  const int64_t first = first_split(like), dim = first + ndim - like.dim();
  TORCH_INTERNAL_ASSERT(first >= 0, "[", op, "] of tensors that are not split");
  TensorLayout::Dims dims(ndim);
  dims[dim] = sharded(like).layout()->dim(first);
  const Layout layout = TensorLayout::get(sharded(like).layout()->mesh(), std::move(dims));
  const auto part_of = [&](const at::Tensor& t, const char* name) {
    return lay_out_operand(t.expand(sizes), layout, op, name);
  };
  std::vector<int64_t> along(ndim - dim);
  std::iota(along.begin(), along.end(), dim);
  Chosen out{SplitParts(part_of(values, "self"), along), sharded(part_of(mask, "mask")).local(), {}, {}};
  const int64_t rows = c10::multiply_integers(sizes.begin(), sizes.begin() + dim);
  const at::Tensor own = out.mask.reshape({rows, rows == 0 ? 0 : out.mask.numel() / rows});
  const at::Tensor counts = out.values.gathered(own.sum(1).view(out.values.row_sizes()).unsqueeze(0)).flatten(1);
  const at::Tensor of_rows = counts.sum(0), earlier = counts.narrow(0, 0, out.values.number()).sum(0);
  const at::Tensor before = of_rows.cumsum(0).sub_(of_rows).add_(earlier);
  out.places = own.cumsum(1).sub_(1).add_(before.unsqueeze(1)).flatten();
  out.all = of_rows.sum();
  return out;
}

}  // namespace

// masked_scatter (self, mask, source)
void run_masked_scatter(Op op, CompositeStack& stack) {
  Arguments a(op, stack);
  const Chosen to = chosen("masked_scatter", a.tensor(0), a.tensor(1));
  const at::Tensor whole = a.tensor(2);
  const at::Tensor source = sharded(lay_out_operand(whole, TensorLayout::replicated(to.values.mesh(), whole.dim()),
                                                    "masked_scatter", "source"))
                                .local()
                                .flatten();
  // Known to all: a GPU is not waited for, whose kernel tells by itself.
  TORCH_CHECK(!to.all.is_cpu() || is_traced(to.all) || to.all.item<int64_t>() <= source.numel(),
              "[W068] [masked_scatter] Number of elements of source < number of ones in mask");
  at::Tensor part = to.values.part();
  if (source.numel() > 0) {
    const at::Tensor taken = source.index_select(0, to.places.clamp(0, source.numel() - 1));
    part = at::where(to.mask, taken.view(to.mask.sizes()), part);
  }
  a.finish(to.values.like_whole(part.contiguous()));
}

// masked_scatter_backward (grad, mask, sizes): the source's gradient
void run_masked_scatter_backward(Op op, CompositeStack& stack) {
  Arguments a(op, stack);
  const Chosen from = chosen("masked_scatter_backward", a.tensor(0), a.tensor(1));
  const std::vector<int64_t> sizes = a.ints(2);
  const int64_t numel = c10::multiply_integers(sizes);
  // One place more, for what is not chosen.
  const at::Tensor part = from.values.part().flatten();
  const at::Tensor places = at::where(from.mask.flatten(), from.places, numel);
  const at::Tensor sums = at::zeros({numel + 1}, part.options()).scatter_(0, places, part);
  a.finish(from.values.sum_of_parts(sums.narrow(0, 0, numel).view(sizes), sizes));
}

}  // namespace weft::rules
