#include "rules/validate.h"

#include <c10/util/Exception.h>
#include <c10/util/StringUtil.h>

#include <algorithm>
#include <set>

#include "base/error_codes.h"
#include "base/quote.h"

namespace weft::rules {
namespace {

// Columns, from 1, where each operand, result and attribute of a rule begins.
struct Places {
  std::vector<size_t> operands, results, attributes;

  explicit Places(const std::string& text) {
    const size_t arrow = text.find("->"), end = std::min(text.find(';'), text.size());
    split(text, 0, arrow, ',', operands);
    split(text, arrow + 2, end, ',', results);
    if (end < text.size()) split(text, end + 1, text.size(), ';', attributes);
  }

 private:
  static void split(const std::string& text, size_t begin, size_t end, char separator, std::vector<size_t>& places) {
    while (begin <= end) {
      const size_t first = text.find_first_not_of(" \t\n", begin);
      places.push_back(std::min(first, end) + 1);
      begin = std::min(text.find(separator, begin), end) + 1;
    }
  }
};

class Check {
 public:
  Check(const OpInfo& op, const Rule& rule) : op_(op), rule_(rule), places_(rule.text) { sort_arguments(); }

  void run() {
    operands();
    results();
    attributes();
  }

  void recipes() const {
    for (size_t k = 0; k < rule_.attributes.size(); ++k) {
      const Attribute& a = rule_.attributes[k];
      if (a.kind == Attribute::halo) window(a, places_.attributes[k]);
      if (a.kind == Attribute::causal) causal(places_.attributes[k]);
      if (a.kind == Attribute::masked) masked(a, places_.attributes[k]);
    }
  }

 private:
  template <class... Words>
  [[noreturn]] void fail(size_t column, const Words&... words) const {
    TORCH_CHECK_VALUE(false, "[W080] [", op_.short_name, "] rule \"", printable(rule_.text), "\": ", words...,
                      " at column ", column);
  }

  static std::string names(const std::vector<std::string>& list) {
    return list.empty() ? "none" : c10::Join(", ", list);
  }

  void sort_arguments() {
    const auto& arguments = op_.schema().arguments();
    for (size_t a = 0; a < arguments.size(); ++a) {
      const bool written = op_.arguments[a].written;
      if (op_.arguments[a].kind == OpInfo::Kind::value) {
        values_.push_back(arguments[a].name());
        continue;
      }
      if (written) ++written_;
      tensors_.push_back(arguments[a].name());
      lists_.push_back(op_.arguments[a].kind == OpInfo::Kind::tensor_list);
    }
  }

  void operands() {
    const bool one_for_all = rule_.operands.size() == 1 && rule_.operands[0].list;
    const size_t n = rule_.operands.size();
    if (!one_for_all && n != tensors_.size()) {
      fail(places_.operands[std::min(n, tensors_.size() + 1) - 1], n, n == 1 ? " operand" : " operands",
           ", but the op has ", tensors_.size(), " tensor arguments (", names(tensors_),
           "); a dimension that is never split is written 1,");
    }
    for (size_t o = 0; o < n; ++o) {
      if (!one_for_all && lists_[o] && !rule_.operands[o].list) {
        fail(places_.operands[o], "argument ", tensors_[o], " is a list, write * before its operand,");
      }
      if (!one_for_all && !lists_[o] && rule_.operands[o].list) {
        fail(places_.operands[o], "argument ", tensors_[o], " is one tensor, not a list,");
      }
      tokens(rule_.operands[o], places_.operands[o], in_);
    }
  }

