// Scores one answer with a reward model:   score REWARD_MODEL "question" "answer"
//
// Renders the dialogue as training did and reads the score at its last token; prints the raw score and its probability.
#include <cstdio>
#include <exception>

#include "core/types.h"
#include "data/chat_format.h"
#include "data/tokenizer.h"
#include "reward/combination.h"
#include "reward/model.h"

int main(int argc, char** argv) {
  if (argc != 4) {
    std::fprintf(stderr, "usage: score REWARD_MODEL QUESTION ANSWER\n");
    return 2;
  }
  try {
    const auto model = keel::reward::load_reward_model(argv[1]);
    const auto tokenizer = keel::data::load_tokenizer(argv[1]);
    const keel::core::Dialogue dialogue{{{"user", argv[2]}, {"assistant", argv[3]}}};
    const auto sequence = keel::data::render(keel::data::chat_format_of(argv[1]), *tokenizer, dialogue);
    const double raw = keel::reward::score_rows(model, {sequence.ids}).front();
    std::printf("%.4f %.4f\n", raw, keel::reward::probability(raw));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
