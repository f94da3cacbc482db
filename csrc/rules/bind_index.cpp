// index, index_put and factories: rules that depend on arguments in their own ways.
#include "rules/bind_index.h"

#include <algorithm>

#include "rules/op_info.h"

namespace weft::rules {
namespace {

BoundRule::Tensor unruled(const TensorInfo& t) {
  BoundRule::Tensor out;
  out.ruled = false;
  out.dims.resize(t.geometry.sizes.size());
  return out;
}

bool is_mask(const TensorInfo& t) { return t.dtype == at::kBool || t.dtype == at::kByte; }

// self, one mask over some of its dimensions, values that are the same for all places that it chooses: each rank
// writes to its own.
bool bind_masked_write(const Call& call, size_t mask, BoundRule& bound) {
  const TensorInfo &self = call.tensors[0], &chosen = call.tensors[mask];
  const int v = call.tensor("values");
  const TensorInfo& values = call.tensors[v];
  const int64_t from = chosen.element, to = from + chosen.ndim();
  std::vector<int> written;  // factors of what is written; -1: the places
  for (const TensorInfo& t : call.tensors) bound.tensors.push_back(unruled(t));
  for (const auto& [i, operand] : {std::pair<size_t, int>{0, 0}, {mask, 1}, {static_cast<size_t>(v), 2}}) {
    bound.tensors[i].ruled = true;
    bound.tensors[i].operand = operand;
  }
  bound.results.resize(call.results.size());
  for (auto& r : bound.results) r.operand = 0;
  for (int64_t d = 0; d < self.ndim(); ++d) {
    const int factor = bound.add_factor(self.geometry.sizes[d]);
    bound.tensors[0].dims[d].push_back(factor);
    for (auto& r : bound.results) r.dims.push_back({factor});
    if (d == from) written.push_back(-1);
    if (d >= from && d < to) {
      bound.tensors[mask].dims[d - from].push_back(factor);
    } else {
      written.push_back(factor);
    }
  }
  for (int64_t d = 0; d < values.ndim(); ++d) {
    const int64_t s = d + static_cast<int64_t>(written.size()) - values.ndim(), size = values.geometry.sizes[d];
    if (size == 1) continue;
    if (s < 0 || written[s] < 0 || size != bound.factors[written[s]].size) return false;
    bound.tensors[v].dims[d].push_back(written[s]);
  }
  finish(call, bound);
  return true;
}

// self, indices (a list with gaps; of index_select one of no more than a dimension), for index_put also values.
// Dimensions without an index are free.
class Indexing {
 public:
  Indexing(const Call& call, BoundRule& bound)
      : call_(call),
        bound_(bound),
        one_(call.op.argument("indices") < 0),
        indices_(call.op.argument(one_ ? "index" : "indices")) {
    if (one_) index_rank_ = 1;
    for (size_t i = 0; i < call.tensors.size(); ++i) {
      if (call.tensors[i].argument != indices_ || !call.tensors[i].defined) continue;
      given_.push_back(i);
      if (is_mask(call.tensors[i])) masks_.push_back(i);
      index_rank_ = std::max(index_rank_, call.tensors[i].ndim());
      indexed_.push_back(one_ ? static_cast<int>(call.dims("dim", self_.ndim())[0]) : call.tensors[i].element);
    }
  }

  bool run(std::string& why) {
    const int values = call_.tensor("values");
    if (!masks_.empty()) {
      const bool one = values >= 0 && given_.size() == 1 && call_.tensors[masks_[0]].ndim() > 0;
      if (one && bind_masked_write(call_, masks_[0], bound_)) return true;
      why = "its result's shape depends on a mask's values";
      return false;
    }
    place_self();
    place_indices();
    find_shape();
    bound_.results.resize(call_.results.size());
    for (auto& r : bound_.results) r.operand = 0;
    if (values >= 0) {
      if (!write(values)) {
        why = "its values do not fit where they are written";
        return false;
      }
    } else if (!read()) {
      why = "its indices have an unusual shape";
      return false;
    }
    finish(call_, bound_);
    return true;
  }

 private:
  static constexpr int kIndex = 1;  // the rule's operand

  void rule_on(size_t tensor, int operand) {
    bound_.tensors[tensor].ruled = true;
    bound_.tensors[tensor].operand = operand;
  }

  void place_self() {
    for (const TensorInfo& t : call_.tensors) bound_.tensors.push_back(unruled(t));
    rule_on(0, 0);
    for (int64_t d = 0; d < self_.ndim(); ++d) {
      factor_.push_back(bound_.add_factor(self_.geometry.sizes[d]));
      bound_.tensors[0].dims[d].push_back(factor_[d]);
    }
  }

  // Index dimensions, right-aligned, split together.
  void place_indices() {
    for (int64_t k = 0; k < index_rank_; ++k) {
      int64_t size = 1;
      for (size_t i : given_) {
        const TensorInfo& t = call_.tensors[i];
        const int64_t d = k - (index_rank_ - t.ndim());
        if (d >= 0 && t.geometry.sizes[d] != 1) size = t.geometry.sizes[d];
      }
      index_factor_.push_back(bound_.add_factor(size));
    }
    for (size_t i : given_) {
      const int64_t ndim = call_.tensors[i].ndim();
      rule_on(i, kIndex);
      for (int64_t d = 0; d < ndim; ++d) bound_.tensors[i].dims[d].push_back(index_factor_[d + index_rank_ - ndim]);
    }
  }

