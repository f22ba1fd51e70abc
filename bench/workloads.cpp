// Tokens a second of keel's workloads on a 15 M model with random weights (dim 288, 6 layers, 6 heads, ffn 768, vocab 32,000, untied):
// generation at batch 1, 16 and 64, SFT steps, reward-model scoring and training, rejection sampling, and the phases of a PPO iteration.
// Padding tokens do not count. "growth_..." says how the speed of generation goes with sizes (bench/growth.py).
//
// KEEL_BENCH_MODEL names a model folder to use instead; ids then come from the folder inputs/ beside it, if it exists, so that other
// programs can be timed on the same weights and tokens (bench/compare.py). KEEL_BENCH_PAIRS names a file of HH-RLHF's format whose first
// pairs train the reward model. docs/performance.md has the table.
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <benchmark/benchmark.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <numeric>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "bench/shape.h"
#include "core/json.h"
#include "core/jsonl.h"
#include "core/rng.h"
#include "data/tokenizer.h"
#include "policy/arithmetic.h"
#include "policy/generate.h"
#include "policy/generator.h"
#include "policy/logprobs.h"
#include "policy/model_directory.h"
#include "policy/packed_model.h"
#include "ppo/train.h"
#include "ppo/trainer.h"
#include "reward/model.h"
#include "reward/pair_scores.h"
#include "reward/ranking_loss.h"
#include "runtime/device.h"
#include "runtime/parallel.h"

