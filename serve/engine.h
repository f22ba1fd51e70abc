// The work of all requests, in batches: tokens of many clients go through a model together, and none waits for another's thousands of
// texts. Of a batch, requests that it completes are computed first.
//
// Every request that enters gets exactly one outcome, unless its client leaves or the engine stops first.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "core/config.h"
#include "core/types.h"

namespace keel::serve {

struct EngineLimits {
  int64_t batch_tokens = 4096;
  int64_t batch_texts = 256;
  int64_t queued_texts = 8192;
  int64_t queued_tokens = int64_t{1} << 22;
  int64_t queue_seconds = 150;  // below OpenRLHF's 180
};

inline void visit(EngineLimits& limits, core::Fields& fields) {
  fields("batch_tokens", limits.batch_tokens, "most tokens that go through the models together", core::at_least(1));
  fields("batch_texts", limits.batch_texts, "most texts that go through the models together", core::at_least(1));
  fields("queued_texts", limits.queued_texts, "most texts that wait; further requests are refused with 503 (TEI: 429)", core::at_least(1));
  fields("queued_tokens", limits.queued_tokens, "most tokens that wait, estimated by the bytes of a request until they are counted",
         core::at_least(1));
  fields("queue_seconds", limits.queue_seconds, "longest wait until a request's first text is computed, seconds; then 503",
         core::between(1, 86400));
}

// Values of rows of ids: one a row (a score), or several (log-probabilities).
using Values = std::vector<float>;
using Forward = std::function<std::vector<Values>(const std::vector<core::Ids>& rows)>;

// A row for one model. The rows of a batch go through their models apart.
struct Row {
  std::shared_ptr<const Forward> model;
  core::Ids ids;
};

enum class End { scored, expired, failed, not_finite };

// A request. Fields are the engine's from enter() on.
struct Job {
  std::shared_ptr<const std::atomic<bool>> gone;  // its client has left
  // Called once, from the engine's thread (by enter() where there are no rows), and then let go with all that it holds; only let go where
  // the client has left.
  std::function<void(End end, std::vector<Values> values)> finish;
  std::chrono::steady_clock::time_point entered = std::chrono::steady_clock::now();
  std::vector<Row> rows;
  std::vector<Values> values;
  std::chrono::steady_clock::time_point begun = {};  // its first row
  size_t next = 0, done = 0;
  int64_t texts = 0;                                // that it has room for in the queue
  int64_t released_texts = 0, released_tokens = 0;  // what the engine has given back of it, row by row
  bool failed = false;
};

// What the engine did, for metrics.
struct Batch {
  int64_t rows = 0, tokens = 0, padded_tokens = 0;
  double seconds = 0;
};

class Engine {
 public:
  Engine(const EngineLimits& limits, std::function<void(const Batch&)> observe);
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // Room in the queue, taken before anything costly is done for a request, and given back by release(). False: there is none. `held`: texts
  // that the same request has room for already. A request that is larger than the whole queue has room when nothing else waits; large ones
  // leave a tenth to small ones.
  bool reserve(int64_t texts, int64_t tokens, int64_t held = 0);
  void release(int64_t texts, int64_t tokens);

  void enter(std::shared_ptr<Job> job);
  void stop();  // what still waits is dropped without an outcome
  // Whether new work is refused: from a full queue on until a tenth of it is free, so that who asks does not see every single place.
  bool full() const { return full_; }
  int64_t queued_texts() const { return texts_; }
  int64_t queued_tokens() const { return tokens_; }

 private:
  bool nearly_full() const { return texts_ > limits_.queued_texts * 9 / 10 || tokens_ > limits_.queued_tokens * 9 / 10; }
  struct Turn {
    std::shared_ptr<Job> job;
    size_t row = 0;
  };
  void run();
  std::vector<Turn> next_batch(std::vector<std::shared_ptr<Job>>& expired, std::vector<std::shared_ptr<Job>>& left);
  static void end(Job& job, End how);
  void compute(const std::vector<Turn>& batch);
  void finish(const std::vector<Turn>& batch);

  EngineLimits limits_;
  std::function<void(const Batch&)> observe_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::shared_ptr<Job>> waiting_;  // the next turn first
  bool stopping_ = false;
  std::atomic<int64_t> texts_{0}, tokens_{0};
  std::atomic<bool> full_{false};
  std::thread thread_;
};

}  // namespace keel::serve
