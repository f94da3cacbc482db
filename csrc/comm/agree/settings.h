#pragma once
// What a program sets for the whole process and every rank must set alike. It is compared wherever ranks compare
// anything (check_same): a call of its own would wait for ever where one rank alone calls.
#include <string>

namespace weft::comm {

/// Notes the value of a setting; empty: its default.
void register_uniform_setting(const std::string& name, const std::string& value);

/// The same on two ranks whose settings are, whatever the order they were set in.
std::string settings();

}  // namespace weft::comm
