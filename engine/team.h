// Threads that work on one pass together.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <thread>
#include <utility>
#include <vector>

namespace keel::engine {

// `size` threads, of which the caller of run() is the first, or fewer where the system gives no more. They live as long as the team.
class Team {
 public:
  explicit Team(int size);
  Team(const Team&) = delete;
  Team& operator=(const Team&) = delete;
  ~Team();

  int size() const { return size_; }
  void run(const std::function<void(int member)>& work);  // once on each thread; returns when all have ended. `work` must not throw.
  void meet();                                            // inside run(): waits until every member has come here

 private:
  void wait_for_change(std::atomic<uint32_t>& value, uint32_t old);

  int size_;
  std::vector<std::thread> threads_;
  const std::function<void(int)>* work_ = nullptr;
  bool ends_ = false;
  std::atomic<uint32_t> starts_ = 0, meetings_ = 0;
  std::atomic<int> here_ = 0;
};

// Begin and end of a member's share of `count` things.
inline std::pair<int64_t, int64_t> share(int64_t count, int member, int size) {
  return {count * member / size, count * (member + 1) / size};
}

// Whether the members of a team take rows of a product, not columns: each then reads the whole matrix, which pays from so many rows on.
inline bool take_rows(int64_t rows, int size) {
  constexpr int64_t kLeast = 64;  // of a member
  return rows >= kLeast * size;
}

}  // namespace keel::engine
