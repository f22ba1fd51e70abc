// Compares computing the shared prompt of a pair once (reward/pair_scores.h), as training and scoring do, with two padded rows a pair.
//
// Arguments: shape (0: HH-RLHF, prompts of about 150 ids and answers of about 50, on the 15 M model; 1: the sandbox, 25 and 15, on its
// own), way (0: padded, 1: shared), pass (0: scores alone, 1: scores and gradients).
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <benchmark/benchmark.h>

#include <algorithm>
#include <span>

#include "bench/shape.h"
#include "core/rng.h"
#include "reward/pair_scores.h"
#include "runtime/parallel.h"

namespace keel::bench {
namespace {

constexpr int64_t kPairs = 64, kMicroPairs = 8;

struct PairShape {
  policy::LlamaConfig llama;
  int64_t prompt = 0, answer = 0;  // means; lengths are uniform in +-50 % of them
};

PairShape pair_shape(int64_t index) {
  if (index == 0) return {.llama = fifteen_million(), .prompt = 150, .answer = 50};
  return {.llama = {.vocab_size = 1024,
                    .hidden_size = 128,
                    .intermediate_size = 352,
                    .num_hidden_layers = 4,
                    .num_attention_heads = 4,
                    .num_key_value_heads = 2,
                    .max_position_embeddings = 512},
          .prompt = 25,
          .answer = 15};
}

std::vector<core::TokenPair> random_pairs(const PairShape& shape) {
  std::vector<core::TokenPair> pairs(kPairs);
  for (size_t i = 0; i < pairs.size(); ++i) {
    core::Stream stream(1, "bench.pairs", i);
    const auto draw = [&](int64_t mean) {
      core::Ids ids(static_cast<size_t>(mean / 2) + stream.below(static_cast<uint64_t>(mean)));
      for (int64_t& id : ids)
        id = static_cast<int64_t>(stream.below(static_cast<uint64_t>(shape.llama.vocab_size)));
      return ids;
    };
    const core::Ids prompt = draw(shape.prompt);
    for (core::Ids* side : {&pairs[i].chosen, &pairs[i].rejected}) {
      const core::Ids answer = draw(shape.answer);
      *side = prompt;
      side->insert(side->end(), answer.begin(), answer.end());
    }
  }
  std::sort(pairs.begin(), pairs.end(), [](const auto& a, const auto& b) { return reward::pair_tokens(a) < reward::pair_tokens(b); });
  return pairs;
}

// Two rows a pair, [2, N].
at::Tensor padded_scores(const reward::RewardModel& model, std::span<const core::TokenPair> pairs) {
  std::vector<core::Ids> rows;
  for (const core::TokenPair& pair : pairs)
    rows.push_back(pair.chosen);
  for (const core::TokenPair& pair : pairs)
    rows.push_back(pair.rejected);
  return reward::last_token_scores(model, runtime::pad_right(rows)).view({2, -1});
}

void pair_prefix(benchmark::State& state) {
  const PairShape shape = pair_shape(state.range(0));
  const reward::RewardModel model = reward::make_reward_model(policy::make_llama(shape.llama, 1), reward::HeadStart::normal, 1);
  const std::vector<core::TokenPair> pairs = random_pairs(shape);
  const std::span<const core::TokenPair> all(pairs);
  const auto scores = [&](int64_t piece) {
    const auto part = all.subspan(static_cast<size_t>(piece * kMicroPairs), kMicroPairs);
    return state.range(1) == 0 ? padded_scores(model, part) : reward::pair_scores(model, part);
  };
  const int64_t pieces = kPairs / kMicroPairs;
  const runtime::Parameters weights = reward::parameters(model);
  {
    const at::NoGradGuard no_grad;
    state.counters["difference"] =
        (padded_scores(model, all.first(kMicroPairs)) - reward::pair_scores(model, all.first(kMicroPairs))).abs().max().item<double>();
  }
  runtime::set_trainable(weights, state.range(2) == 1);
  for (auto _ : state) {
    if (state.range(2) == 1) {
      runtime::accumulate_gradients(weights, pieces, [&](int64_t piece) { return scores(piece).square().sum(); });
      runtime::clear_gradients(weights);
    } else {
      const at::NoGradGuard no_grad;
      runtime::for_each_piece(pieces, [&](int64_t piece) { benchmark::DoNotOptimize(scores(piece)); });
    }
  }
  state.counters["pairs/s"] = benchmark::Counter(kPairs, benchmark::Counter::kIsIterationInvariantRate);
}
BENCHMARK(pair_prefix)
    ->ArgsProduct({{0, 1}, {0, 1}, {0, 1}})
    ->ArgNames({"shape", "shared", "train"})
    ->Unit(benchmark::kMillisecond)
    ->UseRealTime();

}  // namespace
}  // namespace keel::bench