  void results() {
    size_t expected = 0;
    for (const auto& r : op_.results) expected += r.kind != OpInfo::Kind::value;
    if (op_.results.empty()) expected = written_;
    const size_t n = rule_.results.size();
    if (!(n == 1 && rule_.results[0].list) && n != expected) {
      fail(places_.results[std::min(n, expected + 1) - 1], n, n == 1 ? " result" : " results", ", but the op ",
           op_.results.empty() ? "writes " : "returns ", expected, expected == 1 ? " tensor" : " tensors");
    }
    for (size_t r = 0; r < n; ++r) tokens(rule_.results[r], places_.results[r], out_);
    std::set<std::string> sized;
    for (const Attribute& a : rule_.attributes) sized.insert(a.product.begin(), a.product.end());
    for (const std::string& f : out_) {
      if (in_.count(f) || sized.count(f)) continue;
      size_t r = 0;
      while (r + 1 < n && !has(rule_.results[r], f)) ++r;
      fail(places_.results[r], "factor ", f,
           " is in no operand; write 1 for a dimension that is never split, or say \"size ", f,
           " @argument\" where an argument tells its length,");
    }
  }

  static bool has(const Operand& o, const std::string& factor) {
    return std::any_of(o.tokens.begin(), o.tokens.end(), [&](const Token& t) {
      return t.name == factor || std::find(t.parts.begin(), t.parts.end(), factor) != t.parts.end();
    });
  }

  void tokens(const Operand& operand, size_t column, std::set<std::string>& factors) {
    std::set<std::string> here;
    for (const Token& t : operand.tokens) {
      if (!t.argument.empty()) value(t.argument, column, {"int", "int[]"});
      for (const std::string& f : t.name.empty() ? t.parts : std::vector<std::string>{t.name}) {
        if (!here.insert(f).second) fail(column, "factor ", f, " stands for two dimensions of one tensor,");
        // There are as many factors as the list has entries, which tells their lengths.
        if (t.kind == Token::entries) in_.insert(f);
      }
    }
    if (std::count_if(operand.tokens.begin(), operand.tokens.end(), [](auto& t) { return t.kind == Token::batch; }) >
        1) {
      fail(column, "\"...\" twice in one tensor");
    }
    factors.insert(here.begin(), here.end());
  }

  // An argument that the rule names, or that its recipe reads, is there, and of a type that it can read.
  void value(const std::string& name, size_t column, const std::vector<std::string>& types) const {
    const int a = op_.argument(name);
    if (a < 0) fail(column, "the op has no argument '", name, "' (it has: ", names(values_), ")");
    const std::string type = op_.schema().arguments()[a].type()->str();
    const bool fits = std::any_of(types.begin(), types.end(), [&](const std::string& t) {
      return type == t || type == t + "?" || (t == "int[]" && type.rfind("int[", 0) == 0);
    });
    if (!fits) fail(column, "argument '", name, "' is a ", type, ", not ", c10::Join(" or ", types), ",");
  }

  // What changes an op's arguments before it runs, in ways that know the ops of core: of another op whose arguments go
  // by those names it would be wrong, and of others it would do nothing.
  static const char* only_ours(const Attribute& a) {
    if (!a.via.empty()) return "'via'";
    if (a.kind == Attribute::masked) return "masked factors";
    if (a.kind == Attribute::halo) return "halo factors";
    if (a.kind == Attribute::causal) {
      return "causal factors (write two: \"whole f;  when is_causal\", and one \"unless is_causal\")";
    }
    return nullptr;
  }

  void tensor(const std::string& name, size_t column) const {
    if (!has_tensor(name)) fail(column, "the op has no tensor argument '", name, "' (it has: ", names(tensors_), ")");
  }

  bool has_tensor(const std::string& name) const {
    return std::find(tensors_.begin(), tensors_.end(), name) != tensors_.end();
  }

  // What local/windowed.cpp and window.cpp read.
  void window(const Attribute& a, size_t column) const {
    if (!has_tensor("input")) tensor("self", column);
    if (!has(rule_.operands[0], a.factor)) fail(column, "factor ", a.factor, " is not in the first operand,");
    for (const char* name : {"stride", "padding"}) value(name, column, {"int[]"});
    switch (a.window) {
      case Window::Kind::convolution:
        tensor("weight", column);
        for (const char* name : {"dilation", "output_padding"}) value(name, column, {"int[]"});
        return value("transposed", column, {"bool"});
      case Window::Kind::average:
        value("kernel_size", column, {"int[]"});
        value("count_include_pad", column, {"bool"});
        return value("divisor_override", column, {"int"});
      case Window::Kind::maximum:
        for (const char* name : {"kernel_size", "dilation"}) value(name, column, {"int[]"});
        if (has_tensor("grad_output")) tensor("indices", column);
    }
  }