  // The factors of what is read or written: the indices' stand in the place of the first of adjacent ones, else first.
  void find_shape() {
    bool pushed = false;
    const auto push_index = [&] {
      if (!pushed) shape_.insert(shape_.end(), index_factor_.begin(), index_factor_.end());
      pushed = true;
    };
    const auto apart = [](int a, int b) { return b != a + 1; };
    if (std::adjacent_find(indexed_.begin(), indexed_.end(), apart) != indexed_.end()) push_index();
    for (int d = 0; d < self_.ndim(); ++d) {
      if (std::find(indexed_.begin(), indexed_.end(), d) != indexed_.end()) {
        bound_.factors[factor_[d]].whole = true;
        push_index();
      } else {
        shape_.push_back(factor_[d]);
      }
    }
  }

  bool read() {
    auto& dims = bound_.results[0].dims;
    dims.assign(call_.results[0].geometry.sizes.size(), {});
    if (dims.size() != shape_.size()) return false;
    for (size_t d = 0; d < shape_.size(); ++d) dims[d].push_back(shape_[d]);
    if (indexed_.size() == 1 && indexed_[0] < self_.ndim()) {
      BoundRule::Factor& factor = bound_.factors[factor_[indexed_[0]]];
      factor.whole = false;
      factor.masked = true;
      factor.index_operand = kIndex;
      factor.wraps = !one_;
      factor.reduction = Reduction::sum;
    }
    bound_.pending.push_back({{0}, true});
    return true;
  }

  bool write(int values) {
    // Each rank would write its own part of the indices only: those stay whole.
    for (int f : index_factor_) bound_.factors[f].whole = true;
    rule_on(values, 2);
    const int64_t ndim = call_.tensors[values].ndim();
    for (int64_t d = 0; d < ndim; ++d) {
      const int64_t s = d + static_cast<int64_t>(shape_.size()) - ndim;
      const int64_t size = call_.tensors[values].geometry.sizes[d];
      if (size != 1 && (s < 0 || size != bound_.factors[shape_[s]].size)) return false;
      if (s >= 0) bound_.tensors[values].dims[d].push_back(shape_[s]);
    }
    for (auto& r : bound_.results) {
      for (int f : factor_) r.dims.push_back({f});
    }
    return true;
  }

  const Call& call_;
  BoundRule& bound_;
  const TensorInfo& self_ = call_.tensors[0];
  const bool one_;                     // an index in place of a list of them
  const int indices_;                  // the argument
  std::vector<size_t> given_, masks_;  // tensors of the call: indices that are there, and the masks among them
  std::vector<int> indexed_;           // the dimensions that these look into
  int64_t index_rank_ = 0;
  std::vector<int> factor_, index_factor_;  // of self's dimensions, of the indices'
  std::vector<int> shape_;                  // factors of what is read or written
};

// Of self (or a gradient) and a mask, which broadcast.
bool bind_by_places(const Call& call, BoundRule& bound, std::string& why, const char* via) {
  bound.tensors.resize(call.tensors.size());
  bound.results.resize(call.results.size());
  for (size_t r = 0; r < call.results.size(); ++r) bound.results[r].dims.resize(call.results[r].geometry.sizes.size());
  bool in_order = false, in_blocks = false;
  for (size_t i = 0; i < call.tensors.size(); ++i) {
    const TensorInfo& t = call.tensors[i];
    bound.tensors[i].dims.resize(t.ndim());
    for (int64_t d = 0; i < 2 && d < t.ndim(); ++d) {
      const int f = bound.add_factor(t.geometry.sizes[d]);
      bound.factors[f].whole = true;
      bound.factors[f].via = via;
      bound.tensors[i].dims[d].push_back(f);
      if (t.layout == nullptr || t.geometry.sizes[d] < 2) continue;
      const auto& splits = t.layout->dim(d);
      const bool any_block = std::any_of(splits.begin(), splits.end(), [](const Split& s) { return s.block != 0; });
      (any_block ? in_blocks : in_order) |= !splits.empty();
    }
  }
  finish(call, bound);
  why = "all places before an element tell what it takes, and each rank has a part of each block";
  return in_order || !in_blocks;
}

}  // namespace

bool bind_masked_scatter(const Call& call, BoundRule& bound, std::string& why) {
  const bool checked = call.tensors[1].dtype == at::kBool && call.tensors[2].dtype == call.tensors[0].dtype;
  if (!checked) why = "its operands are not of the types that it takes";
  return checked && bind_by_places(call, bound, why, "masked_scatter");
}

bool bind_masked_scatter_backward(const Call& call, BoundRule& bound, std::string& why) {
  return bind_by_places(call, bound, why, "masked_scatter_backward");
}

bool bind_index(const Call& call, BoundRule& bound, std::string& why) { return Indexing(call, bound).run(why); }

// new_zeros(self, size): a dimension that is as long as self's in that place is most often the same one (a batch,
// heads), and split as it is; the others stay whole.
bool bind_new(const Call& call, BoundRule& bound, std::string&) {
  const Sizes &self = call.tensors[0].geometry.sizes, &made = call.results[0].geometry.sizes;
  bound.tensors.resize(1);
  bound.results.resize(1);
  bound.tensors[0].shape_only = true;
  bound.tensors[0].operand = bound.results[0].operand = 0;
  bound.tensors[0].dims.resize(self.size());
  bound.results[0].dims.resize(made.size());
  for (size_t d = 0; d < self.size(); ++d) {
    const int f = bound.add_factor(self[d]);
    bound.tensors[0].dims[d].push_back(f);
    if (d < made.size() && made[d] == self[d]) bound.results[0].dims[d].push_back(f);
    bound.factors[f].free = true;
  }
  bound.sizes_argument = call.op.argument("size");
  bound.strides_argument = call.op.argument("stride");
  finish(call, bound);
  return true;
}

}  // namespace weft::rules
