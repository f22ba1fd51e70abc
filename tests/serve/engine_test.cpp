#include "serve/engine.h"

#include <cmath>
#include <condition_variable>
#include <map>
#include <mutex>

#include "core/log.h"
#include "core/rng.h"
#include "support/test_plain.h"

namespace keel::serve {
namespace {

// A model whose score of a row is its first id; it waits while the gate is closed, and remembers its batches.
class Gated {
 public:
  Gated()
      : forward(std::make_shared<const Forward>([this](const std::vector<core::Ids>& rows) {
          std::unique_lock lock(mutex_);
          entered_ += 1;
          if (begun) begun(rows);
          changed_.notify_all();
          changed_.wait(lock, [&] { return open_; });
          batches.push_back(rows);
          std::vector<Values> values;
          for (const auto& row : rows)
            values.push_back({static_cast<float>(row[0])});
          return values;
        })) {}

  void open() {
    const std::lock_guard lock(mutex_);
    open_ = true;
    changed_.notify_all();
  }
  void wait_until_entered() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return entered_ > 0; });
  }

  std::shared_ptr<const Forward> forward;
  std::function<void(const std::vector<core::Ids>& rows)> begun;  // set before the first row
  std::vector<std::vector<core::Ids>> batches;

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool open_ = false;
  int entered_ = 0;
};

// What became of jobs.
class Outcomes {
 public:
  std::shared_ptr<Job> job(const std::shared_ptr<const Forward>& model, int64_t first, size_t rows, size_t tokens = 1) {
    auto made = std::make_shared<Job>();
    for (size_t i = 0; i < rows; ++i) {
      core::Ids ids(tokens, 0);
      ids[0] = first + static_cast<int64_t>(i);
      made->rows.push_back({model, ids});
    }
    made->finish = [this, first](End end, std::vector<Values> values) {
      const std::lock_guard lock(mutex_);
      order.push_back(first);
      ends[first].push_back(end);
      scores[first] = std::move(values);
      changed_.notify_all();
    };
    return made;
  }
  void wait_for(size_t jobs) {
    std::unique_lock lock(mutex_);
    REQUIRE(changed_.wait_for(lock, std::chrono::seconds(20), [&] { return order.size() >= jobs; }));
  }

  std::vector<int64_t> order;
  std::map<int64_t, std::vector<End>> ends;
  std::map<int64_t, std::vector<Values>> scores;

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
};

void ignore(const Batch&) {}

}  // namespace

TEST_CASE("engine: rows of many jobs share batches in turn, so that thousands of texts do not hold up one", "[serve]") {
  Gated model;
  Outcomes outcomes;
  std::vector<size_t> answered;  // jobs, when a batch, or a part of one, begins
  model.begun = [&](const std::vector<core::Ids>&) { answered.push_back(outcomes.order.size()); };
  Engine engine({.batch_tokens = 100, .batch_texts = 10}, ignore);
  engine.enter(outcomes.job(model.forward, 1000, 1));
  model.wait_until_entered();                            // the first batch holds the first job alone
  engine.enter(outcomes.job(model.forward, 2000, 400));  // 40 batches
  for (const int64_t single : {1, 2, 3})
    engine.enter(outcomes.job(model.forward, single, 1));
  model.open();
  outcomes.wait_for(5);
  CHECK(outcomes.order == std::vector<int64_t>{1000, 1, 2, 3, 2000});
  // The second batch has a row of each in turn, of which those that it completes go through the model first.
  CHECK(model.batches[1] == std::vector<core::Ids>{{1}, {2}, {3}});
  CHECK(model.batches[2].size() == 7);
  CHECK((model.batches[2][0][0] == 2000 && model.batches[2][6][0] == 2006));
  CHECK(std::vector(answered.begin(), answered.begin() + 3) == std::vector<size_t>{0, 1, 4});
  const auto& scores = outcomes.scores[2000];
  REQUIRE(scores.size() == 400);
  for (size_t i = 0; i < scores.size(); ++i)
    CHECK(scores[i] == Values{2000.0F + static_cast<float>(i)});
}

TEST_CASE("engine: a batch holds no more tokens than it may, or one row; models do not share one", "[serve]") {
  Gated first, second;
  first.open(), second.open();
  Outcomes outcomes;
  {
    Engine engine({.batch_tokens = 50, .batch_texts = 100}, ignore);
    engine.enter(outcomes.job(first.forward, 100, 7, 20));
    engine.enter(outcomes.job(second.forward, 200, 7, 20));
    engine.enter(outcomes.job(first.forward, 300, 1, 80));
    outcomes.wait_for(3);
  }
  for (const Gated* model : {&first, &second})
    for (const auto& batch : model->batches) {
      CHECK((batch.size() <= 2 || batch[0].size() == 80));
      for (const auto& row : batch)
        CHECK((row[0] / 100 == 2) == (model == &second));
    }
  for (const int64_t job : {100, 200, 300})
    CHECK(outcomes.ends[job] == std::vector{End::scored});
}

TEST_CASE("engine: jobs whose client has left or whose time is over cost no work", "[serve]") {
  Gated model;
  Outcomes outcomes;
  Engine engine({.batch_texts = 1, .queue_seconds = 100}, ignore);
  engine.enter(outcomes.job(model.forward, 1, 1));
  model.wait_until_entered();
  const auto gone = std::make_shared<std::atomic<bool>>(false);
  auto left = outcomes.job(model.forward, 2, 1), late = outcomes.job(model.forward, 3, 1), good = outcomes.job(model.forward, 4, 1);
  left->gone = gone;
  late->entered -= std::chrono::seconds(200);
  for (const auto& job : {left, late, good})
    engine.enter(job);
  gone->store(true);
  model.open();
  outcomes.wait_for(3);
  CHECK(outcomes.ends[3] == std::vector{End::expired});
  CHECK(outcomes.ends[4] == std::vector{End::scored});
  CHECK_FALSE(outcomes.ends.contains(2));
  CHECK(model.batches.size() == 2);
}