namespace keel::bench {
namespace {

const policy::Llama& model() {
  static const policy::Llama loaded = [] {
    if (const char* folder = std::getenv("KEEL_BENCH_MODEL")) return policy::load_llama(folder);
    return policy::make_llama(fifteen_million(), 1);
  }();
  return loaded;
}

std::vector<core::Ids> random_rows(int64_t count, int64_t length) {
  std::vector<core::Ids> rows;
  for (int64_t i = 0; i < count; ++i) {
    core::Stream stream(1, "bench", static_cast<uint64_t>(i));
    rows.emplace_back();
    for (int64_t t = 0; t < length; ++t)
      rows.back().push_back(static_cast<int64_t>(stream.below(static_cast<uint64_t>(model().config.vocab_size))));
  }
  return rows;
}

// `count` rows of inputs/FILE beside the model, cut to `length` ids (0: whole); random ones of the same size where there is none.
std::vector<core::Ids> input_rows(const std::string& file, int64_t count, int64_t length) {
  const char* folder = std::getenv("KEEL_BENCH_MODEL");
  const auto path = std::filesystem::absolute(folder == nullptr ? "." : folder).parent_path() / "inputs" / file;
  if (folder == nullptr || !std::filesystem::exists(path)) return random_rows(count, length > 0 ? length : 200);
  std::vector<core::Ids> rows;
  core::JsonlReader reader(path);
  for (nlohmann::json row; std::ssize(rows) < count && reader.next(row);) {
    rows.push_back(row.at("ids").get<core::Ids>());
    if (length > 0 && std::ssize(rows.back()) > length) rows.back().resize(static_cast<size_t>(length));
  }
  return rows;
}

int64_t tokens_of(const std::vector<core::Ids>& rows) {
  int64_t tokens = 0;
  for (const auto& row : rows)
    tokens += std::ssize(row);
  return tokens;
}

void report_tokens(benchmark::State& state, int64_t tokens) {
  state.counters["tokens/s"] = benchmark::Counter(static_cast<double>(tokens), benchmark::Counter::kIsIterationInvariantRate);
}

// A generator that has laid out the weights, as those of other programs are before they are timed.
policy::Generator ready_generator() {
  policy::Generator generator(model());
  benchmark::DoNotOptimize(generator.generate({.prompts = random_rows(1, 8), .sampling = {.max_new_tokens = 1}}));
  return generator;
}

// Prompts of 64 ids, 64 new ids each, T = 1 over the whole vocabulary, log-probs recorded; prefill included.
void generation(benchmark::State& state) {
  const auto prompts = input_rows("prompts64.jsonl", state.range(0), 64);
  policy::Generator generator = ready_generator();
  for (auto _ : state)
    benchmark::DoNotOptimize(generator.generate({.prompts = prompts, .sampling = {.max_new_tokens = 64}, .seed = 1, .purpose = "bench"}));
  report_tokens(state, state.range(0) * 64);
}
BENCHMARK(generation)->Arg(1)->Arg(16)->Arg(64)->Unit(benchmark::kMillisecond)->UseRealTime();

// K samples of one prompt of 256 ids.
void generation_samples(benchmark::State& state) {
  const auto prompts = input_rows("prompts256.jsonl", 1, 256);
  policy::Generator generator = ready_generator();
  for (auto _ : state)
    benchmark::DoNotOptimize(generator.generate(
        {.prompts = prompts, .samples = state.range(0), .sampling = {.max_new_tokens = 64}, .seed = 1, .purpose = "bench"}));
  report_tokens(state, state.range(0) * 64);
}
BENCHMARK(generation_samples)->Arg(16)->Unit(benchmark::kMillisecond)->UseRealTime();

// Lengths of answers: those in inputs/lengths.json, which are of HH-RLHF, or 8 to 256 in turn.
std::vector<int64_t> natural_lengths(int64_t count) {
  std::vector<int64_t> lengths;
  const char* folder = std::getenv("KEEL_BENCH_MODEL");
  const auto path = std::filesystem::absolute(folder == nullptr ? "." : folder).parent_path() / "inputs/lengths.json";
  if (folder != nullptr && std::filesystem::exists(path)) lengths = core::read_json_file(path).get<std::vector<int64_t>>();
  for (int64_t i = std::ssize(lengths); i < count; ++i)
    lengths.push_back(8 + 31 * i % 249);
  lengths.resize(static_cast<size_t>(count));
  return lengths;
}

int64_t sum(const std::vector<int64_t>& lengths) {
  return std::accumulate(lengths.begin(), lengths.end(), int64_t{0});
}

// `samples` answers to each prompt, which are cut at its length.
policy::GenerationJob natural_job(const std::vector<core::Ids>& prompts, const std::vector<int64_t>& lengths, int64_t samples = 1) {
  return {.prompts = prompts,
          .samples = samples,
          .sampling = {.max_new_tokens = *std::ranges::max_element(lengths)},
          .limits = lengths,
          .seed = 1,
          .purpose = "bench"};
}

// Prompts of 64 ids and answers of natural lengths.
void generation_natural(benchmark::State& state) {
  const auto lengths = natural_lengths(state.range(0));
  const auto job = natural_job(input_rows("prompts64.jsonl", state.range(0), 64), lengths);
  policy::Generator generator = ready_generator();
  for (auto _ : state)
    benchmark::DoNotOptimize(generator.generate(job));
  report_tokens(state, sum(lengths));
}
BENCHMARK(generation_natural)->Arg(256)->Unit(benchmark::kMillisecond)->UseRealTime();

// How tokens a second go with batch, lengths, samples of a prompt and the model's width, for bench/growth.py. Tokens of prompts count where
// they are what grows.
void grow(benchmark::State& state, const policy::Llama& model, int64_t prompts, int64_t prompt, int64_t samples, int64_t answer,
          bool count_prompts = false) {
  const policy::GenerationJob job{.prompts = random_rows(prompts, prompt),
                                  .samples = samples,
                                  .sampling = {.max_new_tokens = answer},
                                  .seed = 1,
                                  .purpose = "bench",
                                  .batch_rows = prompts * samples};
  for (auto _ : state)
    benchmark::DoNotOptimize(policy::generate(model, job));
  report_tokens(state, count_prompts ? prompts * (prompt + answer) : prompts * samples * answer);
}
void growth_batch(benchmark::State& state) {
  grow(state, model(), state.range(0), 64, 1, 64);
}
void growth_answer(benchmark::State& state) {
  grow(state, model(), 16, 64, 1, state.range(0));
}
void growth_prompt(benchmark::State& state) {
  grow(state, model(), 16, state.range(0), 1, 1, true);
}
void growth_samples(benchmark::State& state) {
  grow(state, model(), 1, 256, state.range(0), 64);
}
void growth_width(benchmark::State& state) {  // 6 layers, heads of 32
  policy::LlamaConfig shape = fifteen_million();
  shape.hidden_size = state.range(0), shape.intermediate_size = state.range(0) * 8 / 3;
  shape.num_attention_heads = shape.num_key_value_heads = state.range(0) / 32;
  const policy::Llama made = policy::make_llama(shape, 1);
  grow(state, made, 16, 1, 1, 64);
  const int64_t width = shape.hidden_size, layer = 4 * width * width + 3 * width * shape.intermediate_size;
  state.counters["weights"] = static_cast<double>(shape.num_hidden_layers * layer + shape.vocab_size * width);
}
BENCHMARK(growth_batch)->RangeMultiplier(2)->Range(1, 256)->Unit(benchmark::kMillisecond)->UseRealTime();
BENCHMARK(growth_answer)->RangeMultiplier(2)->Range(16, 1024)->Unit(benchmark::kMillisecond)->UseRealTime();
BENCHMARK(growth_prompt)->RangeMultiplier(2)->Range(16, 1024)->Unit(benchmark::kMillisecond)->UseRealTime();
BENCHMARK(growth_samples)->RangeMultiplier(2)->Range(1, 128)->Unit(benchmark::kMillisecond)->UseRealTime();
BENCHMARK(growth_width)->RangeMultiplier(2)->Range(64, 1024)->Unit(benchmark::kMillisecond)->UseRealTime();

// Times `work` after it was done once: the first time the optimiser's moments and gradients get their memory.
template <class Work>
void time_again(benchmark::State& state, Work&& work) {
  work();
  for (auto _ : state)
    work();
}

// Optimiser steps on `rows`, packed into rows of `row_tokens`, `batch_rows` of them a step and `micro_rows` a micro-batch, every id a
// target.
void train_on(benchmark::State& state, const std::vector<core::Ids>& rows, int64_t row_tokens, size_t batch_rows, size_t micro_rows) {
  const policy::Llama trained = policy::frozen_copy(model());
  const auto parameters = policy::parameters(trained);
  runtime::set_trainable(parameters, true);
  runtime::AdamW optimizer(parameters, {});
  const runtime::OneWorker one(policy::threads_share(trained));
  std::vector<core::TokenSequence> sequences;
  std::vector<int64_t> lengths;
  for (const auto& row : rows) {
    sequences.push_back({.ids = row, .loss_mask = std::vector<bool>(row.size(), true)});
    lengths.push_back(std::ssize(row));
  }
  const auto plan = runtime::plan_rows(lengths, row_tokens);
  time_again(state, [&] {
    for (size_t begin = 0; begin < plan.size(); begin += batch_rows) {
      const size_t end = std::min(begin + batch_rows, plan.size());
      std::vector<runtime::TargetBatch> parts;
      for (size_t from = begin; from < end; from += micro_rows) {
        std::vector<std::vector<const core::TokenSequence*>> packed;
        for (size_t row = from; row < std::min(end, from + micro_rows); ++row) {
          packed.emplace_back();
          for (const int64_t i : plan[row])
            packed.back().push_back(&sequences[static_cast<size_t>(i)]);
        }
        parts.push_back(runtime::pack(packed));
      }
      runtime::accumulate_gradients(parameters, std::ssize(parts), [&](int64_t part) {
        return -policy::masked_logprobs(trained, parts[static_cast<size_t>(part)]).mean() / static_cast<double>(parts.size());
      });
      optimizer.step(1e-5);
    }
  });
  report_tokens(state, tokens_of(rows));
}

// One step on 8 full rows of 256 ids.
void sft_full(benchmark::State& state) {
  train_on(state, input_rows("prompts256.jsonl", 8, 256), 256, 8, 4);
}
BENCHMARK(sft_full)->Unit(benchmark::kMillisecond)->UseRealTime();

// 64 whole dialogues of at most 512 ids, packed.
void sft_natural(benchmark::State& state) {
  train_on(state, input_rows("texts.jsonl", 64, 512), 512, 4, 1);
}
BENCHMARK(sft_natural)->Unit(benchmark::kMillisecond)->UseRealTime();

void rm_score(benchmark::State& state) {
  const auto reward = reward::make_reward_model(model(), reward::HeadStart::normal, 1);
  const auto rows = input_rows("texts.jsonl", 512, 512);
  for (auto _ : state)
    benchmark::DoNotOptimize(reward::score_rows(reward, rows));
  report_tokens(state, tokens_of(rows));
}
BENCHMARK(rm_score)->Unit(benchmark::kMillisecond)->UseRealTime();

// 16 answers to each of 16 prompts of 256 ids, of natural lengths (16 of one prompt are equally long), and their scores.
void rejection(benchmark::State& state) {
  const auto reward = reward::make_reward_model(model(), reward::HeadStart::normal, 1);
  const auto prompts = input_rows("prompts256.jsonl", 16, 256);
  const auto all = natural_lengths(256);
  std::vector<int64_t> lengths;  // of each prompt's answers
  for (size_t prompt = 0; prompt < prompts.size(); ++prompt)
    lengths.push_back(all[16 * prompt]);
  for (auto _ : state) {
    std::vector<core::Ids> rows;
    for (const auto& sample : policy::generate(model(), natural_job(prompts, lengths, 16))) {
      rows.push_back(prompts[static_cast<size_t>(sample.prompt)]);
      rows.back().insert(rows.back().end(), sample.ids.begin(), sample.ids.end());
    }
    benchmark::DoNotOptimize(reward::score_rows(reward, rows));
  }
  report_tokens(state, 16 * sum(lengths));
}
BENCHMARK(rejection)->Unit(benchmark::kMillisecond)->UseRealTime();

// `count` pairs of whole dialogues of at most 512 ids; random ones (prompts of 150 ids, answers of 50) where no file is named.
std::vector<core::TokenPair> input_pairs(int64_t count) {
  std::vector<core::TokenPair> pairs;
  const auto add = [&](core::Ids chosen, core::Ids rejected) {
    pairs.emplace_back();
    pairs.back().chosen = std::move(chosen);
    pairs.back().rejected = std::move(rejected);
  };
  const char *file = std::getenv("KEEL_BENCH_PAIRS"), *folder = std::getenv("KEEL_BENCH_MODEL");
  if (file == nullptr || folder == nullptr) {
    for (const auto& row : random_rows(count, 250)) {
      core::Ids rejected(row.begin(), row.begin() + 150);
      rejected.insert(rejected.end(), row.begin() + 200, row.end());
      add({row.begin(), row.begin() + 200}, std::move(rejected));
    }
    return pairs;
  }
  const auto tokenizer = data::load_tokenizer(folder);
  const auto ids_of = [&](const std::string& text) {
    core::Ids ids = tokenizer->encode(std::string_view(text).substr(text.find_first_not_of('\n')));
    if (tokenizer->start()) ids.insert(ids.begin(), *tokenizer->start());
    ids.resize(std::min<size_t>(ids.size(), 512));
    return ids;
  };
  core::JsonlReader reader(file);
  for (nlohmann::json row; std::ssize(pairs) < count && reader.next(row);)
    add(ids_of(row.at("chosen")), ids_of(row.at("rejected")));
  return pairs;
}

// Reward-model training on 32 pairs, 8 a step.
struct RewardWorkload {
  static constexpr size_t kBatch = 8, kMicro = 4;
  reward::RewardModel model = reward::make_reward_model(bench::model(), reward::HeadStart::normal, 1);
  runtime::Parameters weights = reward::parameters(model);
  runtime::AdamW optimizer{weights, {}};
  std::vector<core::TokenPair> pairs = input_pairs(32);
  reward::RewardLossConfig config;

