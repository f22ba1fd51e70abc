// timings.jsonl: the seconds of each iteration by phase. A clock never tells the same twice, so these stay out of metrics.jsonl, which
// does.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <optional>

#include "core/metrics.h"

namespace keel::ppo {

class Stopwatch {
 public:
  // Seconds since the last call.
  double lap() {
    const auto now = std::chrono::steady_clock::now();
    const double seconds = std::chrono::duration<double>(now - last_).count();
    last_ = now;
    return seconds;
  }

 private:
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

class TimingLog {
 public:
  // Goes on after iteration `done`: rows of later ones, which will come again, and a torn last one are dropped.
  TimingLog(const std::filesystem::path& folder, int64_t done);
  TimingLog(const TimingLog&) = delete;
  TimingLog& operator=(const TimingLog&) = delete;
  ~TimingLog();
  void log(int64_t iteration, const core::MetricRow& seconds, std::optional<double> answers_per_second = {});

 private:
  std::filesystem::path path_;
  int descriptor_ = -1;
};

}  // namespace keel::ppo
