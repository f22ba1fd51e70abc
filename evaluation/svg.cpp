#include "evaluation/svg.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "core/utf8.h"

namespace keel::evaluation {
namespace {

constexpr double kCharacterWidth = 6.4;  // of an 11 px sans-serif digit, with slack for other fonts
constexpr size_t kColours = 7;
constexpr size_t kShapes = 5;

bool continues(char c) {
  return (static_cast<unsigned char>(c) & 0xC0) == 0x80;
}  // a byte inside a UTF-8 code point

std::string trim_zeros(std::string text) {
  if (text.find('.') != std::string::npos) {
    text.erase(text.find_last_not_of('0') + 1);
    if (text.back() == '.') text.pop_back();
  }
  return text == "-0" ? "0" : text;
}

std::string tick_label(double value, double step, double largest) {
  if (value == 0) return "0";  // never -0, 0k or 0.00
  if (largest >= 1e9 || step < 1e-4) return fmt::format("{:.3g}", value);
  if (largest >= 1e6 && step >= 1e4) return trim_zeros(fmt::format("{:.2f}", value / 1e6)) + "M";
  if (largest >= 1e4 && step >= 10) return trim_zeros(fmt::format("{:.2f}", value / 1e3)) + "k";
  const int decimals = std::max(0, static_cast<int>(-std::floor(std::log10(step) + 1e-9)));
  return fmt::format("{:.{}f}", value, decimals);
}

}  // namespace

std::string escape(std::string_view text) {
  std::string result;
  result.reserve(text.size());
  for (const char c : core::repair_utf8(text)) {
    switch (c) {
      case '&':
        result += "&amp;";
        break;
      case '<':
        result += "&lt;";
        break;
      case '>':
        result += "&gt;";
        break;
      case '"':
        result += "&quot;";
        break;
      case '\'':
        result += "&#39;";
        break;
      case '\n':
      case '\t':
        result += c;
        break;
      default:
        static_cast<unsigned char>(c) < 0x20 || c == 0x7F ? result += "\xEF\xBF\xBD" : result += c;
    }
  }
  return result;
}

std::string_view cut_text(std::string_view text, size_t limit) {
  if (text.size() <= limit) return text;
  size_t end = limit;
  while (end > 0 && limit - end < 4 && continues(text[end]))
    --end;
  return text.substr(0, end);
}

bool drawable(double value) {
  return std::abs(value) < 1e300;
}

std::string coordinate(double value) {
  return trim_zeros(fmt::format("{:.1f}", value));
}

std::string value_text(double value) {
  return std::isnan(value) ? "NaN" : fmt::format("{:.6g}", value);
}

void Range::add(double value) {
  if (!drawable(value)) return;
  const bool first = empty();
  low = first ? value : std::min(low, value);
  high = first ? value : std::max(high, value);
}

Range Range::padded(double share) const {
  if (empty()) return {0, 1};
  const double span = high - low;
  const double largest = std::max(std::abs(low), std::abs(high));
  if (span <= 1e-9 * largest || span < 1e-290) {  // one value: give it room, so that steps stay representable
    const double room = largest < 1e-280 ? 1 : 0.1 * largest;
    return {low - room, high + room};
  }
  return {low - share * span, high + share * span};
}

double nice_step(double span, int count) {
  const double raw = span / std::max(count, 1);
  const double power = std::pow(10.0, std::floor(std::log10(raw)));
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (raw <= factor * power * 1.0000001) return factor * power;
  }
  return 10 * power;
}

Ticks ticks(const Range& range, int count, bool whole_numbers) {
  double step = nice_step(range.high - range.low, count);
  if (whole_numbers) step = std::max(step, 1.0);
  const double largest = std::max(std::abs(range.low), std::abs(range.high));
  Ticks result;
  const double first = std::ceil(range.low / step - 1e-9);
  for (int i = 0; i < 50; ++i) {
    const double value = (first + i) * step;
    if (value > range.high + 1e-9 * step) break;
    result.values.push_back(value);
    result.labels.push_back(tick_label(value, step, largest));
  }
  return result;
}

std::string text_at(double x, double y, std::string_view anchor, std::string_view kind, std::string_view text) {
  const std::string style = kind.empty() ? "" : fmt::format(" class=\"{}\"", kind);
  const std::string place = anchor == "start" ? "" : fmt::format(" text-anchor=\"{}\"", anchor);
  return fmt::format("<text x=\"{}\" y=\"{}\"{}{}>{}</text>", coordinate(x), coordinate(y), place, style, escape(text));
}

double text_width(std::string_view text) {
  return kCharacterWidth * static_cast<double>(text.size() - static_cast<size_t>(std::count_if(text.begin(), text.end(), continues)));
}

std::string shorten(std::string_view text, double width) {
  if (text_width(text) <= width) return std::string(text);
  size_t end = 0;
  while (end < text.size() && (continues(text[end]) || text_width(text.substr(0, end + 1)) + text_width("..") <= width))
    ++end;
  return std::string(text.substr(0, end)) + "...";
}

