#include "annotation/parallel.h"

#include <algorithm>
#include <atomic>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

namespace keel::annotation {

std::exception_ptr run_in_parallel(int64_t workers, size_t count, const std::function<void(size_t)>& work) {
  std::atomic<size_t> next{0};
  std::exception_ptr failure;
  std::mutex lock;
  const auto take = [&] {
    try {
      for (size_t i = next++; i < count; i = next++)
        work(i);
    } catch (...) {
      const std::lock_guard guard(lock);
      failure = std::current_exception();
      next = count;
    }
  };
  std::vector<std::thread> threads;
  try {
    for (size_t i = 0; i < std::min(static_cast<size_t>(workers), count); ++i)
      threads.emplace_back(take);
  } catch (const std::system_error&) {  // no more threads
    if (threads.empty()) take();
  }
  for (auto& thread : threads)
    thread.join();
  return failure;
}

}  // namespace keel::annotation