  RewardWorkload() { runtime::set_trainable(weights, true); }
  int64_t tokens() const {
    int64_t all = 0;
    for (const auto& pair : pairs)
      all += std::ssize(pair.chosen) + std::ssize(pair.rejected);
    return all;
  }
  at::Tensor loss(size_t first, size_t count, const reward::RewardLossCounts& counts) const {
    const auto micro = std::span(pairs).subspan(first, count);
    const at::Tensor scores = reward::pair_scores(model, micro);
    return reward::reward_loss(scores[0], scores[1], reward::pair_labels(micro), counts, config).loss;
  }
  void accumulate(size_t begin) const {
    const runtime::OneWorker one(policy::threads_share(model.backbone));
    const auto counts = reward::loss_counts(std::span(pairs).subspan(begin, kBatch));
    runtime::accumulate_gradients(weights, kBatch / kMicro,
                                  [&](int64_t part) { return loss(begin + static_cast<size_t>(part) * kMicro, kMicro, counts); });
  }
};

void rm_train(benchmark::State& state) {
  RewardWorkload work;
  time_again(state, [&] {
    for (size_t begin = 0; begin < work.pairs.size(); begin += RewardWorkload::kBatch) {
      work.accumulate(begin);
      work.optimizer.step(1e-5);
    }
  });
  report_tokens(state, work.tokens());
}
BENCHMARK(rm_train)->Unit(benchmark::kMillisecond)->UseRealTime();

// Its phases: 0 forward pass alone, 1 forward and backward pass, 2 the optimiser's four steps (with zero gradients, which take as long).
void rm_phase(benchmark::State& state) {
  RewardWorkload work;
  const auto pieces = static_cast<int64_t>(work.pairs.size() / RewardWorkload::kMicro);
  const auto counts = reward::loss_counts(work.pairs);
  time_again(state, [&] {
    if (state.range(0) == 0)
      runtime::for_each_piece(pieces, [&](int64_t piece) {
        const at::NoGradGuard no_grad;
        benchmark::DoNotOptimize(work.loss(static_cast<size_t>(piece) * RewardWorkload::kMicro, RewardWorkload::kMicro, counts));
      });
    for (size_t begin = 0; begin < work.pairs.size(); begin += RewardWorkload::kBatch) {
      if (state.range(0) == 1) work.accumulate(begin);
      if (state.range(0) == 2) work.optimizer.step(1e-5);
    }
  });
  report_tokens(state, work.tokens());
}
BENCHMARK(rm_phase)->DenseRange(0, 2)->Unit(benchmark::kMillisecond)->UseRealTime();

// PPO on 64 prompts of 64 ids, 64 new ids each unless told, minibatches of 16, one epoch; useful tokens are the new ones.
struct PpoWorkload {
  ppo::Critic critic = ppo::Critic::reward;
  std::vector<int64_t> lengths = std::vector<int64_t>(64, 64);
  ppo::PpoConfig config = {.batch_answers = 64,
                           .minibatch_answers = 16,
                           .micro_answers = 8,
                           .micro_tokens = 2048,
                           .critic = critic,
                           .sampling = {},
                           .kl = {},
                           .score = {},
                           .reward = {},
                           .gae = {},
                           .loss = {},
                           .optimizer = {},
                           .validation = {},
                           .ptx = {},
                           .lora = {}};
  policy::Llama policy = policy::frozen_copy(model());
  reward::RewardModel reward = reward::make_reward_model(model(), reward::HeadStart::normal, 1);
  ppo::Trainer trainer{policy, reward::frozen_copy(reward), config, 1};
  std::vector<core::Ids> prompts = input_rows("prompts64.jsonl", 64, 64);
  std::vector<reward::AnswerReward> earned = std::vector<reward::AnswerReward>(64, {.probability = 0.5});

