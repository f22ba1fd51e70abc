#include "runtime/parallel.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/tensor.h>

#include <atomic>
#include <mutex>
#include <set>
#include <stdexcept>
#include <system_error>
#include <thread>

#include "support/test.h"

namespace keel::runtime {
namespace {

// Threads of the process for the length of a test.
struct Threads {
  int before = at::get_num_threads();
  explicit Threads(int count) { at::set_num_threads(count); }
  ~Threads() { at::set_num_threads(before); }
};

}  // namespace

TEST_CASE("parallel: every piece runs once, on as many threads as there are", "[runtime]") {
  const Threads threads(3);
  std::vector<int> runs(10);
  std::mutex lock;
  std::set<std::thread::id> workers;
  for_each_piece(10, [&](int64_t piece) {
    const std::lock_guard guard(lock);
    ++runs[static_cast<size_t>(piece)];
    workers.insert(std::this_thread::get_id());
    CHECK(at::get_num_threads() == 1);
  });
  CHECK(runs == std::vector<int>(10, 1));
  CHECK(workers.size() == 3);
  CHECK(at::get_num_threads() == 3);
  CHECK(worker_count(2) == 2);
  CHECK(worker_count(0) == 1);
}

TEST_CASE("parallel: a piece that asks for pieces runs them itself", "[runtime]") {
  const Threads threads(2);
  for_each_piece(2, [&](int64_t) {
    const auto self = std::this_thread::get_id();
    CHECK(worker_count(8) == 1);
    for_each_piece(3, [&](int64_t) { CHECK(std::this_thread::get_id() == self); });
  });
}

TEST_CASE("parallel: the caller's grad mode holds in every piece", "[runtime]") {
  const Threads threads(2);
  for_each_piece(2, [](int64_t) { CHECK(at::GradMode::is_enabled()); });
  const at::NoGradGuard no_grad;
  for_each_piece(2, [](int64_t) { CHECK_FALSE(at::GradMode::is_enabled()); });
}

TEST_CASE("parallel: of several failures the one of the lowest piece is thrown, once all workers have ended", "[runtime]") {
  const Threads threads(2);
  std::atomic<int> ended = 0;
  const auto work = [&](int64_t piece) {
    if (piece == 3 || piece == 4) throw std::runtime_error(std::to_string(piece));
    ++ended;
  };
  CHECK_THROWS_WITH(for_each_piece(8, work), "3");
  CHECK(ended == 3);  // 0 and 2 of one worker, 1 of the other: 3 and 4 failed, and nothing follows a failure
  CHECK(at::get_num_threads() == 2);
}

TEST_CASE("parallel: where no more threads can be made the others do the work, each piece once, on one intra-op thread", "[runtime]") {
  for (const int limit : {0, 1, 2}) {
    const Threads threads(4);
    int started = 0;
    const StartThread start = [&](std::function<void()> body) {
      if (started == limit) throw std::system_error(std::make_error_code(std::errc::resource_unavailable_try_again));
      ++started;
      return std::thread(std::move(body));
    };
    std::vector<int> runs(10);
    std::mutex lock;
    std::set<std::thread::id> workers;
    const auto work = [&](int64_t piece) {
      const std::lock_guard guard(lock);
      ++runs[static_cast<size_t>(piece)];
      workers.insert(std::this_thread::get_id());
      CHECK(at::get_num_threads() == 1);
      CHECK(worker_count(8) == 1);
    };
    for_each_piece(10, work, start);
    CHECK(runs == std::vector<int>(10, 1));
    CHECK(static_cast<int>(workers.size()) <= limit + 1);
    CHECK(at::get_num_threads() == 4);
    CHECK(worker_count(8) == 4);  // the caller is outside any piece again
    started = 0;
    CHECK_THROWS_WITH(for_each_piece(
                          10,
                          [](int64_t piece) {
                            if (piece % 4 == 3) throw std::runtime_error(std::to_string(piece));
                          },
                          start),
                      "3");  // of a worker that was never started
  }
}

TEST_CASE("parallel: gradients are those of the sum, at any number of threads", "[runtime]") {
  const at::Tensor a = at::arange(1, 5, at::kFloat), b = at::arange(2, 6, at::kFloat), unused = at::arange(3, at::kFloat);
  const Parameters parameters = {{"a", a}, {"b", b}, {"unused", unused}};
  for (const int count : {1, 2, 3}) {
    const Threads threads(count);
    set_trainable(parameters, true);
    // d/da sum_i (i a^2 + a + b) = sum_i (2 i a + 1) = 20 a + 5; d/db = 5.
    accumulate_gradients(parameters, 5, [&](int64_t i) { return (static_cast<double>(i) * a.square() + a + b).sum(); });
    CHECK(a.grad().equal(20 * a.detach() + 5));
    CHECK(b.grad().equal(at::tensor({5.F, 5.F, 5.F, 5.F})));
    CHECK_FALSE(unused.grad().defined());
    set_trainable(parameters, false);
  }
}

}  // namespace keel::runtime
