// Settings of rejection sampling (Llama 2 paper, 3.2.3).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/config.h"
#include "policy/generate.h"
#include "policy/sft.h"

namespace keel::rejection_sampling {

struct SelectionConfig {
  bool finished_only = true;  // not in the paper; an answer cut at the length limit would teach the model not to stop
};

inline void visit(SelectionConfig& config, core::Fields& fields) {
  fields("finished_only", config.finished_only, "choose only among answers that ended by themselves");
}

enum class Score { combined, helpfulness, safety };
constexpr auto names(Score) {
  return std::to_array<core::Named<Score>>({{Score::combined, "combined"}, {Score::helpfulness, "helpfulness"}, {Score::safety, "safety"}});
}

struct RejectionConfig {
  int64_t samples = 10;              // K; the paper's figures use 1..100
  std::vector<double> temperatures;  // not in the paper: it names the best one for each model, but no mixture
  Score score = Score::combined;     // paper: "the best reward model"; the piecewise combination of 3.2.3 is our reading
  policy::SamplingConfig sampling;
  int64_t batch_rows = 64;  // memory against speed; same answers
  SelectionConfig selection;
  policy::SftConfig sft;
};

inline void visit(RejectionConfig& config, core::Fields& fields) {
  fields("samples", config.samples, "K, answers to each prompt", core::between(1, 100'000));
  fields("temperatures", config.temperatures,
         "sampling temperatures, each for an equal part of the K answers; empty = sampling.temperature", core::at_least(0.01));
  fields("score", config.score, "what makes an answer the best: the combined score, or one reward model's alone");
  fields.section("sampling", config.sampling, "how answers are drawn");
  fields("batch_rows", config.batch_rows, "answers decoded together; memory against speed", core::at_least(1));
  fields.section("selection", config.selection, "which answer is kept");
  fields.section("sft", config.sft, "fine-tuning of the base model on the kept answers");
}

// Every violated rule between the fields.
std::vector<std::string> problems_of(const RejectionConfig& config);

}  // namespace keel::rejection_sampling
