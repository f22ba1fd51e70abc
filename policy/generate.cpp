#include "policy/generate.h"

#include <algorithm>
#include <atomic>
#include <deque>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "core/interrupt.h"
#include "core/json.h"
#include "engine/forward.h"
#include "engine/prefix_cache.h"
#include "engine/sampling.h"
#include "policy/generator.h"
#include "policy/live_answer.h"
#include "policy/logprobs.h"
#include "policy/packed_model.h"
#include "policy/plain_generation.h"
#include "policy/shards.h"
#include "runtime/dist/ranks.h"
#include "runtime/parallel.h"

namespace keel::policy {
namespace {

// A prompt and the samples of it that are still to be started.
struct Source {
  int64_t prompt, next_sample, end_sample;
  int64_t computed = 0;  // of its positions
  engine::Sequence sequence = {};
  std::vector<float> logits = {};  // after its last token
};

// The prompts that no worker has taken yet.
class Queue {
 public:
  // Prompts are given out whole, so that each is computed once, unless they are too few for all workers.
  Queue(const GenerationJob& job, int64_t workers) {
    const auto prompts = std::ssize(job.prompts);
    const int64_t parts = prompts >= 4 * workers ? 1 : std::min(workers, job.samples);
    for (int64_t prompt = 0; prompt < prompts; ++prompt)
      for (int64_t part = 0; part < parts; ++part)
        waiting_.push_back({.prompt = prompt, .next_sample = job.samples * part / parts, .end_sample = job.samples * (part + 1) / parts});
  }
  bool take(Source& source) {
    const std::lock_guard lock(mutex_);
    if (waiting_.empty()) return false;
    source = std::move(waiting_.front());
    waiting_.pop_front();
    return true;
  }

 private:
  std::mutex mutex_;
  std::deque<Source> waiting_;
};

// What the workers have in common.
struct Shared {
  const engine::Model& model;
  engine::PagePool& pages;
  engine::PrefixCache& cache;
  std::atomic<int64_t>& prompt_tokens;  // read so far
};

struct Writing {
  LiveAnswer answer;
  engine::Sequence sequence;
};

// Writes answers until none are left: a pass computes one token of each answer in work and tokens of the prompts that come next; finished
// answers leave at once, and the next ones start in their place.
class Worker {
 public:
  Worker(const Llama& llama, const Shared& shared, const GenerationJob& job, int64_t most_answers, engine::Team& team)
      : llama_(llama),
        job_(job),
        most_answers_(most_answers),
        cut_{.temperature = job.sampling.temperature, .top_p = job.sampling.top_p, .top_k = job.sampling.top_k},
        pages_(shared.pages),
        cache_(shared.cache),
        prompt_tokens_(shared.prompt_tokens),
        forward_(shared.model, pages_, team),
        sampler_(shared.model.shape.outputs) {}
  ~Worker() {  // after an interrupt some are left
    for (Source& source : sources_)
      pages_.release(source.sequence);
    for (Writing& one : writing_)
      pages_.release(one.sequence);
  }
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  template <class Finished>
  void work(Queue& queue, std::vector<core::Sample>& answers, Finished&& finished) {
    for (;;) {
      core::stop_if_interrupted("generating answers");
      int64_t ended = start_answers(answers);
      take_prompts(queue);
      if (writing_.empty() && sources_.empty()) {
        if (ended > 0) finished(ended);
        return;
      }
      ended += pass();
      if (ended > 0) finished(ended);
    }
  }

 private:
  // Starts samples of the prompts that are computed, as many as there is room for; returns how many of them ended at once.
  int64_t start_answers(std::vector<core::Sample>& answers) {
    int64_t ended = 0;
    while (!sources_.empty() && !sources_.front().logits.empty() && std::ssize(writing_) < most_answers_) {
      Source& source = sources_.front();
      core::Sample& sample = answers[static_cast<size_t>(source.prompt * job_.samples + source.next_sample++)];
      Writing one{start_answer(llama_, job_, sample), {}};
      if (sample_token(one.answer, source.logits.data())) {
        one.sequence = pages_.fork(source.sequence, source.sequence.length);
        writing_.push_back(std::move(one));
      } else {
        ++ended;
      }
      if (source.next_sample == source.end_sample) {
        end(source.sequence, source.prompt, {});
        sources_.pop_front();
      }
    }
    return ended;
  }

  void take_prompts(Queue& queue) {
    int64_t coming = std::ssize(writing_);
    for (const Source& source : sources_)
      coming += source.end_sample - source.next_sample;
    for (Source source; coming < most_answers_ && queue.take(source); coming += source.end_sample - source.next_sample) {
      source.sequence = cache_.begin(job_.prompts[static_cast<size_t>(source.prompt)]);
      source.computed = source.sequence.length;
      sources_.push_back(source);
    }
  }

