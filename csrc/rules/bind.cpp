// From a rule's notation and a call's shapes to factors per tensor dimension.
#include <algorithm>
#include <map>
#include <set>

#include "rules/describe.h"
#include "rules/op_info.h"

namespace weft::rules {
namespace {

class Binding {
 public:
  Binding(const Rule& rule, const Call& call, BoundRule& bound, std::string& why)
      : rule_(rule), call_(call), bound_(bound), why_(why) {}

  bool run() {
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
    if (!match_operands()) return false;
    find_batch();
    // Plain factors tell the sizes of those in folded dimensions.
    for (size_t i = 0; i < call_.tensors.size(); ++i) {
      const BoundRule::Tensor& t = bound_.tensors[i];
      if (!call_.tensors[i].defined || !t.ruled || t.operand < 0) continue;
      const auto& tokens = rule_.operands[t.operand].tokens;
      if (has_batch(tokens) || tokens.size() != call_.tensors[i].geometry.sizes.size()) continue;
      for (size_t d = 0; d < tokens.size(); ++d) {
        if (tokens[d].kind == Token::factor) named(tokens[d].name, call_.tensors[i].geometry.sizes[d], true);
      }
    }
    for (size_t i = 0; i < call_.tensors.size(); ++i) {
      if (call_.tensors[i].defined && !place(bound_.tensors[i], call_.tensors[i].geometry.sizes, rule_.operands, true))
        return false;
    }
    if (!match_results()) return false;
    for (size_t i = 0; i < call_.results.size(); ++i) {
      if (call_.results[i].defined && !place(bound_.results[i], call_.results[i].geometry.sizes, rule_.results, false))
        return false;
    }
    attributes();
    finish(call_, bound_);
    return true;
  }

  const std::map<std::string, int>& names() const { return names_; }

 private:
  bool holds(const Attribute& a) const {
    const c10::IValue* v = call_.value(a.argument);
    const bool is = a.value >= 0 ? v != nullptr && v->isInt() && v->toInt() == a.value : call_.flag(a.argument);
    return is == (a.kind == Attribute::when);
  }

  // Which operand of the rule each tensor is: tensor arguments of the schema in order; out= arguments are results.
  bool match_operands() {
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
    return true;
  }

