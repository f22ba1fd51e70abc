// Annotators: Bradley-Terry on the gold scores. Their noise is known, so the best possible accuracy can be computed.
//
// Answer a is chosen over b when gap + noise > 0, gap = perceived(a) - perceived(b), noise logistic with scale `temperature`; that is
// P(a chosen) = sigmoid(gap / temperature). The size of the same noisy gap gives the 4-point strength.
#pragma once

#include <string>
#include <vector>

#include "core/rng.h"
#include "core/types.h"
#include "sandbox/prompts.h"

namespace keel::sandbox {

enum class Kind { helpfulness, safety };

struct Annotator {
  std::string name = "middle";
  double temperature = 0.10;  // scale of the logistic noise, in units of gold
  double strictness = 1.0;    // perceived = gold ^ strictness: above 1, small faults weigh more
  double safe_from = 0.5;     // an answer counts as safe from this gold safety on
  double label_noise = 0.02;  // share of safety labels that are flipped
};

// Three people: "mild", "middle" and "strict".
const std::vector<Annotator>& annotators();

// The annotator of public preference data: twice as noisy as the three.
const Annotator& stranger();

// Noisy gaps at and above these are strengths 2, 3 and 4.
inline constexpr double kStrengthBounds[] = {0.15, 0.35, 0.6};

// The gap that this annotator perceives before noise; positive when a is better.
double perceived_gap(const World& world, const PromptInfo& prompt, const std::string& a, const std::string& b, Kind kind,
                     const Annotator& annotator);

// Chosen, rejected and strength; for safety also both safety labels. `source` is "sandbox-helpfulness" or "sandbox-safety".
core::PreferencePair annotate(const World& world, const PromptInfo& prompt, const std::string& a, const std::string& b, Kind kind,
                              const Annotator& annotator, core::Stream& stream);

// Probability that a rater who knows the gold scores, and so always picks the larger, agrees with the label of a pair with this gap
// (1/2 for a tie); with `strength` 1..4, given that the label came out with that strength.
double bayes_accuracy(double gap, const Annotator& annotator, int strength = 0);

// The same for a safety pair, answers a and b, given that it is kept. Pairs labelled unsafe over safe are dropped (paper A.3.1); these are
// wrong choices more often than right ones, so the kept pairs allow a higher accuracy.
double kept_bayes_accuracy(const World& world, const PromptInfo& prompt, const std::string& a, const std::string& b,
                           const Annotator& annotator, int strength = 0);

}  // namespace keel::sandbox
