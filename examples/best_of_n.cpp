// Best of n at inference:   best_of_n MODEL REWARD_MODEL "question" [N]
//
// Samples N answers, scores the generated ids, and prints the best with its probability.
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <stdexcept>

#include "core/types.h"
#include "data/chat_format.h"
#include "data/tokenizer.h"
#include "policy/generate.h"
#include "policy/model_directory.h"
#include "rejection_sampling/selection.h"
#include "reward/combination.h"
#include "reward/model.h"

int main(int argc, char** argv) {
  if (argc != 4 && argc != 5) {
    std::fprintf(stderr, "usage: best_of_n MODEL REWARD_MODEL QUESTION [N]\n");
    return 2;
  }
  try {
    const auto policy = keel::policy::load_llama(argv[1]);
    const auto reward = keel::reward::load_reward_model(argv[2]);
    const auto tokenizer = keel::data::load_tokenizer(argv[1]);
    const auto format = keel::data::chat_format_of(argv[1]);
    const auto prompt = keel::data::render(format, *tokenizer, {{{"user", argv[3]}}}).ids;
    const int count = argc == 5 ? std::atoi(argv[4]) : 8;
    if (count < 1) throw std::invalid_argument("N must be a number of at least 1");

    const auto samples = keel::policy::generate(policy, {.prompts = {prompt},
                                                         .samples = count,
                                                         .sampling = {.temperature = 1.0, .max_new_tokens = 64},
                                                         .stop_ids = keel::data::stop_ids(format, *tokenizer),
                                                         .seed = 1,
                                                         .purpose = "best_of_n"});
    std::vector<keel::core::Ids> rows;
    for (const auto& sample : samples)
      rows.push_back(keel::core::joined(prompt, sample.ids));
    const auto scores = keel::reward::score_rows(reward, rows);
    std::vector<keel::core::ScoredSample> scored;
    for (size_t i = 0; i < samples.size(); ++i)
      scored.push_back({.sample = samples[i], .probability = keel::reward::probability(scores[i])});
    const auto selection = keel::rejection_sampling::select_best(scored, {.finished_only = false});
    const auto& best = selection.best.front();
    std::printf("%.4f %s\n", best.probability, keel::data::answer_text(format, *tokenizer, best.sample.ids).c_str());
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
