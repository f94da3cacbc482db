// LayoutMap <-> JSON plan files.
#include <c10/util/Exception.h>
#include <nlohmann/json.hpp>
#include <weft/layout_map.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>

#include "base/quote.h"
#include "base/write_file.h"
#include "paths/json_reader.h"

namespace weft {
namespace {

constexpr const char* kVersionKey = "weft_layout_map";
constexpr int64_t kVersion = 1;

// What only plans have.
struct Reader : JsonReader {
  void only_keys(const JsonValue& object, std::initializer_list<std::string_view> known) const {
    for (const auto& [key, value] : object.members) {
      if (std::find(known.begin(), known.end(), key) == known.end()) fail(value, "unknown key " + quote(key));
    }
  }
  std::vector<int64_t> integers(const JsonValue& array, const std::string& what) const {
    std::vector<int64_t> out;
    for (const JsonValue& item : array.items) {
      expect(item, "an entry of " + what, JsonValue::integer);
      out.push_back(item.number);
    }
    return out;
  }
  std::vector<std::string> strings(const JsonValue& array, const std::string& what) const {
    std::vector<std::string> out;
    for (const JsonValue& item : array.items) {
      expect(item, "an entry of " + what, JsonValue::string);
      out.push_back(item.text);
    }
    return out;
  }
  // Mesh and LayoutMap do not know of the text; their errors get its place.
  template <class F>
  auto placed(const JsonValue& at, F&& call) const -> decltype(call()) {
    try {
      return call();
    } catch (const c10::ValueError& error) {
      fail(at, error.what_without_backtrace());
    }
  }

  Mesh mesh(const JsonValue& object) const {
    only_keys(object, {"shape", "axis_names", "ranks", "device_type"});
    std::vector<int64_t> shape = integers(need(object, "shape", JsonValue::array), "\"shape\"");
    std::vector<std::string> names = strings(need(object, "axis_names", JsonValue::array), "\"axis_names\"");
    std::vector<int64_t> ranks;
    if (object.member("ranks") != nullptr) ranks = integers(need(object, "ranks", JsonValue::array), "\"ranks\"");
    std::string device_type = "cpu";
    if (object.member("device_type") != nullptr) device_type = need(object, "device_type", JsonValue::string).text;
    return placed(object, [&] { return DeviceMesh::get(shape, names, ranks, device_type); });
  }

  DimAxes axes(const JsonValue& array) const {
    DimAxes out;
    for (const JsonValue& dim : array.items) {
      switch (dim.kind) {
        case JsonValue::null:
          out.emplace_back();
          break;
        case JsonValue::string:
          out.push_back({dim.text});
          break;
        case JsonValue::array:
          out.push_back(strings(dim, "a dimension's axes"));
          break;
        default:
          fail(dim,
               std::string("a dimension must be null, an axis name or an array of axis names, not ") + dim.kind_name());
      }
    }
    return out;
  }
};

}  // namespace

std::string LayoutMap::to_json() const {
  using nlohmann::ordered_json;
  ordered_json rules = ordered_json::object();
  for (const LayoutRule& rule : this->rules()) {
    ordered_json axes = ordered_json::array();
    for (const auto& dim : rule.axes) {
      axes.push_back(dim.empty() ? ordered_json() : dim.size() == 1 ? ordered_json(dim[0]) : ordered_json(dim));
    }
    rules[rule.pattern] = std::move(axes);
  }
  const Mesh m = mesh();
  const ordered_json mesh_json = {
      {"shape", m->shape()}, {"axis_names", m->axis_names()}, {"ranks", m->ranks()}, {"device_type", m->device_type()}};
  // One rule a line: what dump() makes of nested arrays is long and hard to compare.
  try {
    std::string text = "{\n  \"" + std::string(kVersionKey) + "\": " + std::to_string(kVersion) +
                       ",\n  \"mesh\": " + mesh_json.dump() + ",\n  \"rules\": {";
    const char* separator = "\n";
    for (const auto& [pattern, axes] : rules.items()) {
      text += separator + ("    " + ordered_json(pattern).dump()) + ": " + axes.dump();
      separator = ",\n";
    }
    return text + (rules.empty() ? "}\n}\n" : "\n  }\n}\n");
  } catch (const nlohmann::json::exception& error) {
    TORCH_CHECK_VALUE(false, "[W045] LayoutMap: an axis name cannot be written as JSON: ", printable(error.what()));
  }
}

LayoutMap LayoutMap::from_json(const std::string& text, Mesh mesh, const std::string& source) {
  const JsonValue root = parse_json(text, source);
  const Reader reader{{text, source}};
  reader.expect(root, "a plan", JsonValue::object);
  const JsonValue& version = reader.need(root, kVersionKey, JsonValue::integer);
  if (version.number != kVersion) {
    reader.fail(version, "this is version " + std::to_string(version.number) + " of the format; version " +
                             std::to_string(kVersion) + " is known");
  }
  reader.only_keys(root, {kVersionKey, "mesh", "rules"});
  if (mesh == nullptr) mesh = reader.mesh(reader.need(root, "mesh", JsonValue::object));
  LayoutMap map(mesh);
  for (const auto& [pattern, value] : reader.need(root, "rules", JsonValue::object).members) {
    reader.expect(value, "the layout of " + quote(pattern), JsonValue::array);
    DimAxes axes = reader.axes(value);
    reader.placed(value, [&] { map.insert(pattern, std::move(axes)); });
  }
  return map;
}

void LayoutMap::save(const std::string& file) const { write_file(file, to_json()); }

LayoutMap LayoutMap::load(const std::string& file, Mesh mesh) {
  std::ifstream in(file, std::ios::binary);
  TORCH_CHECK_VALUE(in, "[W110] cannot read ", quote(file), ": ", std::strerror(errno));
  const size_t limit = JsonLimits().bytes;
  std::string text(limit + 1, '\0');
  in.read(text.data(), static_cast<std::streamsize>(text.size()));
  TORCH_CHECK_VALUE(!in.bad(), "[W110] cannot read ", quote(file));
  text.resize(static_cast<size_t>(in.gcount()));
  TORCH_CHECK_VALUE(text.size() <= limit, "[W045] ", quote(file), " is larger than ", limit, " bytes");
  return from_json(text, mesh, file);
}

}  // namespace weft
