// Progress of long work with an estimate of what remains: one line rewritten on a terminal, a plain line now and then elsewhere.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

namespace keel::core {

class Progress {
 public:
  // `done`: units that an earlier process finished; the rate leaves them out.
  Progress(std::string label, int64_t total, std::string unit, int64_t done = 0);
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  ~Progress();
  void update(int64_t done, std::string_view note = {});  // cheap: prints at most four times a second (terminal) or every 10 s

 private:
  using Clock = std::chrono::steady_clock;
  void publish(int64_t done, std::string_view note, Clock::time_point now);

  std::string label_, unit_;
  int64_t total_, first_;
  Clock::time_point begin_, last_, last_published_;
  bool terminal_, printed_ = false, finished_ = false, published_ = false;
};

void hide_progress();  // from standard error, of a process that works beside the one that shows it

// From now on progress also goes into `file`, once a second, for other processes to read; "" ends that. What lies there is removed. The
// file is a help and no result: it is not synced, and where it cannot be written the work goes on.
void publish_progress(const std::filesystem::path& file);

// progress_line() of the work that publishes in `file`; nothing where there is none, or it cannot be read.
std::optional<std::string> published_progress(const std::filesystem::path& file);

// "ppo: 30 of 100 rollouts (30 %), 2 rollouts/s, 35s left, kl 0.01". `first` units were done before `seconds` started to count.
std::string progress_line(std::string_view label, std::string_view unit, int64_t first, int64_t done, int64_t total, double seconds,
                          std::string_view note);

// "1h 02m", "3m 20s", "12s"
std::string format_duration(double seconds);

}  // namespace keel::core
