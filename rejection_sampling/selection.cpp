#include "rejection_sampling/selection.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <set>
#include <span>
#include <utility>

#include "core/error.h"

namespace keel::rejection_sampling {

namespace {

// `answers`: of one prompt, ascending by sample index.
std::optional<core::ScoredSample> best_of(std::span<const core::ScoredSample> answers, bool finished_only) {
  const core::ScoredSample* best = nullptr;
  for (const core::ScoredSample& answer : answers) {
    if (finished_only && answer.sample.finish != core::FinishReason::stop) continue;
    if (best == nullptr || answer.probability > best->probability) best = &answer;
  }
  return best == nullptr ? std::nullopt : std::optional(*best);
}

double median(const std::vector<double>& sorted) {
  const size_t middle = sorted.size() / 2;
  return sorted.size() % 2 == 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

void check_samples(const std::vector<core::ScoredSample>& samples, size_t answers) {
  if (samples.size() % answers != 0) {
    throw core::UsageError(
        fmt::format("every prompt needs the same number of answers: the first has {}, {} answers in all is no multiple of it", answers,
                    samples.size()));
  }
  for (size_t i = 0; i < samples.size(); ++i) {
    const core::Sample& sample = samples[i].sample;
    const auto expected = static_cast<int64_t>(i % answers);
    if (sample.sample != expected || sample.prompt != samples[i - i % answers].sample.prompt) {
      throw core::UsageError(fmt::format("every prompt needs the same answers 0..{}: prompt {} has sample {} where {} was expected",
                                         answers - 1, sample.prompt, sample.sample, expected));
    }
    if (const double probability = samples[i].probability; !(probability >= 0 && probability <= 1)) {
      throw core::UsageError(fmt::format(
          "sample {} of prompt {} has the probability {}, which must lie in [0, 1]: take the sigmoid of a raw score, or score it again",
          sample.sample, sample.prompt, probability));
    }
  }
}

}  // namespace

Selection select_best(std::vector<core::ScoredSample> samples, const SelectionConfig& config) {
  Selection selection;
  if (samples.empty()) return selection;
  std::stable_sort(samples.begin(), samples.end(), [](const core::ScoredSample& a, const core::ScoredSample& b) {
    return std::pair(a.sample.prompt, a.sample.sample) < std::pair(b.sample.prompt, b.sample.sample);
  });
  const auto other_prompt = [&](const core::ScoredSample& sample) { return sample.sample.prompt != samples.front().sample.prompt; };
  const auto answers = static_cast<size_t>(std::find_if(samples.begin(), samples.end(), other_prompt) - samples.begin());
  check_samples(samples, answers);

  selection.statistics.resize(answers);
  for (size_t begin = 0; begin < samples.size(); begin += answers) {
    const auto group = std::span(samples).subspan(begin, answers);
    if (auto best = best_of(group, config.finished_only)) {
      selection.best.push_back(std::move(*best));
    } else {
      selection.unfinished.push_back(group.front().sample.prompt);
    }
    std::vector<double> sorted;
    for (const core::ScoredSample& answer : group) {
      sorted.insert(std::upper_bound(sorted.begin(), sorted.end(), answer.probability), answer.probability);
      BestOfFirst& at = selection.statistics[sorted.size() - 1];
      at.answers = std::ssize(sorted);
      at.maximum.push_back(sorted.back());
      at.median.push_back(median(sorted));
    }
  }
  return selection;
}

std::vector<KeptAnswer> pool_of(const std::vector<std::vector<KeptAnswer>>& versions) {
  std::vector<KeptAnswer> pool;
  std::set<std::pair<core::Ids, core::Ids>> seen;
  for (const auto& version : versions)
    for (const KeptAnswer& kept : version)
      if (seen.emplace(kept.prompt, kept.answer).second) pool.push_back(kept);
  return pool;
}

core::TokenSequence training_sequence(const core::Ids& prompt, const core::Ids& answer) {
  core::TokenSequence sequence{.ids = core::joined(prompt, answer), .loss_mask = std::vector<bool>(prompt.size(), false)};
  sequence.loss_mask.resize(sequence.ids.size(), true);
  return sequence;
}

}  // namespace keel::rejection_sampling
