// Progress lines on standard error.
#include "core/progress.h"

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <mutex>
#include <nlohmann/json.hpp>
#include <utility>

namespace keel::core {
namespace {

namespace fs = std::filesystem;

// The file of publish_progress(). Pieces of one stage report from several threads.
std::mutex publishing;
fs::path& published_file() {
  static fs::path file;
  return file;
}

std::atomic<bool> hidden{false};

void remove_quietly(const fs::path& file) {
  std::error_code ignored;
  fs::remove(file, ignored);
}

}  // namespace

Progress::Progress(std::string label, int64_t total, std::string unit, int64_t done)
    : label_(std::move(label)),
      unit_(std::move(unit)),
      total_(total),
      first_(done),
      begin_(Clock::now()),
      last_(begin_),
      last_published_(begin_),
      terminal_(::isatty(STDERR_FILENO) != 0) {}

Progress::~Progress() {
  if (terminal_ && printed_) std::fputs("\n", stderr);
  const std::lock_guard lock(publishing);
  if (published_ && !published_file().empty()) remove_quietly(published_file());
}

void Progress::update(int64_t done, std::string_view note) {
  const auto now = Clock::now();
  publish(done, note, now);
  const auto pause = terminal_ ? std::chrono::milliseconds(250) : std::chrono::milliseconds(10'000);
  const bool finished = done >= total_ && printed_ && !finished_;  // short work prints nothing, long work also its last line
  if (hidden || (now - last_ < pause && !finished)) return;
  last_ = now;
  printed_ = true;
  finished_ = done >= total_;
  const double seconds = std::chrono::duration<double>(now - begin_).count();
  const std::string line = progress_line(label_, unit_, first_, done, total_, seconds, note);
  const std::string text = terminal_ ? "\r\x1b[K" + line : line + "\n";
  std::fwrite(text.data(), 1, text.size(), stderr);
  std::fflush(stderr);
}

void hide_progress() {
  hidden = true;
}

void Progress::publish(int64_t done, std::string_view note, Clock::time_point now) {
  if (now - last_published_ < std::chrono::seconds(1)) return;
  last_published_ = now;
  const std::lock_guard lock(publishing);
  const fs::path& file = published_file();
  if (file.empty()) return;
  published_ = true;
  const nlohmann::json object = {{"label", label_},          {"unit", unit_},
                                 {"first", first_},          {"done", done},
                                 {"total", total_},          {"seconds", std::chrono::duration<double>(now - begin_).count()},
                                 {"note", std::string(note)}};
  const fs::path fresh = file.string() + ".new";
  std::ofstream(fresh) << object.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  std::error_code ignored;
  fs::rename(fresh, file, ignored);
}

void publish_progress(const fs::path& file) {
  const std::lock_guard lock(publishing);
  published_file() = file;
  if (!file.empty()) remove_quietly(file);
}

std::optional<std::string> published_progress(const fs::path& file) {
  std::ifstream stream(file);
  const std::string text{std::istreambuf_iterator<char>(stream), {}};
  try {
    const nlohmann::json object = nlohmann::json::parse(text);
    return progress_line(object.at("label").get<std::string>(), object.at("unit").get<std::string>(), object.at("first").get<int64_t>(),
                         object.at("done").get<int64_t>(), object.at("total").get<int64_t>(), object.at("seconds").get<double>(),
                         object.at("note").get<std::string>());
  } catch (const nlohmann::json::exception&) {  // none, or one that was cut off by a kill
    return std::nullopt;
  }
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
