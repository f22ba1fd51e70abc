#include "pipelines/forecast/workload.h"

#include <ATen/TensorOperators.h>
#include <fmt/format.h>

#include <chrono>
#include <memory>
#include <span>

#include "core/rng.h"
#include "policy/generator.h"
#include "policy/logprobs.h"
#include "policy/lora.h"
#include "policy/packed_model.h"
#include "reward/model.h"
#include "reward/pair_scores.h"
#include "reward/ranking_loss.h"
#include "runtime/batch.h"
#include "runtime/parallel.h"

namespace keel::pipelines::forecast {
namespace {

core::Ids random_ids(const policy::LlamaConfig& shape, int64_t count, int64_t row) {
  core::Stream stream(1, "workload", static_cast<uint64_t>(row));
  core::Ids ids;
  for (int64_t i = 0; i < count; ++i)
    ids.push_back(static_cast<int64_t>(stream.below(static_cast<uint64_t>(shape.vocab_size))));
  return ids;
}

// Runs a step on `pieces` and leaves no gradients behind.
std::function<void()> step_of(const policy::Llama& model, const runtime::Parameters& weights, int64_t pieces,
                              std::function<at::Tensor(int64_t)> loss) {
  return [share = policy::threads_share(model), weights, pieces, loss = std::move(loss)] {
    const runtime::OneWorker one(share);
    runtime::set_trainable(weights, true);
    runtime::accumulate_gradients(weights, pieces, loss);
    runtime::clear_gradients(weights);
    runtime::set_trainable(weights, false);
  };
}

}  // namespace

Workload training(const policy::Llama& model, int threads) {
  constexpr int64_t kRow = 256;
  const runtime::Parameters adapters = policy::lora_parameters(model);
  std::vector<core::TokenSequence> rows;
  for (int64_t row = 0; row < 2 * threads; ++row)
    rows.push_back({.ids = random_ids(model.config, kRow, row), .loss_mask = std::vector<bool>(kRow, true)});
  std::vector<runtime::TargetBatch> parts;
  for (size_t row = 0; row < rows.size(); row += 2)
    parts.push_back(runtime::pack({{&rows[row]}, {&rows[row + 1]}}));
  return {.name = adapters.empty() ? "training" : "adapter_training",
          .tokens = static_cast<double>(2 * threads * kRow),
          .run = step_of(model, adapters.empty() ? policy::parameters(model) : adapters, threads, [model, parts](int64_t part) {
            return -policy::masked_logprobs(model, parts[static_cast<size_t>(part)]).mean();
          })};
}

Workload reward_training(const policy::Llama& model, int threads) {
  constexpr int64_t kPairs = 4, kPrompt = 150, kAnswer = 50;
  const reward::RewardModel trained = {policy::backbone_of(model), reward::make_head(model, reward::HeadStart::normal, 1)};
  auto pairs = std::make_shared<std::vector<core::TokenPair>>();
  for (int64_t pair = 0; pair < kPairs * threads; ++pair) {
    const core::Ids prompt = random_ids(model.config, kPrompt, 3 * pair);
    pairs->emplace_back();
    pairs->back().chosen = core::joined(prompt, random_ids(model.config, kAnswer, 3 * pair + 1));
    pairs->back().rejected = core::joined(prompt, random_ids(model.config, kAnswer, 3 * pair + 2));
  }
  return {.name = "reward_training",
          .tokens = static_cast<double>(kPairs * threads * (kPrompt + 2 * kAnswer)),
          .run = step_of(model, reward::parameters(trained), threads, [trained, pairs](int64_t part) {
            const auto micro = std::span(*pairs).subspan(static_cast<size_t>(part * kPairs), kPairs);
            const at::Tensor scores = reward::pair_scores(trained, micro);
            return reward::reward_loss(scores[0], scores[1], reward::pair_labels(micro), reward::loss_counts(*pairs), {}).loss;
          })};
}

Workload scoring(const policy::Llama& model, int64_t rows) {
  const reward::RewardModel reward = {policy::backbone_of(model), reward::make_head(model, reward::HeadStart::normal, 1)};
  std::vector<core::Ids> texts;
  double tokens = 0;
  for (int64_t row = 0; row < rows; ++row) {
    texts.push_back(random_ids(model.config, 64 + (kLongestRow - 64) * row / std::max<int64_t>(1, rows - 1), row));
    tokens += static_cast<double>(texts.back().size());
  }
  return {.name = "scoring", .tokens = tokens, .run = [reward, texts] { reward::score_rows(reward, texts); }};
}

Workload writing(const policy::Llama& model, int64_t rows, int64_t prompt_tokens, int64_t new_tokens) {
  const auto generator = std::make_shared<policy::Generator>(model);
  policy::GenerationJob job{.sampling = {.max_new_tokens = new_tokens}, .seed = 1, .batch_rows = rows};
  for (int64_t row = 0; row < rows; ++row)
    job.prompts.push_back(random_ids(model.config, prompt_tokens, row));
  return {.name = fmt::format("writing_{}", rows), .tokens = static_cast<double>(rows * new_tokens), .run = [generator, job] {
            generator->generate(job);
          }};
}

double seconds_of(const Workload& work) {
  const auto begin = std::chrono::steady_clock::now();
  work.run();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

}  // namespace keel::pipelines::forecast
