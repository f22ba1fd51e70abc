#include "serve/engine.h"

#include <algorithm>
#include <cmath>
#include <exception>
#include <map>
#include <utility>

#include "core/log.h"

namespace keel::serve {
namespace {

int64_t longest(const std::vector<core::Ids>& rows) {
  int64_t most = 0;
  for (const auto& row : rows)
    most = std::max(most, std::ssize(row));
  return most;
}

bool has_left(const Job& job) {
  return job.gone && job.gone->load();
}

}  // namespace

Engine::Engine(const EngineLimits& limits, std::function<void(const Batch&)> observe)
    : limits_(limits), observe_(std::move(observe)), thread_([this] { run(); }) {}

Engine::~Engine() {
  stop();
}

void Engine::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
  for (const auto& job : std::exchange(waiting_, {}))
    job->finish = nullptr;  // it may hold the job itself
}

bool Engine::reserve(int64_t texts, int64_t tokens, int64_t held) {
  const std::lock_guard lock(mutex_);
  constexpr int64_t kSmall = 64;
  const bool alone = texts_ == held;
  const int64_t tenths = texts + held > kSmall ? 9 : 10;
  if (!alone && (texts_ + texts > limits_.queued_texts * tenths / 10 || tokens_ + tokens > limits_.queued_tokens * tenths / 10)) {
    full_ = full_ || nearly_full();  // else it is the request that is large
    return false;
  }
  texts_ += texts;
  tokens_ += tokens;
  full_ = full_ || texts_ >= limits_.queued_texts || tokens_ >= limits_.queued_tokens;
  return true;
}

void Engine::release(int64_t texts, int64_t tokens) {
  const std::lock_guard lock(mutex_);
  texts_ -= texts;
  tokens_ -= tokens;
  full_ = full_ && nearly_full();
}

void Engine::enter(std::shared_ptr<Job> job) {
  job->values.resize(job->rows.size());
  job->begun = std::chrono::steady_clock::now();
  if (job->rows.empty()) return end(*job, End::scored);
  {
    const std::lock_guard lock(mutex_);
    waiting_.push_back(std::move(job));
  }
  changed_.notify_all();
}

// One row of each job in turn, until the batch is full. Jobs whose client has left or whose time is over are taken out here, before any
// work.
std::vector<Engine::Turn> Engine::next_batch(std::vector<std::shared_ptr<Job>>& expired, std::vector<std::shared_ptr<Job>>& left) {
  std::vector<Turn> batch;
  int64_t tokens = 0;
  const auto now = std::chrono::steady_clock::now();
  std::erase_if(waiting_, [&](const std::shared_ptr<Job>& job) {
    if (has_left(*job)) {
      left.push_back(job);
      return true;
    }
    if (job->next > 0 || now - job->entered < std::chrono::seconds(limits_.queue_seconds)) return false;  // one that is begun goes on
    expired.push_back(job);
    return true;
  });
  while (!waiting_.empty() && std::ssize(batch) < limits_.batch_texts) {
    const std::shared_ptr<Job> job = waiting_.front();
    const int64_t more = std::ssize(job->rows[job->next].ids);
    if (!batch.empty() && tokens + more > limits_.batch_tokens) break;
    tokens += more;
    if (job->next == 0) job->begun = now;
    batch.push_back({job, job->next++});
    waiting_.pop_front();
    if (job->next < job->rows.size()) waiting_.push_back(job);
  }
  return batch;
}

void Engine::compute(const std::vector<Turn>& batch) {
  std::map<const Forward*, std::vector<const Turn*>> by_model;
  for (const Turn& turn : batch)
    by_model[turn.job->rows[turn.row].model.get()].push_back(&turn);
  for (const auto& [model, turns] : by_model) {
    std::vector<core::Ids> rows;
    for (const Turn* turn : turns)
      rows.push_back(turn->job->rows[turn->row].ids);
    const auto begin = std::chrono::steady_clock::now();
    std::vector<Values> values;
    try {
      values = (*model)(rows);
    } catch (const std::exception& error) {
      core::log_error(std::string("a batch failed: ") + error.what());
    }
    Batch measured{.rows = std::ssize(rows), .tokens = 0, .padded_tokens = longest(rows) * std::ssize(rows), .seconds = 0};
    for (const auto& row : rows)
      measured.tokens += std::ssize(row);
    measured.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    observe_(measured);
    for (size_t i = 0; i < turns.size(); ++i) {
      Job& job = *turns[i]->job;
      if (i < values.size())
        job.values[turns[i]->row] = std::move(values[i]);
      else
        job.failed = true;
    }
  }
}

void Engine::end(Job& job, End how) {
  const auto finish = std::exchange(job.finish, nullptr);
  finish(how, std::move(job.values));
}

void Engine::finish(const std::vector<Turn>& batch) {
  for (const Turn& turn : batch) {
    Job& job = *turn.job;
    ++job.done;
    const auto texts = static_cast<int64_t>(job.done) * job.texts / std::ssize(job.rows) - job.released_texts;
    const auto tokens = job.texts > 0 ? std::ssize(job.rows[turn.row].ids) : 0;
    release(texts, tokens);
    job.released_texts += texts, job.released_tokens += tokens;
    if (job.finish == nullptr || (job.done < job.rows.size() && !job.failed)) continue;
    if (has_left(job)) {
      job.finish = nullptr;
      continue;
    }
    const bool finite = std::ranges::all_of(
        job.values, [](const Values& values) { return std::ranges::all_of(values, [](float value) { return std::isfinite(value); }); });
    end(job, job.failed ? End::failed : finite ? End::scored : End::not_finite);
  }
}

void Engine::run() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [&] { return stopping_ || !waiting_.empty(); });
    if (stopping_) return;
    std::vector<std::shared_ptr<Job>> expired, left;
    auto batch = next_batch(expired, left);
    lock.unlock();
    for (const auto& job : left)
      job->finish = nullptr;
    for (const auto& job : expired)
      end(*job, End::expired);
    // What this batch completes goes first: a request of a few texts does not wait for the rest of another's thousands.
    const auto rest = std::ranges::stable_partition(batch, [](const Turn& turn) { return turn.job->next == turn.job->rows.size(); });
    for (const auto& part : {std::vector(batch.begin(), rest.begin()), std::vector(rest.begin(), rest.end())}) {
      compute(part);
      finish(part);
    }
    lock.lock();
    std::erase_if(waiting_, [](const std::shared_ptr<Job>& job) { return job->finish == nullptr; });  // that failed
  }
}

}  // namespace keel::serve