  static size_t width(const std::vector<Token>& tokens, const Call& call) {
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
  static bool has_batch(const std::vector<Token>& tokens) {
    return std::any_of(tokens.begin(), tokens.end(), [](const Token& t) { return t.kind == Token::batch; });
  }

  // The rank that `@dim` arguments count in: that of the first operand with batch factors.
  void find_batch() {
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

  int named(const std::string& name, int64_t size, bool operand) {
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
  void occurrence(int f, int64_t size, bool operand) {
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
  int batch_factor(int64_t from_right, int64_t size, bool operand) {
    return named("..." + std::to_string(from_right), size, operand);
  }

  bool place(BoundRule::Tensor& t, c10::IntArrayRef sizes, const std::vector<Operand>& operands, bool operand) {
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
        case Token::entries: {
          const auto entries = call_.dims(token.argument, 0);
          if (token.name.empty()) {
            d += static_cast<int64_t>(entries.size());
            break;
          }
          for (size_t e = 0; e < entries.size(); ++e, ++d) {
            const int f = named(token.name + "#" + std::to_string(e), sizes[d], true);
            t.dims[d].push_back(f);
            if (entry_seen_.insert({token.argument + "#" + std::to_string(e), f}).second) {
              bound_.localized.push_back({call_.op.argument(token.argument), static_cast<int>(e), {f}});
            }
          }
          break;
        }
        case Token::batch:
          if (!place_batch(t, token, sizes, d, batch, operand)) return false;
          d += batch;
          break;
      }
    }
    return true;
  }

  // A folded dimension tells at most one of its factors' sizes; arguments and other dimensions tell the others.
  bool place_folded(BoundRule::Dim& dim, const Token& token, int64_t size, bool operand) {
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
    if (unknown >= 0 && known > 0 && size % known == 0) {
      bound_.factors[unknown].size = size / known;
      bound_.factors[unknown].splittable = true;
    } else if (unknown >= 0 || known != size) {
      for (int f : dim) bound_.factors[f].splittable = false;
    }
    return true;
  }

  // Batch factors are numbered from the right of the operands' batch dimensions.
  bool place_batch(BoundRule::Tensor& t, const Token& token, c10::IntArrayRef sizes, int64_t first, int64_t count,
                   bool operand) {
    std::vector<int64_t> edited;
    if (token.edit != 0) {
      edited = token.edit == '+' ? call_.dims(token.argument, rank_ + 1) : call_.dims(token.argument, rank_);
    }
    auto is_edited = [&](int64_t d) { return std::find(edited.begin(), edited.end(), d) != edited.end(); };
    if (token.edit == 0 || token.edit == '~') {
      for (int64_t k = 0; k < count; ++k) {
        const int64_t d = first + k;
        // An edit's argument counts dimensions of the first batched operand; ranks are equal there.
        if (token.edit == '~' && is_edited(d)) {
          t.dims[d].push_back(named("~" + std::to_string(d), sizes[d], operand));
        } else {
          t.dims[d].push_back(batch_factor(count - 1 - k, sizes[d], operand));
        }
      }
      return true;
    }
    const bool keepdim = token.edit == '-' && call_.flag("keepdim");
    int64_t d = first;
    const int64_t total = token.edit == '+' ? batch_ + static_cast<int64_t>(edited.size()) : batch_;
    for (int64_t k = 0, source = 0; k < total; ++k) {
      if (is_edited(k)) {
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

  bool match_results() {
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
    return true;
  }

  std::vector<int> factors_of(const std::string& name) {
    std::vector<int> out;
    if (name == "...") {
      for (const auto& [n, f] : names_) {
        if (n.rfind("...", 0) == 0) out.push_back(f);
      }
    } else if (name[0] == '@') {
      for (int64_t d : call_.dims(name.substr(1), rank_)) {
        auto it = names_.find("..." + std::to_string(rank_ - trailing_ - 1 - d));
        if (it != names_.end()) out.push_back(it->second);
      }
    } else {
      for (const auto& [n, f] : names_) {
        if (n == name || n.rfind(name + "#", 0) == 0) out.push_back(f);
      }
    }
    return out;
  }

  void attributes() {
    for (const Attribute& a : rule_.attributes) {
      if (a.kind == Attribute::when || a.kind == Attribute::unless || a.kind == Attribute::exact) continue;
      if (a.kind == Attribute::size) {
        BoundRule::Localized l;
        l.argument = call_.op.argument(a.argument);
        const bool list = l.argument >= 0 && call_.arguments[l.argument].isIntList();
        l.entry = list ? std::max(a.entry, 0) : -1;
        for (const std::string& f : a.product) {
          auto it = names_.find(f);
          if (it != names_.end()) l.factors.push_back(it->second);
        }
        bound_.localized.push_back(std::move(l));
        continue;
      }
      if (a.kind == Attribute::linear || a.kind == Attribute::carry) {
        for (const auto& group : a.groups) {
          BoundRule::Pending pending;
          pending.carry = a.kind == Attribute::carry;
          for (size_t i = 0; i < bound_.tensors.size(); ++i) {
            const bool in =
                std::any_of(group.begin(), group.end(), [&](int o) { return o < 0 || o == bound_.tensors[i].operand; });
            if (in && call_.tensors[i].defined) pending.tensors.push_back(static_cast<int>(i));
          }
          if (!pending.tensors.empty()) bound_.pending.push_back(std::move(pending));
        }
        continue;
      }
      for (int f : factors_of(a.factor)) {
        BoundRule::Factor& factor = bound_.factors[f];
        if (a.kind == Attribute::halo) {
          const auto& dims = bound_.tensors[0].dims;
          for (size_t d = 0; d < dims.size(); ++d) {
            if (dims[d].size() == 1 && dims[d][0] == f) factor.window = window_of(call_, dims.size() - d, a.window);
          }
          windows_ = windows_ && factor.window.has_value();
        } else if (a.kind == Attribute::causal) {
          factor.causal = call_.flag("is_causal");
        } else if (a.kind == Attribute::free) {
          factor.free = true;
        } else if (a.kind == Attribute::whole) {
          factor.whole = true;
          factor.via = a.via;
        } else if (a.kind == Attribute::masked) {
          factor.masked = true;
          factor.index_operand = a.index_operand;
          factor.ignored = a.argument;
          factor.reduction = Reduction::sum;
        } else {
          factor.reduction = a.reduction;
        }
      }
    }
    for (auto& factor : bound_.factors) factor.splittable = factor.splittable && (windows_ || !factor.halo);
  }

  const Rule& rule_;
  const Call& call_;
  BoundRule& bound_;
  std::string& why_;
  std::map<std::string, int> names_;
  std::set<std::string> halos_;
  std::set<std::pair<std::string, int>> entry_seen_;
  int64_t batch_ = 0, rank_ = -1, trailing_ = 0;
  bool exact_ = false, windows_ = true;
};

}  // namespace

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
