// The arithmetic and the memory of every stage of a run, before it is run.
#pragma once

#include <string>
#include <vector>

#include "pipelines/forecast/cost.h"
#include "pipelines/forecast/facts.h"
#include "pipelines/recipe/versions.h"

namespace keel::pipelines::forecast {

// Answers that are written token by token.
struct Writing {
  double tokens = 0;
  double rows = 1;     // decoded together
  double context = 0;  // positions that a token sees, on average
};

struct Work {
  double trained = 0;  // FLOP of forward and backward passes
  double adapted = 0;  // the same where adapters learn
  double read = 0;     // FLOP of forward passes: scores, log-probs, prompts
  std::vector<Writing> written = {};
};

struct StageForecast {
  std::string stage;
  Work work;
  double bytes = 0;  // at its peak
};

// How numbers lie in memory.
struct Numbers {
  double weight = 4;                 // bytes of a weight that is not trained
  bool bf16_base = false;            // the model's file holds its layers' matrices in bf16, and what is only read stays so
  double workers = 1;                // that write, score and compute PPO's micro-batches at the same time
  double trainers = 1;               // the same of SFT's and reward models' micro-batches
  bool exact = true;                 // generation's log-probs are the trainer's (policy::engine_takes())
  double packed = 1;                 // bytes of a packed weight, as a share of `weight`
  double packed_limit = 2147483648;  // models up to this many bytes are also held packed while they answer or score
};

// What the forecasts of all stages share.
struct Run {
  const recipe::Recipe& recipe;
  const policy::LlamaConfig& shape;
  Cost cost;
  const Facts& facts;
  Numbers numbers;
  std::vector<recipe::Version> versions;

  // Of so many models that answer or score, weights as their files hold them. Where every stage trains adapters, models differ in the
  // matrices that have one, and all others are held once.
  double held_bytes(double models = 1) const;
};

// Every stage that computes with a model, in the order of the run. Answers are taken to be as long as the demonstrated ones.
std::vector<StageForecast> forecast(const recipe::Recipe& recipe, const policy::LlamaConfig& shape, const Facts& facts,
                                    const Numbers& numbers);

}  // namespace keel::pipelines::forecast
