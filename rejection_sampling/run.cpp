#include "rejection_sampling/run.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "policy/shards.h"

namespace keel::rejection_sampling {
namespace {

std::vector<core::Sample> sample_at_temperatures(const policy::Llama& policy, const RejectionJob& job, const RejectionConfig& config,
                                                 uint64_t seed, const std::filesystem::path& folder) {
  const std::string round = job.version == 1 ? "rejection" : fmt::format("rejection{}", job.version);
  policy::GenerationJob task{.prompts = job.prompts,
                             .samples = config.samples,
                             .sampling = config.sampling,
                             .stop_ids = job.stop_ids,
                             .seed = seed,
                             .purpose = round,
                             .batch_rows = config.batch_rows};
  policy::Generator generator(policy);
  if (config.temperatures.empty()) return policy::generate_in_shards(generator, task, round, folder);
  const auto count = std::ssize(config.temperatures);
  std::vector<core::Sample> all;
  for (int64_t i = 0; i < count; ++i) {
    task.sampling.temperature = config.temperatures[static_cast<size_t>(i)];
    task.purpose = fmt::format("{} T={}", round, task.sampling.temperature);
    task.samples = config.samples / count;
    for (auto& sample : policy::generate_in_shards(generator, task, task.purpose, folder)) {
      sample.sample = sample.sample * count + i;
      all.push_back(std::move(sample));
    }
  }
  std::stable_sort(all.begin(), all.end(),
                   [](const auto& a, const auto& b) { return std::pair(a.prompt, a.sample) < std::pair(b.prompt, b.sample); });
  return all;
}

double probability_of(const reward::AnswerReward& earned, Score score) {
  return score == Score::helpfulness ? earned.helpfulness : score == Score::safety ? earned.safety : earned.probability;
}

}  // namespace

std::vector<core::ScoredSample> sample_and_score(const policy::Llama& policy, const RejectionJob& job, const RejectionConfig& config,
                                                 uint64_t seed, const std::filesystem::path& folder) {
  const std::vector<core::Sample> samples = sample_at_temperatures(policy, job, config, seed, folder);
  const std::vector<reward::AnswerReward> earned = job.reward(samples);
  std::vector<core::ScoredSample> scored;
  for (size_t i = 0; i < samples.size(); ++i)
    scored.push_back({.sample = samples[i], .probability = probability_of(earned[i], config.score)});
  return scored;
}

std::vector<core::TokenSequence> training_data(const std::vector<std::vector<KeptAnswer>>& versions) {
  std::vector<core::TokenSequence> sequences;
  for (const auto& kept : pool_of(versions))
    sequences.push_back(training_sequence(kept.prompt, kept.answer));
  return sequences;
}

}  // namespace keel::rejection_sampling