  int64_t pass() {
    std::vector<engine::Row> rows;
    std::vector<int64_t> wanted;  // rows whose logits are needed
    for (Writing& one : writing_) {
      pages_.extend(one.sequence, one.sequence.length + 1);
      wanted.push_back(std::ssize(rows));
      rows.push_back({&one.sequence, one.answer.sample->ids.back(), one.sequence.length - 1});
    }
    std::vector<Source*> computed;
    const int64_t most_rows =
        std::max(engine::kPassRows, std::ssize(rows) + engine::kPassRows / 4);  // prompts come on beside however many answers
    for (Source& source : sources_) {
      const core::Ids& prompt = job_.prompts[static_cast<size_t>(source.prompt)];
      const int64_t end = std::min(std::ssize(prompt), source.computed + most_rows - std::ssize(rows));
      if (end <= source.computed) continue;
      pages_.extend(source.sequence, end);
      prompt_tokens_ += end - source.computed;
      for (; source.computed < end; ++source.computed)
        rows.push_back({&source.sequence, prompt[static_cast<size_t>(source.computed)], source.computed});
      if (end < std::ssize(prompt)) break;
      wanted.push_back(std::ssize(rows) - 1);
      computed.push_back(&source);
    }
    forward_.run(rows, wanted);
    const int64_t vocabulary = llama_.config.vocab_size;
    const float* logits = forward_.logits(0, std::ssize(wanted));
    int64_t ended = 0;
    for (Writing& one : writing_) {
      one.answer.alive = sample_token(one.answer, logits);
      logits += vocabulary;
      if (one.answer.alive) continue;
      end(one.sequence, one.answer.sample->prompt, one.answer.sample->ids);
      ++ended;
    }
    std::erase_if(writing_, [](const Writing& one) { return !one.answer.alive; });
    for (Source* source : computed) {
      source->logits.assign(logits, logits + vocabulary);
      logits += vocabulary;
    }
    return ended;
  }

  // Of a prompt with an answer, the last of whose tokens has no keys and values, or without one.
  void end(engine::Sequence& sequence, int64_t prompt, const core::Ids& answer) {
    if (!cache_.keeps()) return pages_.release(sequence);
    core::Ids ids = core::joined(job_.prompts[static_cast<size_t>(prompt)], answer);
    ids.resize(static_cast<size_t>(sequence.length));
    cache_.keep(std::move(ids), std::exchange(sequence, {}));
  }

  bool sample_token(LiveAnswer& answer, const float* logits) {
    const engine::Choice choice = sampler_.choose(logits, cut_, answer.stream.uniform());
    return append(answer, choice.id, choice.logprob, job_);
  }

  const Llama& llama_;
  const GenerationJob& job_;
  int64_t most_answers_;
  engine::Cut cut_;
  engine::PagePool& pages_;
  engine::PrefixCache& cache_;
  std::atomic<int64_t>& prompt_tokens_;
  engine::Forward forward_;
  engine::Sampler sampler_;
  std::deque<Source> sources_;
  std::vector<Writing> writing_;
};

}  // namespace

struct Generator::Packed {
  Packed(const engine::Shape& shape, int64_t layers, int64_t kept_bytes) : pages(shape, layers), cache(pages, kept_bytes) {}

  std::optional<engine::Model> model;  // where it may stay
  engine::PagePool pages;
  engine::PrefixCache cache;
  std::atomic<int64_t> prompt_tokens = 0;

