// The parser of the rule notation (rule.h).
#include <c10/util/Exception.h>
#include <c10/util/StringUtil.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <initializer_list>
#include <set>

#include "base/quote.h"
#include "rules/rule.h"

namespace weft::rules {
namespace {

constexpr size_t kMaxName = 64;

class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  Rule run() {
    Rule rule;
    rule.text = std::string(text_);
    rule.operands = operands();
    skip();
    expect("->");
    rule.results = operands();
    while (accept(';')) {
      skip();
      if (at_ < text_.size()) rule.attributes.push_back(attribute());
    }
    skip();
    if (at_ < text_.size()) fail("expected ';' or the end");
    check(rule);
    return rule;
  }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    TORCH_CHECK_VALUE(false, "[W080] rule \"", printable(text_), "\": ", what, " at column ", at_ + 1);
  }
  void skip() {
    while (at_ < text_.size() && std::isspace(static_cast<unsigned char>(text_[at_]))) ++at_;
  }
  bool peek(std::string_view s) const { return text_.substr(at_, s.size()) == s; }
  bool accept(char c) {
    skip();
    if (at_ < text_.size() && text_[at_] == c) return ++at_, true;
    return false;
  }
  void expect(std::string_view s) {
    if (!peek(s)) fail("expected '" + std::string(s) + "'");
    at_ += s.size();
  }
  std::string word() {
    const size_t begin = at_;
    while (at_ < text_.size() && (std::isalnum(static_cast<unsigned char>(text_[at_])) || text_[at_] == '_')) ++at_;
    if (begin == at_) fail("expected a name");
    if (at_ - begin > kMaxName) fail("a name of more than " + std::to_string(kMaxName) + " letters");
    return std::string(text_.substr(begin, at_ - begin));
  }
  int number() {
    const std::string w = word();
    int value = 0;
    const auto [end, error] = std::from_chars(w.data(), w.data() + w.size(), value);
    if (error != std::errc() || end != w.data() + w.size()) fail("expected an operand's number");
    return value;
  }

  std::vector<Operand> operands() {
    std::vector<Operand> out;
    do {
      out.push_back(operand());
    } while (accept(','));
    return out;
  }

  Operand operand() {
    Operand o;
    skip();
    for (bool prefix = true; prefix && at_ < text_.size();) {
      switch (text_[at_]) {
        case '*':
          o.list = true;
          break;
        case '?':
          o.optional = true;
          break;
        case '+':
          o.added_once = true;
          break;
        case '#':
          o.shape_only = true;
          break;
        default:
          prefix = false;
      }
      if (prefix) ++at_;
    }
    for (skip(); at_ < text_.size() && text_[at_] != ',' && text_[at_] != ';' && !peek("->"); skip()) {
      o.tokens.push_back(token());
    }
    return o;
  }

  Token token() {
    Token t;
    if (peek("...")) {
      at_ += 3;
      t.kind = Token::batch;
      if (at_ < text_.size() && (peek("-@") || peek("+@") || peek("~@"))) {
        t.edit = text_[at_];
        at_ += 2;
        t.argument = word();
      }
      return t;
    }
    if (accept('(')) {
      t.kind = Token::compound;
      while (!accept(')')) t.parts.push_back(word());
      if (t.parts.size() < 2) fail("a folded dimension has two factors or more");
      return t;
    }
    const std::string w = word();
    const bool one = w == "1";
    if (!one) t.name = w;
    t.kind = one ? Token::one : Token::factor;
    if (at_ < text_.size() && text_[at_] == '@') {
      ++at_;
      t.kind = Token::entries;
      t.argument = word();
    }
    return t;
  }

  std::string factor_name() {
    skip();
    if (peek("...")) return at_ += 3, "...";
    if (at_ < text_.size() && text_[at_] == '@') {
      ++at_;
      return "@" + word();
    }
    return word();
  }

  // The place in the list of the word that comes next.
  template <class T>
  T one_of(std::initializer_list<const char*> words) {
    skip();
    const size_t begin = at_;
    const std::string found = word();
    const auto* it = std::find(words.begin(), words.end(), found);
    if (it == words.end()) {
      at_ = begin;
      fail("'" + found + "' is none of: " + c10::Join(", ", std::vector<std::string>(words.begin(), words.end())));
    }
    return static_cast<T>(it - words.begin());
  }

  // A number, or what core calls it in its enumerations (at::Reduction, EmbeddingBagMode).
  int value_of(const std::string& argument) {
    skip();
    if (at_ < text_.size() && std::isdigit(static_cast<unsigned char>(text_[at_])) != 0) return number();
    if (argument == "reduction") return one_of<int>({"none", "mean", "sum"});
    if (argument == "mode") return one_of<int>({"sum", "mean", "max"});
    return number();
  }

