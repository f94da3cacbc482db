// The report as text and as JSON.
#include <nlohmann/json.hpp>
#include <weft/layout_map.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <map>

#include "base/quote.h"
#include "paths/report_parts.h"

namespace weft {
namespace {

constexpr size_t kReportColumns = 6;
constexpr int64_t kNotesShown = 20;  // of each kind
using Line = std::array<std::string, kReportColumns>;

// Characters, not bytes. What `printable` wrote is UTF-8.
size_t width(const std::string& text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

// Paths of hostile length would push every other column away.
std::string cell(const std::string& text) {
  constexpr size_t kLimit = 120;
  std::string out = printable(text);
  if (out.size() <= kLimit) return out;
  size_t end = kLimit;
  while (end > 0 && (out[end] & 0xC0) == 0x80) --end;
  return out.substr(0, end) + "…";
}

}  // namespace

std::string human(int64_t bytes) {
  constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  auto value = static_cast<double>(bytes);
  size_t unit = 0;
  while (value >= 1024 && unit + 1 < std::size(kUnits)) {
    value /= 1024;
    ++unit;
  }
  char text[32];
  std::snprintf(text, sizeof text, unit == 0 ? "%.0f %s" : "%.1f %s", value, kUnits[unit]);
  return text;
}

std::string shape_text(const std::vector<int64_t>& shape) {
  std::string out;
  for (int64_t size : shape) out += (out.empty() ? "" : ", ") + std::to_string(size);
  return "[" + out + "]";
}

std::string render(const PathReport& report) {
  std::vector<Line> lines{{"path", "shape", "rule", "layout", "whole", "per rank"}};
  for (const PathRow& row : report.rows) {
    lines.push_back({cell(row.path), shape_text(row.shape), row.pattern.empty() ? "-" : cell(row.pattern), row.layout,
                     human(row.bytes), human(row.bytes_per_rank)});
  }
  lines.push_back({"total", "", "", "", human(report.bytes), human(report.bytes_per_rank)});
  std::array<size_t, kReportColumns> widths{};
  for (const Line& line : lines) {
    for (size_t c = 0; c < kReportColumns; ++c) widths[c] = std::max(widths[c], width(line[c]));
  }
  std::string out = "layouts on " + printable(report.mesh) + "\n";
  for (const Line& line : lines) {
    for (size_t c = 0; c < kReportColumns; ++c) {
      const std::string padding(widths[c] - width(line[c]), ' ');
      const bool is_number = c >= 4;
      out += (c > 0 ? "  " : "") + (is_number ? padding + line[c] : line[c] + padding);
    }
    out += "\n";
  }
  if (!report.notes.empty()) out += "notes:\n";
  std::map<ReportNote::Kind, int64_t> counts;
  for (const ReportNote& note : report.notes) {
    if (++counts[note.kind] <= kNotesShown) out += "  " + printable(note.text) + "\n";
  }
  for (const auto& [kind, count] : counts) {
    if (count <= kNotesShown) continue;
    out += "  (" + std::to_string(count - kNotesShown) + " more notes of the kind " + to_string(kind) + ")\n";
  }
  return out;
}

std::string to_json(const PathReport& report) {
  using nlohmann::ordered_json;
  ordered_json rows = ordered_json::array(), notes = ordered_json::array();
  for (const PathRow& row : report.rows) {
    rows.push_back({{"path", row.path},
                    {"shape", row.shape},
                    {"item_bytes", row.item_bytes},
                    {"pattern", row.pattern.empty() ? ordered_json() : ordered_json(row.pattern)},
                    {"layout", row.layout},
                    {"bytes", row.bytes},
                    {"bytes_per_rank", row.bytes_per_rank}});
  }
  for (const ReportNote& note : report.notes) {
    notes.push_back({{"kind", to_string(note.kind)}, {"subject", note.subject}, {"text", note.text}});
  }
  const ordered_json out = {{"mesh", report.mesh},
                            {"bytes", report.bytes},
                            {"bytes_per_rank", report.bytes_per_rank},
                            {"rows", rows},
                            {"notes", notes}};
  // Paths come from users: what is not UTF-8 is replaced, never a reason to fail.
  return out.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

}  // namespace weft
