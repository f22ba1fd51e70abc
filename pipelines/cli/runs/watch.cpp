#include "pipelines/cli/runs/watch.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <iostream>
#include <map>
#include <thread>

#include "core/error.h"
#include "core/interrupt.h"
#include "core/terminal.h"
#include "pipelines/run/run_directory.h"

namespace keel::pipelines::cli::runs {
namespace {

using run::StageState;

bool is_done(const run::StageStatus& stage) {
  return stage.state == StageState::done;
}

int64_t count_done(const RunView& view) {
  return std::count_if(view.stages.begin(), view.stages.end(), is_done);
}

// A run changes under the look: what was there a moment ago may have another name now.
RunView steady(const std::function<RunView()>& look) {
  for (int attempt = 0;; ++attempt) {
    try {
      return look();
    } catch (const core::Error&) {
      if (attempt == 2) throw;
      std::this_thread::sleep_for(std::chrono::milliseconds(200));
    }
  }
}

std::string summary_of(const RunView& view) {
  if (view.stages.empty()) return "there is no run yet: waiting for it";
  const std::string done = fmt::format("{} of {} stages are done", count_done(view), view.stages.size());
  if (view.running) return done + (view.progress ? "; " + *view.progress : "");
  const auto next = std::find_if_not(view.stages.begin(), view.stages.end(), is_done);
  if (next == view.stages.end()) return done;
  return fmt::format("{}, no process works on it; next is {} ({}: {})", done, next->name, run::state_name(next->state), next->reason);
}

// Draws lines over the ones before.
class Screen {
 public:
  void draw(const RunView& view) {
    winsize size{};
    if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_row < 4 || size.ws_col < 20)
      size = {.ws_row = 24, .ws_col = 80, .ws_xpixel = 0, .ws_ypixel = 0};
    std::vector<std::string> lines = status_lines(view);
    lines.push_back(summary_of(view));
    const size_t most = size.ws_row - 1u;
    if (lines.size() > most) {  // what is done has gone by
      const size_t hidden = lines.size() - most + 1;
      lines.erase(lines.begin(), lines.begin() + static_cast<std::ptrdiff_t>(hidden));
      lines.insert(lines.begin(), fmt::format("({} stages before)", hidden));
    }
    std::string text = drawn_ > 0 ? fmt::format("\x1b[{}A\r", drawn_) : "";
    for (const std::string& line : lines)
      text += core::harmless_line(line, size.ws_col - 1u) + "\x1b[K\n";
    std::cout << text << "\x1b[J" << std::flush;
    drawn_ = lines.size();
  }

 private:
  size_t drawn_ = 0;
};

// A line for each change.
class Journal {
 public:
  void note(const RunView& view) {
    if (const std::string first = view.stages.empty() ? "" : "begun"; first != begun_ || lines_ == 0) say(summary_of(view));
    begun_ = view.stages.empty() ? "" : "begun";
    for (const auto& stage : view.stages) {
      const std::string state = state_of(view, stage);
      const auto [known, fresh] = states_.emplace(stage.name, state);
      if (!fresh && known->second != state) say(fmt::format("{} {}", stage.name, state));
      known->second = state;
    }
    if (view.running && view.progress && *view.progress != progress_) say(*view.progress);
    progress_ = view.progress.value_or("");
  }
  void say(const std::string& text) {
    std::cout << run::utc_now() << " " << core::harmless_line(text, 1000) << "\n" << std::flush;
    ++lines_;
  }

 private:
  std::map<std::string, std::string> states_;
  std::string begun_, progress_;
  int64_t lines_ = 0;
};

}  // namespace

void watch(const std::function<RunView()>& look, double seconds) {
  const bool terminal = ::isatty(STDOUT_FILENO) != 0;
  Screen screen;
  Journal journal;
  bool seen_running = false;
  for (;;) {
    const RunView view = steady(look);
    if (terminal)
      screen.draw(view);
    else
      journal.note(view);
    seen_running = seen_running || view.running;
    const bool all_done = !view.stages.empty() && count_done(view) == std::ssize(view.stages);
    if (!view.running && (seen_running || all_done)) {
      if (terminal)
        std::cout << "the run has ended\n";
      else
        journal.say("the run has ended: " + summary_of(view));
      return;
    }
    for (double waited = 0; waited < seconds; waited += 0.1) {
      if (core::interrupt_requested()) return;
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
    }
  }
}

}  // namespace keel::pipelines::cli::runs
