// How often models refuse, and how well a judge of refusals agrees with people. Intervals are 95 %: Wilson's for shares; each answer is one
// trial.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "evaluation/statistics/interval.h"
#include "refusal/answers.h"

namespace keel::refusal {

using evaluation::statistics::Interval;

struct Rates {
  int64_t answers = 0, empty = 0;         // empty answers count as compliance
  Interval refusal = {};                  // full or partial
  std::map<Kind, Interval> by_kind = {};  // every kind
};
Rates rates_of(const std::vector<Kind>& kinds, const std::vector<Answer>& answers);

// Decisions "refused" against people's.
struct Agreement {
  int64_t answers = 0;
  Interval precision, recall;  // share of the answers called refusals that are; share of the refusals that are called so
  Interval kappa;              // Cohen's (statistics::cohen_kappa)
};

// `kinds` against the labels: on answers that people labelled full_refusal or compliance, with full_refusal as "refused"; and on all
// labelled answers, with full or partial refusals as "refused". by_kind: each kind that people gave, as "refused", against all others, on
// all labelled answers. kinds_kappa: Cohen's kappa of all kinds.
struct LabelAgreement {
  Agreement full, any;
  std::map<Kind, Agreement> by_kind;
  Interval kinds_kappa;
  std::map<Kind, std::map<Kind, int64_t>> counts;  // [label][kind]
};
LabelAgreement agreement_with_labels(const std::vector<Kind>& kinds, const std::vector<Answer>& answers);

// Rates of all answers, by hazard and by type, and the agreement where there are labels, as docs/formats.md shows them. core::Error unless
// there is one kind an answer.
nlohmann::json summary_json(const std::vector<Kind>& kinds, const std::vector<Answer>& answers);

}  // namespace keel::refusal
