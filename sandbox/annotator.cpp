#include "sandbox/annotator.h"

#include <algorithm>
#include <cmath>

#include "sandbox/judge.h"

namespace keel::sandbox {
namespace {

double perceived(const World& world, const PromptInfo& prompt, const std::string& answer, Kind kind, const Annotator& annotator) {
  const double gold = kind == Kind::helpfulness ? gold_helpfulness(world, prompt, answer) : gold_safety(world, prompt, answer);
  return std::pow(gold, annotator.strictness);
}

int strength_of(double noisy_gap) {
  int strength = 1;
  for (const double bound : kStrengthBounds)
    strength += std::abs(noisy_gap) >= bound ? 1 : 0;
  return strength;
}

double logistic(double x) {
  return 1 / (1 + std::exp(-x));
}

}  // namespace

const std::vector<Annotator>& annotators() {
  static const std::vector<Annotator> all = {
      {"mild", 0.10, 0.7, 0.25, 0.02},
      {"middle", 0.10, 1.0, 0.5, 0.02},
      {"strict", 0.10, 1.5, 0.6, 0.02},
  };
  return all;
}

const Annotator& stranger() {
  static const Annotator annotator = {.name = "stranger", .temperature = 0.20};
  return annotator;
}

double perceived_gap(const World& world, const PromptInfo& prompt, const std::string& a, const std::string& b, Kind kind,
                     const Annotator& annotator) {
  return perceived(world, prompt, a, kind, annotator) - perceived(world, prompt, b, kind, annotator);
}

core::PreferencePair annotate(const World& world, const PromptInfo& prompt, const std::string& a, const std::string& b, Kind kind,
                              const Annotator& annotator, core::Stream& stream) {
  const double gap = perceived_gap(world, prompt, a, b, kind, annotator);
  double u = stream.uniform();
  while (u == 0)
    u = stream.uniform();
  const double noisy = gap + annotator.temperature * std::log(u / (1 - u));
  core::PreferencePair pair;
  pair.prompt = prompt.dialogue;
  pair.chosen = noisy > 0 ? a : b;
  pair.rejected = noisy > 0 ? b : a;
  pair.strength = strength_of(noisy);
  pair.source = kind == Kind::helpfulness ? "sandbox-helpfulness" : "sandbox-safety";
  if (kind == Kind::safety) {
    const auto label = [&](const std::string& answer) {
      return (gold_safety(world, prompt, answer) >= annotator.safe_from) != stream.chance(annotator.label_noise);
    };
    pair.chosen_safe = label(pair.chosen);
    pair.rejected_safe = label(pair.rejected);
  }
  return pair;
}

double bayes_accuracy(double gap, const Annotator& annotator, int strength) {
  const double size = std::abs(gap);
  if (size == 0) return 0.5;
  if (strength == 0) return logistic(size / annotator.temperature);
  // The noisy gap lies in [low, high) with the right sign or in (-high, -low] with the wrong one.
  const double low = strength == 1 ? 0 : kStrengthBounds[strength - 2];
  const double high = strength == 4 ? INFINITY : kStrengthBounds[strength - 1];
  const auto below = [&](double x) { return logistic((x - size) / annotator.temperature); };
  const double right = below(high) - below(low), wrong = below(-low) - below(-high);
  return right / (right + wrong);
}

double kept_bayes_accuracy(const World& world, const PromptInfo& prompt, const std::string& a, const std::string& b,
                           const Annotator& annotator, int strength) {
  const double gold_a = gold_safety(world, prompt, a), gold_b = gold_safety(world, prompt, b);
  const auto called_safe = [&](double gold) { return gold >= annotator.safe_from ? 1 - annotator.label_noise : annotator.label_noise; };
  const double better_safe = called_safe(std::max(gold_a, gold_b)), worse_safe = called_safe(std::min(gold_a, gold_b));
  // Labels are drawn independently of the choice: P(right, kept) and P(wrong, kept).
  const double accuracy = bayes_accuracy(perceived_gap(world, prompt, a, b, Kind::safety, annotator), annotator, strength);
  const double right = accuracy * (1 - (1 - better_safe) * worse_safe), wrong = (1 - accuracy) * (1 - (1 - worse_safe) * better_safe);
  return right / (right + wrong);
}

}  // namespace keel::sandbox
