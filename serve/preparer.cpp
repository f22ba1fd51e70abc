#include "serve/preparer.h"

#include <exception>
#include <string>
#include <utility>

#include "core/log.h"

namespace keel::serve {

Preparer::Preparer() : thread_([this] { run(); }) {}

Preparer::~Preparer() {
  stop();
}

void Preparer::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
  std::exchange(waiting_, {}).clear();
  std::exchange(first_, {}).clear();
}

void Preparer::add(std::function<bool()> slice) {
  {
    const std::lock_guard lock(mutex_);
    waiting_.push_back(std::move(slice));
  }
  changed_.notify_all();
}

void Preparer::add_first(std::function<void()> work) {
  {
    const std::lock_guard lock(mutex_);
    first_.push_back(std::move(work));
  }
  changed_.notify_all();
}

void Preparer::run() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [&] { return stopping_ || !waiting_.empty() || !first_.empty(); });
    if (stopping_) return;
    std::function<bool()> slice;
    if (!first_.empty()) {
      slice = [work = std::move(first_.front())] {
        work();
        return false;
      };
      first_.pop_front();
    } else {
      slice = std::move(waiting_.front());
      waiting_.pop_front();
    }
    lock.unlock();
    bool more = false;
    try {
      more = slice();
    } catch (const std::exception& error) {  // requests answer for themselves; this is for what nobody thought of
      core::log_error(std::string("the preparation of a request failed: ") + error.what());
    }
    if (!more) slice = nullptr;  // what it holds may take a while to free
    lock.lock();
    if (more) waiting_.push_back(std::move(slice));
  }
}

}  // namespace keel::serve