  // What local/causal.cpp reads.
  void causal(size_t column) const {
    for (const char* name : {"query", "key", "value", "attn_mask"}) tensor(name, column);
    value("is_causal", column, {"bool"});
  }

  // What local/masked.cpp reads; results at others' indices are masked in one result, of the indices' dimensions first.
  void masked(const Attribute& a, size_t column) const {
    const auto index = static_cast<size_t>(a.index_operand);
    if (index >= rule_.operands.size()) fail(column, "there is no operand ", index, " with indices");
    if (!a.argument.empty()) return value(a.argument, column, {"int"});
    const auto& indices = rule_.operands[index].tokens;
    const bool fits = rule_.results.size() == 1 && rule_.results[0].tokens.size() >= indices.size() &&
                      std::equal(indices.begin(), indices.end(), rule_.results[0].tokens.begin(),
                                 [](const Token& x, const Token& y) { return x.kind == y.kind && x.name == y.name; });
    if (!fits) fail(column, "the op's one result does not begin with the dimensions of operand ", index);
  }

  void attributes() const {
    for (size_t k = 0; k < rule_.attributes.size(); ++k) {
      const Attribute& a = rule_.attributes[k];
      const size_t column = places_.attributes[k];
      if (a.kind == Attribute::when || a.kind == Attribute::unless) {
        if (a.value >= 0) {
          value(a.argument, column, {"int"});
        } else {
          value(a.argument, column, {"bool", "int"});
        }
      } else if (a.kind == Attribute::size) {
        value(a.argument, column, {a.entry >= 0 ? "int[]" : "int", "int[]"});
      } else if (const char* ours = only_ours(a)) {
        fail(column, "only Weft's own rules have ", ours, ",");
      } else if (a.factor.size() > 1 && a.factor[0] == '@') {
        value(a.factor.substr(1), column, {"int", "int[]"});
      }
      for (const auto& group : a.groups) {
        for (int o : group) {
          if (o >= static_cast<int>(rule_.operands.size())) {
            fail(column, "there is no operand ", o, " (they count from 0 to ", rule_.operands.size() - 1, ")");
          }
        }
      }
    }
  }

  const OpInfo& op_;
  const Rule& rule_;
  const Places places_;
  std::vector<std::string> tensors_, values_;  // names of arguments
  std::vector<bool> lists_;                    // of the tensor arguments
  size_t written_ = 0;
  std::set<std::string> in_, out_;  // factors
};

void check_op(const OpInfo& op) {
  const char* const advice = "; a rule cannot speak of that";
  TORCH_CHECK_VALUE(!op.is_view, "[W081] [", op.short_name, "] returns a view of an argument", advice);
  TORCH_CHECK_VALUE(!op.is_out, "[W081] [", op.short_name,
                    "] is an out= variant; register a rule for the op that returns its "
                    "result, which is then run instead");
  for (const auto& r : op.results) {
    TORCH_CHECK_VALUE(r.kind != OpInfo::Kind::value, "[W081] [", op.short_name, "] returns something that is no tensor",
                      advice);
  }
  TORCH_CHECK_VALUE(!op.handle.hasKernelForDispatchKey(c10::DispatchKey::CompositeImplicitAutograd), "[W081] [",
                    op.short_name,
                    "] is made of other ops (CompositeImplicitAutograd), which come to Weft one by one; a rule of its "
                    "own would never be used");
}

}  // namespace

Rule parse_for(const OpInfo& op, const std::string& text) {
  check_op(op);
  Rule rule;
  try {
    rule = parse(text);
  } catch (const c10::Error& e) {
    TORCH_CHECK_VALUE(false, coded("W080", c10::str("[", op.short_name, "] ", e.what_without_backtrace())));
  }
  Check(op, rule).run();
  return rule;
}

void check_recipes(const OpInfo& op, const Rule& rule) { Check(op, rule).recipes(); }

}  // namespace weft::rules
