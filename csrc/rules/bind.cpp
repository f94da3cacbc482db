// From a rule's notation and a call's shapes to factors and their sizes.
#include <algorithm>

#include "rules/binding.h"
#include "rules/describe.h"
#include "rules/op_info.h"

namespace weft::rules {

bool Binding::run() {
  if (!read_conditions()) return false;
  match_operands();
  find_batch();
  learn_sizes();
  if (!place_all(bound_.tensors, rule_.operands, true)) return false;
  match_results();
  if (!place_all(bound_.results, rule_.results, false)) return false;
  read_attributes();
  finish(call_, bound_);
  return true;
}

// And what decides how all else is read.
bool Binding::read_conditions() {
  for (const Attribute& a : rule_.attributes) {
    const bool conditional = a.kind == Attribute::when || a.kind == Attribute::unless;
    if (conditional && !holds(a)) {
      why_ = "no rule of it covers these arguments";
      return false;
    }
    exact_ = exact_ || a.kind == Attribute::exact;
    if (a.kind == Attribute::halo) halos_.insert(a.factor);
    // Sizes that arguments tell come first: folded dimensions are resolved by them.
    if (a.kind == Attribute::size && a.product.size() == 1) {
      const c10::IValue* v = call_.value(a.argument);
      if (v != nullptr && v->isInt() && a.entry < 0) named(a.product[0], v->toInt(), true);
    }
  }
  return true;
}

bool Binding::holds(const Attribute& a) const {
  const c10::IValue* v = call_.value(a.argument);
  const bool is = a.value >= 0 ? v != nullptr && v->isInt() && v->toInt() == a.value : call_.flag(a.argument);
  return is == (a.kind == Attribute::when);
}

// Which operand of the rule each tensor is: tensor arguments of the schema in order; out= arguments are results.
void Binding::match_operands() {
  bound_.tensors.resize(call_.tensors.size());
  int operand = -1, argument = -1;
  const size_t n = rule_.operands.size();
  for (size_t a = 0; a < call_.op.arguments.size(); ++a) {
    const auto kind = call_.op.arguments[a].kind;
    if (kind == OpInfo::Kind::value) continue;
    ++operand;
    argument = static_cast<int>(a);
    for (size_t i = 0; i < call_.tensors.size(); ++i) {
      if (call_.tensors[i].argument != argument) continue;
      BoundRule::Tensor& t = bound_.tensors[i];
      // A rule of one list operand covers however many tensor arguments there are ("*... -> ...").
      const size_t o = n == 1 && rule_.operands[0].list ? 0 : static_cast<size_t>(operand);
      if (o >= n) {
        t.ruled = false;
        continue;
      }
      t.operand = static_cast<int>(o);
      t.added_once = rule_.operands[o].added_once;
      t.shape_only = rule_.operands[o].shape_only;
    }
  }
}

void Binding::match_results() {
  bound_.results.resize(call_.results.size());
  int written = -1, last = 0;  // of an op that returns nothing: results are what it writes, in order
  for (size_t i = 0; i < call_.results.size(); ++i) {
    int r = call_.results[i].result;
    if (r < 0) {
      if (written < 0 || r != last) ++written;
      last = r;
      r = written;
    }
    const size_t n = rule_.results.size();
    const size_t o = n == 1 && rule_.results[0].list ? 0 : static_cast<size_t>(r);
    if (o >= n) {
      bound_.results[i].ruled = false;
    } else {
      bound_.results[i].operand = static_cast<int>(o);
    }
  }
}

size_t width(const std::vector<Token>& tokens, const Call& call) {
  size_t w = 0;
  for (const Token& t : tokens) {
    if (t.kind == Token::entries) {
      w += call.dims(t.argument, 0).size();
    } else if (t.kind != Token::batch) {
      ++w;
    }
  }
  return w;
}

bool has_batch(const std::vector<Token>& tokens) {
  return std::any_of(tokens.begin(), tokens.end(), [](const Token& t) { return t.kind == Token::batch; });
}

// The rank that `@dim` arguments count in: that of the first operand with batch factors.
void Binding::find_batch() {
  for (size_t i = 0; i < call_.tensors.size(); ++i) {
    const BoundRule::Tensor& t = bound_.tensors[i];
    if (!t.ruled || !call_.tensors[i].defined || t.operand < 0) continue;
    const auto& tokens = rule_.operands[t.operand].tokens;
    const int64_t rank = static_cast<int64_t>(call_.tensors[i].geometry.sizes.size());
    if (!has_batch(tokens)) continue;
    const int64_t width_here = static_cast<int64_t>(width(tokens, call_));
    batch_ = std::max(batch_, rank - width_here);
    const bool list = rule_.operands.size() == 1 && rule_.operands[0].list;
    if (rank_ < 0 || (list && rank > rank_)) {
      rank_ = rank;
      trailing_ = width_here;
    }
  }
}

// Plain factors tell the sizes of those in folded dimensions.
void Binding::learn_sizes() {
  for (size_t i = 0; i < call_.tensors.size(); ++i) {
    const BoundRule::Tensor& t = bound_.tensors[i];
    if (!call_.tensors[i].defined || !t.ruled || t.operand < 0) continue;
    const auto& tokens = rule_.operands[t.operand].tokens;
    if (has_batch(tokens) || tokens.size() != call_.tensors[i].geometry.sizes.size()) continue;
    for (size_t d = 0; d < tokens.size(); ++d) {
      if (tokens[d].kind == Token::factor) named(tokens[d].name, call_.tensors[i].geometry.sizes[d], true);
    }
  }
}

int Binding::named(const std::string& name, int64_t size, bool operand) {
  auto it = names_.find(name);
  if (it != names_.end()) {
    occurrence(it->second, size, operand);
    return it->second;
  }
  const int f = bound_.add_factor(size, operand);
  bound_.factors[f].halo = halos_.count(name) > 0;
  if (bound_.factors[f].halo) bound_.factors[f].splittable = size > 1;
  names_.emplace(name, f);
  return f;
}

// A size-1 operand broadcasts against a larger one (its dimension then is never split); others must agree.
void Binding::occurrence(int f, int64_t size, bool operand) {
  BoundRule::Factor& factor = bound_.factors[f];
  if (factor.halo) factor.splittable = factor.splittable && size > 1;
  if (factor.halo || factor.size == size) return;
  const bool broadcasts = operand && !exact_;
  if (broadcasts && factor.size == 1) {
    factor.size = size;
  } else if (!(broadcasts && size == 1)) {
    factor.splittable = false;
  }
}

int Binding::batch_factor(int64_t from_right, int64_t size, bool operand) {
  return named("..." + std::to_string(from_right), size, operand);
}

bool bind(const Rule& rule, const Call& call, BoundRule& bound, std::string& why) {
  return Binding(rule, call, bound, why).run();
}

bool bind_named(const Rule& rule, const Call& call, BoundRule& bound, std::string& why,
                std::map<std::string, int>& names) {
  Binding binding(rule, call, bound, why);
  const bool ok = binding.run();
  names = binding.names();
  return ok;
}

}  // namespace weft::rules