  ppo::Rollout sample() const { return ppo::make_rollout(prompts, policy::generate(policy, natural_job(prompts, lengths))); }
};

// A whole iteration: answers, their scores, reference and critic, the update.
void iterate(benchmark::State& state, PpoWorkload& work) {
  time_again(state, [&] {
    const auto rollout = work.sample();
    benchmark::DoNotOptimize(reward::score_rows(work.reward, rollout.rows));
    work.trainer.update(rollout, work.trainer.assess(rollout, work.earned));
  });
  report_tokens(state, sum(work.lengths));
}
void ppo_iteration(benchmark::State& state) {
  PpoWorkload work;
  iterate(state, work);
}
BENCHMARK(ppo_iteration)->Unit(benchmark::kMillisecond)->UseRealTime();

// The same with a critic that is a head on the policy, and with answers of natural lengths.
void ppo_shared(benchmark::State& state) {
  PpoWorkload work{.critic = ppo::Critic::shared};
  iterate(state, work);
}
BENCHMARK(ppo_shared)->Unit(benchmark::kMillisecond)->UseRealTime();

void ppo_natural(benchmark::State& state) {
  PpoWorkload work{.lengths = natural_lengths(64)};
  iterate(state, work);
}
BENCHMARK(ppo_natural)->Unit(benchmark::kMillisecond)->UseRealTime();

// Its phases: 0 generates, 1 scores, 2 assesses (reference, critic, old log-probs), 3 updates.
void ppo_phase(benchmark::State& state) {
  PpoWorkload work;
  const auto rollout = work.sample();
  work.trainer.update(rollout, work.trainer.assess(rollout, work.earned));  // as time_again()
  for (auto _ : state) {
    if (state.range(0) == 0) benchmark::DoNotOptimize(work.sample());
    if (state.range(0) == 1) benchmark::DoNotOptimize(reward::score_rows(work.reward, rollout.rows));
    if (state.range(0) == 2) benchmark::DoNotOptimize(work.trainer.assess(rollout, work.earned));
    if (state.range(0) == 3) {
      state.PauseTiming();
      const auto experience = work.trainer.assess(rollout, work.earned);
      state.ResumeTiming();
      work.trainer.update(rollout, experience);
    }
  }
  report_tokens(state, 64 * 64);
}
BENCHMARK(ppo_phase)->DenseRange(0, 3)->Unit(benchmark::kMillisecond)->UseRealTime();

}  // namespace
}  // namespace keel::bench

int main(int argc, char** argv) {
  if (std::getenv("GOMP_SPINCOUNT") == nullptr && std::getenv("OMP_WAIT_POLICY") == nullptr) {  // as keel does (pipelines/cli/main.cpp)
    ::setenv("GOMP_SPINCOUNT", "1000", 0);
    ::execv("/proc/self/exe", argv);
  }
  benchmark::AddCustomContext("vector_level", keel::runtime::cpu_capability());
  keel::runtime::configure_process(0);
  if (const char* precision = std::getenv("KEEL_BENCH_PRECISION")) keel::policy::set_arithmetic(precision);
  benchmark::AddCustomContext("precision", keel::policy::arithmetic());
  benchmark::AddCustomContext("threads", std::to_string(at::get_num_threads()));
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
}
