#pragma once
// One rule being bound to one call: bind.cpp finds its factors and their sizes, bind_place.cpp where they stand in the
// tensors, bind_attributes.cpp what else the rule says of them.
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "rules/bound.h"

namespace weft::rules {

class Binding {
 public:
  Binding(const Rule& rule, const Call& call, BoundRule& bound, std::string& why)
      : rule_(rule), call_(call), bound_(bound), why_(why) {}

  bool run();
  const std::map<std::string, int>& names() const { return names_; }

 private:
  // Matching (bind.cpp).
  bool read_conditions();
  bool holds(const Attribute& a) const;
  void match_operands();
  void match_results();
  void find_batch();
  void learn_sizes();
  int named(const std::string& name, int64_t size, bool operand);
  void occurrence(int factor, int64_t size, bool operand);
  int batch_factor(int64_t from_right, int64_t size, bool operand);

  // Placing (bind_place.cpp).
  bool place_all(std::vector<BoundRule::Tensor>& tensors, const std::vector<Operand>& operands, bool operand);
  bool place(BoundRule::Tensor& t, c10::IntArrayRef sizes, const std::vector<Operand>& operands, bool operand);
  bool place_folded(BoundRule::Dim& dim, const Token& token, int64_t size, bool operand);
  void place_entries(BoundRule::Tensor& t, const Token& token, c10::IntArrayRef sizes, int64_t first);
  bool place_batch(BoundRule::Tensor& t, const Token& token, c10::IntArrayRef sizes, int64_t first, int64_t count,
                   bool operand);
  bool place_edited_batch(BoundRule::Tensor& t, const Token& token, c10::IntArrayRef sizes, int64_t first,
                          int64_t count, bool operand);

  // Attributes (bind_attributes.cpp).
  void read_attributes();
  std::vector<int> factors_of(const std::string& name) const;
  void add_length(const Attribute& a);
  void add_pending(const Attribute& a);
  void mark(int factor, const Attribute& a);
  void slide(int factor, const Attribute& a);

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

/// How many dimensions the tokens stand for, batch ones apart.
size_t width(const std::vector<Token>& tokens, const Call& call);
bool has_batch(const std::vector<Token>& tokens);

}  // namespace weft::rules
