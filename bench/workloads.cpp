// Tokens a second of keel's workloads on a 15 M model with random weights (dim 288, 6 layers, 6 heads, ffn 768, vocab 32,000, untied):
// generation at batch 1, 16 and 64, an SFT step, reward-model scoring, and the phases of a PPO iteration. docs/performance.md has the
// table.
//
// KEEL_BENCH_MODEL names a model folder to use instead, so that other programs can be timed on the same weights.
#include <ATen/Parallel.h>
#include <benchmark/benchmark.h>

#include <cstdlib>

#include "core/rng.h"
#include "policy/generate.h"
#include "policy/logprobs.h"
#include "policy/model_directory.h"
#include "ppo/train.h"
#include "ppo/trainer.h"
#include "reward/model.h"
#include "runtime/device.h"

namespace keel::bench {
namespace {

const policy::Llama& model() {
  static const policy::Llama loaded = [] {
    if (const char* folder = std::getenv("KEEL_BENCH_MODEL")) return policy::load_llama(folder);
    return policy::make_llama({.vocab_size = 32000,
                               .hidden_size = 288,
                               .intermediate_size = 768,
                               .num_hidden_layers = 6,
                               .num_attention_heads = 6,
                               .num_key_value_heads = 6,
                               .max_position_embeddings = 2048},
                              1);
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

void report_tokens(benchmark::State& state, int64_t tokens) {
  state.counters["tokens/s"] = benchmark::Counter(static_cast<double>(tokens), benchmark::Counter::kIsIterationInvariantRate);
}

// Prompts of 64 ids, 64 new ids each, T = 1 over the whole vocabulary, log-probs recorded; prefill included.
void generation(benchmark::State& state) {
  const auto prompts = random_rows(state.range(0), 64);
  for (auto _ : state)
    benchmark::DoNotOptimize(
        policy::generate(model(), prompts, 1, {.max_new_tokens = 64, .batch_rows = 64}, {}, {.seed = 1, .purpose = "bench"}));
  report_tokens(state, state.range(0) * 64);
}
BENCHMARK(generation)->Arg(1)->Arg(16)->Arg(64)->Unit(benchmark::kMillisecond)->UseRealTime();

// One optimiser step on 8 full rows of 256 ids.
void sft_step(benchmark::State& state) {
  const policy::Llama trained = policy::frozen_copy(model());
  const auto parameters = policy::parameters(trained);
  runtime::set_trainable(parameters, true);
  runtime::AdamW optimizer(parameters, {});
  std::vector<core::TokenSequence> sequences;
  for (auto& row : random_rows(8, 256))
    sequences.push_back({.ids = row, .loss_mask = std::vector<bool>(row.size(), true)});
  std::vector<std::vector<const core::TokenSequence*>> rows;
  for (const auto& sequence : sequences)
    rows.push_back({&sequence});
  const auto batch = runtime::pack(rows);
  for (auto _ : state) {
    (-policy::masked_logprobs(trained, batch).mean()).backward();
    optimizer.step(1e-5);
  }
  report_tokens(state, 8 * 256);
}
BENCHMARK(sft_step)->Unit(benchmark::kMillisecond)->UseRealTime();

void reward_scoring(benchmark::State& state) {
  const auto reward = reward::make_reward_model(model(), "normal", 1);
  const auto rows = random_rows(32, 256);
  for (auto _ : state)
    benchmark::DoNotOptimize(reward::score_rows(reward, rows));
  report_tokens(state, 32 * 256);
}
BENCHMARK(reward_scoring)->Unit(benchmark::kMillisecond)->UseRealTime();

// One iteration on 64 prompts of 64 ids, 64 new ids each, minibatches of 16: phase 0 generates, 1 assesses (reference, critic, old
// log-probs), 2 scores, 3 updates. Useful tokens are the new ones.
void ppo_phase(benchmark::State& state) {
  ppo::PpoConfig config;
  config.batch_answers = 64;
  config.minibatch_answers = config.micro_answers = 16;
  config.sampling.max_new_tokens = 64;
  const policy::Llama policy = policy::frozen_copy(model());
  const auto reward = reward::make_reward_model(model(), "normal", 1);
  ppo::Trainer trainer(policy, reward::frozen_copy(reward), config, 1);
  const auto prompts = random_rows(64, 64);
  const auto sample = [&] { return policy::generate(policy, prompts, 1, config.sampling, {}, {.seed = 1, .purpose = "bench"}); };
  const auto rollout = ppo::make_rollout(prompts, sample());
  const std::vector<double> probability(64, 0.5);
  for (auto _ : state) {
    if (state.range(0) == 0) benchmark::DoNotOptimize(sample());
    if (state.range(0) == 1) benchmark::DoNotOptimize(trainer.assess(rollout, probability));
    if (state.range(0) == 2) benchmark::DoNotOptimize(reward::score_rows(reward, rollout.rows));
    if (state.range(0) == 3) {
      state.PauseTiming();
      const auto experience = trainer.assess(rollout, probability);
      state.ResumeTiming();
      trainer.update(rollout, experience);
    }
  }
  report_tokens(state, 64 * 64);
}
BENCHMARK(ppo_phase)->DenseRange(0, 3)->Unit(benchmark::kMillisecond)->UseRealTime();

}  // namespace
}  // namespace keel::bench

int main(int argc, char** argv) {
  benchmark::AddCustomContext("vector_level", keel::runtime::cpu_capability());
  keel::runtime::configure_process(0);
  benchmark::AddCustomContext("threads", std::to_string(at::get_num_threads()));
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
}