TEST_CASE("engine: a job that is begun is not given up, however long it takes; one whose client leaves half-way is", "[serve]") {
  Gated model;
  Outcomes outcomes;
  Engine engine({.batch_texts = 1, .queue_seconds = 1}, ignore);
  const auto gone = std::make_shared<std::atomic<bool>>(false);
  auto long_one = outcomes.job(model.forward, 10, 3), left = outcomes.job(model.forward, 20, 3);
  left->gone = gone;
  engine.enter(long_one);
  model.wait_until_entered();
  engine.enter(left);
  long_one->entered -= std::chrono::seconds(100);
  gone->store(true);
  model.open();
  outcomes.wait_for(1);
  CHECK(outcomes.ends[10] == std::vector{End::scored});
  CHECK_FALSE(outcomes.ends.contains(20));
  CHECK(long_one->finish == nullptr);
  CHECK(left->finish == nullptr);  // it holds its request, which holds room in the queue
}

TEST_CASE("engine: a model that fails or gives no number ends its jobs alone, and the next ones are served", "[serve]") {
  core::set_log_level("off");
  Outcomes outcomes;
  Gated good;
  good.open();
  const auto broken =
      std::make_shared<const Forward>([](const std::vector<core::Ids>&) -> std::vector<Values> { throw std::runtime_error("no"); });
  const auto nan = std::make_shared<const Forward>(
      [](const std::vector<core::Ids>& rows) { return std::vector<Values>(rows.size(), Values{std::nanf("")}); });
  Engine engine({}, ignore);
  engine.enter(outcomes.job(broken, 1, 3));
  engine.enter(outcomes.job(nan, 2, 3));
  engine.enter(outcomes.job(good.forward, 3, 3));
  engine.enter(outcomes.job(good.forward, 4, 0));  // no texts
  outcomes.wait_for(4);
  CHECK(outcomes.ends[1] == std::vector{End::failed});
  CHECK(outcomes.ends[2] == std::vector{End::not_finite});
  CHECK(outcomes.ends[3] == std::vector{End::scored});
  CHECK(outcomes.ends[4] == std::vector{End::scored});
  core::set_log_level("error");
}

TEST_CASE("engine: the queue has room up to its limits; a request larger than all of it has room when nothing waits", "[serve]") {
  Engine engine({.queued_texts = 10, .queued_tokens = 100}, ignore);
  CHECK(engine.reserve(50, 1000));
  CHECK_FALSE(engine.reserve(1, 1));
  engine.release(50, 1000);
  CHECK(engine.reserve(9, 10));
  CHECK_FALSE(engine.reserve(2, 10));
  CHECK_FALSE(engine.reserve(1, 91));
  CHECK(engine.reserve(1, 90));
  CHECK((engine.queued_texts() == 10 && engine.queued_tokens() == 100));
}

TEST_CASE("engine: full from the last place on, or from the first small request that finds none, until a tenth is free", "[serve]") {
  Engine engine({.queued_texts = 20, .queued_tokens = 1000}, ignore);
  CHECK_FALSE(engine.full());
  CHECK(engine.reserve(19, 100));
  CHECK_FALSE(engine.full());
  CHECK(engine.reserve(1, 10));
  CHECK(engine.full());
  engine.release(1, 10);
  CHECK(engine.full());  // 19 of 20
  engine.release(1, 10);
  CHECK_FALSE(engine.full());
  CHECK_FALSE(engine.reserve(1, 950));  // a large request: small ones have room
  CHECK_FALSE(engine.full());
  CHECK(engine.reserve(1, 880));
  CHECK_FALSE(engine.full());
  CHECK_FALSE(engine.reserve(1, 40));
  CHECK(engine.full());
  engine.release(19, 970);
  CHECK_FALSE(engine.full());
  Engine one({.queued_texts = 1, .queued_tokens = 100}, ignore);
  CHECK(one.reserve(1, 5));
  CHECK(one.full());
  one.release(1, 5);
  CHECK_FALSE(one.full());
}

TEST_CASE("engine: of many jobs from many threads every one whose client stays has one outcome, with its own scores", "[serve]") {
  Gated model;
  model.open();
  Outcomes outcomes;
  std::atomic<size_t> stayed{0};
  {
    Engine engine({.batch_tokens = 300, .batch_texts = 7}, ignore);
    std::vector<std::thread> clients;
    for (int client = 0; client < 8; ++client)
      clients.emplace_back([&, client] {
        core::Stream random(1, "engine test", static_cast<uint64_t>(client));
        for (int i = 0; i < 100; ++i) {
          auto job = outcomes.job(model.forward, 1 + 100'000 * client + 1000 * i, 1 + random.below(12), 1 + random.below(60));
          const auto gone = std::make_shared<std::atomic<bool>>(random.chance(0.2));
          job->gone = gone;
          stayed += gone->load() ? 0 : 1;
          engine.enter(std::move(job));
        }
      });
    for (auto& client : clients)
      client.join();
    outcomes.wait_for(stayed);
  }
  CHECK(outcomes.order.size() == stayed);
  for (const auto& [first, ends] : outcomes.ends) {
    CHECK(ends == std::vector{End::scored});
    for (size_t i = 0; i < outcomes.scores[first].size(); ++i)
      CHECK(outcomes.scores[first][i][0] == static_cast<float>(first + static_cast<int64_t>(i)));
  }
}

}  // namespace keel::serve