void draw_x_axis(std::string& svg, const Frame& frame, const std::string& label, bool whole_numbers) {
  Ticks marks;
  for (int count = 7; count >= 2; --count) {  // as many as fit without touching
    marks = ticks(frame.x, count, whole_numbers);
    double widest = 0;
    for (const std::string& text : marks.labels)
      widest = std::max(widest, text_width(text) + 14);
    if (widest * static_cast<double>(marks.labels.size()) <= frame.right - frame.left) break;
  }
  for (size_t i = 0; i < marks.values.size(); ++i) {
    const double x = frame.at_x(marks.values[i]);
    svg += fmt::format("<path class=\"grid\" d=\"M{} {}V{}\"/>", coordinate(x), coordinate(frame.top), coordinate(frame.bottom));
    svg += text_at(x, frame.bottom + 15, "middle", "tick", marks.labels[i]);
  }
  svg += fmt::format("<path class=\"axis\" d=\"M{} {}H{}\"/>", coordinate(frame.left), coordinate(frame.bottom), coordinate(frame.right));
  svg += text_at((frame.left + frame.right) / 2, frame.bottom + 32, "middle", "label", label);
}

Frame draw_axes(std::string& svg, const Size& size, const Range& x, const Range& y, const std::string& x_label, const std::string& y_label,
                bool whole_x) {
  const Ticks marks = ticks(y, 6);
  double widest = 0;
  for (const std::string& text : marks.labels)
    widest = std::max(widest, text_width(text));
  const Frame frame{size.width, size.height, widest + 12, size.width - 14, 26, size.height - 40, x, y};
  for (size_t i = 0; i < marks.values.size(); ++i) {
    const double at = frame.at_y(marks.values[i]);
    svg += fmt::format("<path class=\"grid\" d=\"M{} {}H{}\"/>", coordinate(frame.left), coordinate(at), coordinate(frame.right));
    svg += text_at(frame.left - 7, at + 3.5, "end", "tick", marks.labels[i]);
  }
  svg += text_at(2, 12, "start", "label", y_label);
  draw_x_axis(svg, frame, x_label, whole_x);
  return frame;
}

std::string vertical_reference(const Frame& frame, const Reference& reference, double label_y) {
  if (!(reference.value >= frame.x.low && reference.value <= frame.x.high)) return "";
  const double x = frame.at_x(reference.value);
  const bool right_half = x > (frame.left + frame.right) / 2;
  return fmt::format("<path class=\"reference\" d=\"M{} {}V{}\"/>", coordinate(x), coordinate(label_y - 8), coordinate(frame.bottom)) +
         text_at(x + (right_half ? -5 : 5), label_y, right_half ? "end" : "start", "halo", reference.label);
}

std::string colour_class(size_t slot) {
  return fmt::format("c{}", slot % kColours);
}

std::string dash_attribute(size_t slot) {
  static constexpr std::array<std::string_view, kShapes> kDashes = {"", "8 3", "3 2.5", "9 3 2.5 3", "14 4"};
  return slot % kShapes == 0 ? "" : fmt::format(" stroke-dasharray=\"{}\"", kDashes[slot % kShapes]);
}

std::string marker_path(size_t slot, double x, double y, double radius) {
  const std::string start = fmt::format("M{} {}", coordinate(x), coordinate(y));
  const auto c = [&](double share) { return coordinate(share * radius); };
  switch (slot % kShapes) {
    case 0:
      return start + fmt::format("m{0} 0a{1} {1} 0 1 0 {2} 0a{1} {1} 0 1 0 {3} 0z", c(-1), c(1), c(2), c(-2));
    case 1:
      return start + fmt::format("m{0} {0}h{1}v{1}h{2}z", c(-0.9), c(1.8), c(-1.8));
    case 2:
      return start + fmt::format("m0 {}l{} {}h{}z", c(-1.2), c(1.2), c(2.1), c(-2.4));
    case 3:
      return start + fmt::format("m0 {0}l{1} {1}l{0} {1}l{0} {0}z", c(-1.3), c(1.3));
    default:
      return start + fmt::format("m0 {}l{} {}h{}z", c(1.2), c(1.2), c(-2.1), c(-2.4));
  }
}

std::string bad_mark(double x, double y) {
  return fmt::format("<path class=\"bad\" d=\"M{} {}m-3.5 -3.5l7 7m0 -7l-7 7\"/>", coordinate(x), coordinate(y));
}

std::vector<size_t> thin(const Series& series, size_t limit) {
  const size_t count = series.y.size();
  std::vector<size_t> kept;
  if (count <= limit) {
    for (size_t i = 0; i < count; ++i)
      kept.push_back(i);
    return kept;
  }
  const bool band = !series.low.empty();
  const size_t stretches = std::max<size_t>(limit / (band ? 5 : 3), 2) - 1;
  const auto extreme = [&](const std::vector<double>& values, size_t begin, size_t end, bool greatest) {
    size_t best = end;
    for (size_t i = begin; i < end; ++i) {
      if (drawable(values[i]) && (best == end || (greatest ? values[i] > values[best] : values[i] < values[best]))) best = i;
    }
    if (best < end) kept.push_back(best);
  };
  kept = {0, count - 1};
  for (size_t stretch = 0; stretch < stretches; ++stretch) {
    const size_t begin = count * stretch / stretches, end = count * (stretch + 1) / stretches;
    extreme(series.y, begin, end, false);
    extreme(series.y, begin, end, true);
    if (band) {
      extreme(series.low, begin, end, false);
      extreme(series.high, begin, end, true);
    }
    for (size_t i = begin; i < end; ++i) {
      if (drawable(series.x[i]) && drawable(series.y[i])) continue;
      kept.push_back(i);
      break;
    }
  }
  std::sort(kept.begin(), kept.end());
  kept.erase(std::unique(kept.begin(), kept.end()), kept.end());
  return kept;
}

}  // namespace keel::evaluation