  void generate(const Llama& llama, const GenerationJob& job, std::vector<core::Sample>& answers);
};

void Generator::Packed::generate(const Llama& llama, const GenerationJob& job, std::vector<core::Sample>& answers) {
  const auto count = std::ssize(answers);
  const int threads = threads_for(llama, count);
  engine::Team everyone(threads);
  const struct Unpack {
    std::optional<engine::Model>& model;
    bool stays;
    ~Unpack() {
      if (!stays) model.reset();
    }
  } unpack{model, can_stay_packed(llama)};
  if (!model)
    model = packed_model(llama, llama.head, can_be_packed(llama) ? engine::Layout::panels : engine::Layout::as_they_lie, everyone);
  cache.begin_turn();
  // Many answers are dealt out to the threads, which then need not wait for each other. Of few, the threads compute each together.
  constexpr int64_t kEnough = 16;
  const int64_t workers = count >= kEnough * threads ? runtime::worker_count(threads) : 1;
  const int64_t most = std::min({job.batch_rows, positions_at_once(llama), (count + workers - 1) / workers});
  Queue queue(job, workers);
  std::mutex reporting;
  int64_t finished = 0;
  runtime::for_each_piece(workers, [&](int64_t) {
    engine::Team alone(1);
    Worker worker(llama, {*model, pages, cache, prompt_tokens}, job, most, workers == 1 ? everyone : alone);
    worker.work(queue, answers, [&](int64_t more) {
      const std::lock_guard lock(reporting);
      finished += more;
      if (job.done) job.done(finished);
    });
  });
}

Generator::Generator(const Llama& model, int64_t kept_bytes) : model_(model) {
  if (engine_takes(model)) packed_ = std::make_unique<Packed>(shape_of(model.config), std::ssize(model.layers), kept_bytes);
}

Generator::~Generator() = default;
Generator::Generator(Generator&&) noexcept = default;
Generator& Generator::operator=(Generator&&) noexcept = default;

int64_t Generator::prompt_tokens_read() const {
  return packed_ ? packed_->prompt_tokens.load() : 0;
}

int64_t Generator::pages_in_use() const {
  return packed_ ? packed_->pages.pages_in_use() : 0;
}

namespace {

void check_job(const Llama& model, const GenerationJob& job) {
  TORCH_CHECK(job.batch_rows >= 1, "[policy.generate] batch_rows must be at least 1, got ", job.batch_rows);
  TORCH_CHECK(job.limits.empty() || job.limits.size() == job.prompts.size(), "[policy.generate] ", job.prompts.size(),
              " prompts need as many limits, got ", job.limits.size());
  for (const int64_t limit : job.limits)
    TORCH_CHECK(limit >= 1, "[policy.generate] a limit must be at least 1, got ", limit);
  check_ids(model, job.prompts);
  for (size_t i = 0; i < job.prompts.size(); ++i) {
    const auto length = std::ssize(job.prompts[i]);
    TORCH_CHECK(length > 0, "[policy.generate] prompt ", i, " has no tokens");
    TORCH_CHECK(length < model.config.max_position_embeddings, "[policy.generate] prompt ", i, " of ", length,
                " tokens fills the model's context of ", model.config.max_position_embeddings, "; shorten it");
  }
}

// The prompts of this rank: every size()-th. A prompt keeps its record, so that its answers do not depend on the ranks.
GenerationJob own_prompts(const GenerationJob& job) {
  const auto ranks = runtime::dist::size();
  GenerationJob own = job;
  own.prompts.clear(), own.limits.clear(), own.records.clear();
  for (auto i = static_cast<size_t>(runtime::dist::rank()); i < job.prompts.size(); i += static_cast<size_t>(ranks)) {
    own.prompts.push_back(job.prompts[i]);
    own.records.push_back(job.records.empty() ? static_cast<int64_t>(i) : job.records[i]);
    if (!job.limits.empty()) own.limits.push_back(job.limits[i]);
  }
  if (job.done)
    own.done = [&job, ranks](int64_t finished) {
      job.done(std::min(finished * ranks, std::ssize(job.prompts) * job.samples));  // the others are about as far
    };
  return own;
}

// The answers of all ranks, in the order of prompts.
std::vector<core::Sample> all_answers(const GenerationJob& job, const std::vector<core::Sample>& own) {
  const auto ranks = runtime::dist::size();
  nlohmann::json rows = nlohmann::json::array();
  for (const core::Sample& sample : own)
    rows.push_back(to_json(sample));
  std::vector<core::Sample> all(job.prompts.size() * static_cast<size_t>(job.samples));
  for (int64_t rank = 0; const std::string& text : runtime::dist::gather(core::dump_json(rows))) {
    for (const nlohmann::json& row : core::parse_json(text, "answers of another rank")) {
      core::Sample sample = sample_from_json(row);
      sample.prompt = rank + sample.prompt * ranks;
      all.at(static_cast<size_t>(sample.prompt * job.samples + sample.sample)) = std::move(sample);
    }
    ++rank;
  }
  return all;
}

}  // namespace

std::vector<core::Sample> Generator::generate(const GenerationJob& job) {
  check_job(model_, job);
  if (runtime::dist::size() == 1) return generate_here(job);
  TORCH_CHECK(!job.sampled, "[policy.generate] tokens cannot be followed where several ranks share the prompts");
  core::stop_if_interrupted("generating answers");  // all ranks here: inside, one may have no prompts
  return all_answers(job, generate_here(own_prompts(job)));
}

std::vector<core::Sample> Generator::generate_here(const GenerationJob& job) {
  std::vector<core::Sample> answers(job.prompts.size() * static_cast<size_t>(job.samples));
  for (size_t i = 0; i < answers.size(); ++i) {
    answers[i].prompt = static_cast<int64_t>(i) / job.samples;
    answers[i].sample = static_cast<int64_t>(i) % job.samples;
  }
  if (answers.empty()) return answers;
  if (packed_)
    packed_->generate(model_, job, answers);
  else
    generate_plainly(model_, job, answers);
  return answers;
}

std::vector<core::Sample> generate(const Llama& model, const GenerationJob& job) {
  return Generator(model).generate(job);
}

bool records_exactly(const Llama& model) {
  return engine_takes(model);
}

}  // namespace keel::policy
