// Which factors each dimension of a tensor holds.
#include <algorithm>

#include "rules/binding.h"
#include "rules/op_info.h"

namespace weft::rules {

bool Binding::place_all(std::vector<BoundRule::Tensor>& tensors, const std::vector<Operand>& operands, bool operand) {
  for (size_t i = 0; i < tensors.size(); ++i) {
    const bool defined = operand ? call_.tensors[i].defined : call_.results[i].defined;
    const Geometry& geometry = operand ? call_.tensors[i].geometry : call_.results[i].geometry;
    if (defined && !place(tensors[i], geometry.sizes, operands, operand)) return false;
  }
  return true;
}

bool Binding::place(BoundRule::Tensor& t, c10::IntArrayRef sizes, const std::vector<Operand>& operands, bool operand) {
  t.dims.assign(sizes.size(), {});
  if (!t.ruled || t.operand < 0) return true;
  const auto& tokens = operands[t.operand].tokens;
  const int64_t rank = static_cast<int64_t>(sizes.size());
  int64_t batch = rank - static_cast<int64_t>(width(tokens, call_));
  // Bias and mask operands of lower rank broadcast: right-aligned.
  int64_t skipped = 0;
  const bool broadcasts = operand && (operands[t.operand].added_once || operands[t.operand].optional);
  if (batch < 0 && broadcasts && !has_batch(tokens)) {
    skipped = -batch;
    batch = 0;
  }
  if (batch < 0 || (batch > 0 && !has_batch(tokens))) {
    why_ = "\"" + rule_.text + "\" does not fit a tensor of " + std::to_string(rank) + " dimensions";
    return false;
  }
  int64_t d = 0;
  for (const Token& token : tokens) {
    if (skipped > 0) {
      --skipped;
      continue;
    }
    switch (token.kind) {
      case Token::one:
        ++d;
        break;
      case Token::factor:
        t.dims[d].push_back(named(token.name, sizes[d], operand));
        ++d;
        break;
      case Token::compound:
        if (!place_folded(t.dims[d], token, sizes[d], operand)) return false;
        ++d;
        break;
      case Token::entries:
        place_entries(t, token, sizes, d);
        d += static_cast<int64_t>(call_.dims(token.argument, 0).size());
        break;
      case Token::batch:
        if (!place_batch(t, token, sizes, d, batch, operand)) return false;
        d += batch;
        break;
    }
  }
  return true;
}

// A folded dimension tells at most one of its factors' sizes; arguments and other dimensions tell the others. One that
// broadcasts, as that of a mask for all heads, has none of them.
bool Binding::place_folded(BoundRule::Dim& dim, const Token& token, int64_t size, bool operand) {
  int64_t known = 1;
  int unknown = -1;
  for (const std::string& part : token.parts) {
    auto it = names_.find(part);
    const int f = it != names_.end() ? it->second : named(part, -1, operand);
    dim.push_back(f);
    if (bound_.factors[f].size >= 0) {
      known *= bound_.factors[f].size;
    } else if (unknown < 0) {
      unknown = f;
    } else {
      why_ = "\"" + rule_.text + "\" has a folded dimension of unknown parts";
      return false;
    }
  }
  if (unknown < 0 && known > 1 && size == 1 && operand && !exact_) {
    dim.clear();
  } else if (unknown >= 0 && known > 0 && size % known == 0) {
    bound_.factors[unknown].size = size / known;
    bound_.factors[unknown].splittable = operand;  // what results alone have is the whole op's to make
  } else if (unknown >= 0 || known != size) {
    for (int f : dim) bound_.factors[f].splittable = false;
  }
  return true;
}

// One factor for each entry of an int list, or as many dimensions that are never split.
void Binding::place_entries(BoundRule::Tensor& t, const Token& token, c10::IntArrayRef sizes, int64_t first) {
  if (token.name.empty()) return;
  for (size_t e = 0; e < call_.dims(token.argument, 0).size(); ++e) {
    const int64_t d = first + static_cast<int64_t>(e);
    const int f = named(token.name + "#" + std::to_string(e), sizes[d], true);
    t.dims[d].push_back(f);
    if (entry_seen_.insert({token.argument + "#" + std::to_string(e), f}).second) {
      bound_.localized.push_back({call_.op.argument(token.argument), static_cast<int>(e), {f}});
    }
  }
}

// Batch factors are numbered from the right of the operands' batch dimensions.
bool Binding::place_batch(BoundRule::Tensor& t, const Token& token, c10::IntArrayRef sizes, int64_t first,
                          int64_t count, bool operand) {
  if (token.edit == '-' || token.edit == '+') return place_edited_batch(t, token, sizes, first, count, operand);
  // An edit's argument counts dimensions of the first batched operand; ranks are equal there.
  const std::vector<int64_t> edited = token.edit == '~' ? call_.dims(token.argument, rank_) : std::vector<int64_t>();
  for (int64_t k = 0; k < count; ++k) {
    const int64_t d = first + k;
    const bool fresh = std::find(edited.begin(), edited.end(), d) != edited.end();
    t.dims[d].push_back(fresh ? named("~" + std::to_string(d), sizes[d], operand)
                              : batch_factor(count - 1 - k, sizes[d], operand));
  }
  return true;
}

// Dimensions dropped from them, or inserted.
bool Binding::place_edited_batch(BoundRule::Tensor& t, const Token& token, c10::IntArrayRef sizes, int64_t first,
                                 int64_t count, bool operand) {
  const std::vector<int64_t> edited = call_.dims(token.argument, token.edit == '+' ? rank_ + 1 : rank_);
  const bool keepdim = token.edit == '-' && call_.flag("keepdim");
  int64_t d = first;
  const int64_t total = token.edit == '+' ? batch_ + static_cast<int64_t>(edited.size()) : batch_;
  for (int64_t k = 0, source = 0; k < total; ++k) {
    if (std::find(edited.begin(), edited.end(), k) != edited.end()) {
      if (token.edit == '-') ++source;
      if (token.edit == '+' || keepdim) ++d;
      continue;
    }
    if (d >= static_cast<int64_t>(sizes.size())) break;
    t.dims[d].push_back(batch_factor(batch_ - 1 - source, sizes[d], operand));
    ++d, ++source;
  }
  if (d != first + count) {
    why_ = "\"" + rule_.text + "\" does not fit the result's rank";
    return false;
  }
  return true;
}

}  // namespace weft::rules