  // What linear and carry name: operands that are pending together, alternatives between bars.
  std::vector<std::vector<int>> groups() {
    std::vector<std::vector<int>> out;
    do {
      std::vector<int> group;
      do {
        skip();
        if (peek("*")) {
          ++at_;
          group.push_back(-1);
        } else {
          group.push_back(number());
        }
      } while (accept('+'));
      out.push_back(std::move(group));
    } while (accept('|'));
    return out;
  }

  Attribute attribute() {
    const size_t begin = at_;
    const std::string kind = word();
    skip();
    Attribute a;
    if (kind == "linear" || kind == "carry") {
      a.kind = kind == "linear" ? Attribute::linear : Attribute::carry;
      a.groups = groups();
    } else if (kind == "when" || kind == "unless") {
      a.kind = kind == "when" ? Attribute::when : Attribute::unless;
      a.argument = word();
      if (accept('=')) a.value = value_of(a.argument);
    } else if (kind == "size") {
      a.kind = Attribute::size;
      for (skip(); !accept('@'); skip()) a.product.push_back(word());
      a.argument = word();
      if (accept('.')) a.entry = number();
    } else if (kind == "exact") {
      a.kind = Attribute::exact;
    } else {
      of_factor(kind, begin, a);
    }
    return a;
  }

  // What splitting a factor means; `begin`: where the attribute does.
  void of_factor(const std::string& kind, size_t begin, Attribute& a) {
    a.factor = factor_name();
    if (kind == "free") {
      a.kind = Attribute::free;
    } else if (kind == "halo") {
      a.kind = Attribute::halo;
      a.window = one_of<Window::Kind>({"convolution", "average", "maximum"});
    } else if (kind == "causal") {
      a.kind = Attribute::causal;
    } else if (kind == "whole") {
      a.kind = Attribute::whole;
      skip();
      if (peek("via")) {
        word();
        skip();
        a.via = word();
      }
    } else if (kind == "masked") {
      a.kind = Attribute::masked;
      skip();
      a.index_operand = number();
      if (one_of<int>({"zero", "ignore"}) == 1) {
        skip();
        if (!accept('@')) fail("expected @ and the argument whose value is ignored");
        a.argument = word();
      }
    } else {
      static const std::set<std::string> known{"sum", "max", "min", "product", "norm2"};
      if (!known.count(kind)) {
        at_ = begin;
        fail("unknown attribute '" + kind +
             "' (known: sum, max, min, product, norm2, whole, free, size, when, unless, exact, linear, carry)");
      }
      a.kind = Attribute::reduce;
      a.reduction = reduction_from_string(kind);
    }
  }

  // Where a factor is first named.
  size_t column(const std::string& factor, size_t from = 0) const {
    auto in_word = [&](size_t i) { return i < text_.size() && (std::isalnum(text_[i]) || text_[i] == '_'); };
    for (size_t i = text_.find(factor, from); i != text_.npos; i = text_.find(factor, i + 1)) {
      if (!(i > 0 && in_word(i - 1)) && !in_word(i + factor.size())) return i + 1;
    }
    return 1;
  }

  void check(const Rule& rule) const {
    auto names = [](const std::vector<Operand>& operands) {
      std::set<std::string> out;
      for (const Operand& o : operands) {
        for (const Token& t : o.tokens) {
          if (!t.name.empty()) out.insert(t.name);
          out.insert(t.parts.begin(), t.parts.end());
        }
      }
      return out;
    };
    const auto in = names(rule.operands), out = names(rule.results);
    std::set<std::string> declared;
    for (const Attribute& a : rule.attributes) declared.insert(a.factor);
    for (const std::string& f : in) {
      TORCH_CHECK_VALUE(out.count(f) || declared.count(f), "[W080] rule \"", printable(text_), "\": factor ", f,
                        " is in no result; say what splitting it means (sum, max, whole, masked, ...) at column ",
                        column(f));
    }
    for (const std::string& f : declared) {
      TORCH_CHECK_VALUE(f.empty() || f == "..." || f[0] == '@' || in.count(f) || out.count(f), "[W080] rule \"",
                        printable(text_), "\": attribute for factor ", f, " that no operand has, at column ",
                        column(f, text_.find(';')));
    }
  }

  std::string_view text_;
  size_t at_ = 0;
};

}  // namespace

Rule parse(std::string_view text) { return Parser(text).run(); }

}  // namespace weft::rules
