#include "comm/agree/settings.h"

#include <map>
#include <mutex>

namespace weft::comm {
namespace {

struct Settings {
  std::mutex mutex;
  std::map<std::string, std::string> values;
};

Settings& all() {
  static Settings* settings = new Settings();
  return *settings;
}

}  // namespace

void register_uniform_setting(const std::string& name, const std::string& value) {
  std::lock_guard<std::mutex> lock(all().mutex);
  if (value.empty()) {
    all().values.erase(name);
  } else {
    all().values[name] = value;
  }
}

std::string settings() {
  std::lock_guard<std::mutex> lock(all().mutex);
  std::string text;
  for (const auto& [name, value] : all().values) text += name + "=" + value + "\n";
  return text;
}

}  // namespace weft::comm
