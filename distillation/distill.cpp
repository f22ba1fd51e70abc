#include "distillation/distill.h"

#include <utility>

#include "data/answers.h"
#include "data/messages.h"
#include "data/text.h"

namespace keel::distillation {
namespace {

core::Dialogue answered(core::Dialogue prompt, const std::string& answer) {
  prompt.messages.push_back({"assistant", answer});
  return prompt;
}

}  // namespace

DistilledData distill(const std::vector<HazardPrompt>& prompts, const std::vector<Preprompt>& preprompts, const DistillConfig& config,
                      const data::ChatFormat& format, uint64_t seed, const AnswerPrompts& answer, const ScoreAnswers& score) {
  std::vector<core::Dialogue> plain, prefixed;
  std::vector<std::string> used;
  for (size_t i = 0; i < prompts.size(); ++i) {
    core::Stream stream(seed, "distill.preprompt", i);
    used.push_back(draw_preprompt(preprompts, prompts[i].category, stream));
    plain.push_back(prompts[i].dialogue);
    prefixed.push_back(data::instructed(prompts[i].dialogue, used.back(), config.form));
  }
  const auto originals = answer(plain, "distill original"), distilled = answer(prefixed, "distill");
  std::vector<core::Dialogue> with_original, with_distilled;
  for (size_t i = 0; i < prompts.size(); ++i) {
    with_original.push_back(answered(plain[i], originals.at(i) ? originals[i]->text : ""));
    with_distilled.push_back(answered(plain[i], distilled.at(i) ? std::string(data::strip(distilled[i]->text)) : ""));
  }
  const auto original_scores = score(with_original), scores = score(with_distilled);
  DistilledData data;
  for (size_t i = 0; i < prompts.size(); ++i) {
    std::string reason = data::unusable(distilled[i], format, config.finished_only);
    if (reason.empty() && (!originals[i] || !scores.at(i) || !original_scores.at(i))) reason = "over_long";
    if (reason.empty() && config.keep == Keep::better && *scores[i] <= *original_scores[i]) reason = "not_better";
    if (!reason.empty()) {
      ++data.counts.dropped[reason];
      continue;
    }
    ++data.counts.kept;
    data::learn_last_answer_(with_distilled[i]);  // earlier answers are context, and may be the very harm
    data.rows.push_back({.messages = std::move(with_distilled[i]),
                         .category = prompts[i].category,
                         .preprompt = used[i],
                         .original = originals[i]->text,
                         .score = *scores[i],
                         .original_score = *original_scores[i]});
  }
  return data;
}

}  // namespace keel::distillation
