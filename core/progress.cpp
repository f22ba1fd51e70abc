// Progress lines on standard error.
#include "core/progress.h"

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <utility>

namespace keel::core {

Progress::Progress(std::string label, int64_t total, std::string unit, int64_t done)
    : label_(std::move(label)),
      unit_(std::move(unit)),
      total_(total),
      first_(done),
      begin_(Clock::now()),
      last_(begin_),
      terminal_(::isatty(STDERR_FILENO) != 0) {}

Progress::~Progress() {
  if (terminal_ && printed_) std::fputs("\n", stderr);
}

void Progress::update(int64_t done, std::string_view note) {
  const auto now = Clock::now();
  const auto pause = terminal_ ? std::chrono::milliseconds(250) : std::chrono::milliseconds(10'000);
  const bool finished = done >= total_ && printed_ && !finished_;  // short work prints nothing, long work also its last line
  if (now - last_ < pause && !finished) return;
  last_ = now;
  printed_ = true;
  finished_ = done >= total_;
  const double seconds = std::chrono::duration<double>(now - begin_).count();
  const std::string line = progress_line(label_, unit_, first_, done, total_, seconds, note);
  const std::string text = terminal_ ? "\r\x1b[K" + line : line + "\n";
  std::fwrite(text.data(), 1, text.size(), stderr);
  std::fflush(stderr);
}

std::string progress_line(std::string_view label, std::string_view unit, int64_t first, int64_t done, int64_t total, double seconds,
                          std::string_view note) {
  std::string line = fmt::format("{}: {} of {} {}", label, done, total, unit);
  if (total > 0) line += fmt::format(" ({} %)", std::clamp<int64_t>(done * 100 / total, 0, 100));
  const double rate = seconds > 0 ? static_cast<double>(done - first) / seconds : 0;
  if (rate > 0) {
    line += rate >= 100 ? fmt::format(", {:.0f} {}/s", rate, unit) : fmt::format(", {:.3g} {}/s", rate, unit);
    if (done < total) line += fmt::format(", {} left", format_duration(static_cast<double>(total - done) / rate));
  }
  if (!note.empty()) line += fmt::format(", {}", note);
  return line;
}

std::string format_duration(double seconds) {
  const double capped = std::isnan(seconds) ? 0 : std::clamp(seconds, 0.0, 1e9);
  const auto whole = static_cast<int64_t>(std::llround(capped));
  if (whole < 60) return fmt::format("{}s", whole);
  if (whole < 3600) return fmt::format("{}m {:02}s", whole / 60, whole % 60);
  return fmt::format("{}h {:02}m", whole / 3600, whole % 3600 / 60);
}

}  // namespace keel::core
