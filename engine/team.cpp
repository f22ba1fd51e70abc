#include "engine/team.h"

#include <system_error>

namespace keel::engine {

Team::Team(int size) : size_(size) {
  threads_.reserve(static_cast<size_t>(size));
  try {
    for (int member = 1; member < size; ++member)
      threads_.emplace_back([this, member] {
        for (uint32_t seen = 0;;) {
          wait_for_change(starts_, seen);
          ++seen;
          if (ends_) return;
          (*work_)(member);
          meet();
        }
      });
  } catch (const std::system_error&) {  // at a limit of threads: those that have started do the work of all
    size_ = 1 + static_cast<int>(threads_.size());
  }
}

Team::~Team() {
  ends_ = true;
  ++starts_;
  starts_.notify_all();
  for (auto& thread : threads_)
    thread.join();
}

void Team::run(const std::function<void(int)>& work) {
  if (size_ == 1) return work(0);
  work_ = &work;
  ++starts_;
  starts_.notify_all();
  work(0);
  meet();
}

void Team::meet() {
  if (size_ == 1) return;
  const uint32_t meeting = meetings_;
  if (here_.fetch_add(1) + 1 == size_) {
    here_ = 0;
    ++meetings_;
    meetings_.notify_all();
  } else {
    wait_for_change(meetings_, meeting);
  }
}

// The pieces between two meetings take microseconds, so that waking a thread would take longer than they do; but where another program
// has the core, only sleep lets it go on.
void Team::wait_for_change(std::atomic<uint32_t>& value, uint32_t old) {
  constexpr int kLooks = 4000;
  for (int i = 0; i < kLooks; ++i) {
    if (value != old) return;
#ifdef __x86_64__
    __builtin_ia32_pause();
#endif
  }
  while (value == old)
    value.wait(old);
}

}  // namespace keel::engine
