#include "inference/dialogues.h"

#include <fmt/format.h>

#include <algorithm>

#include <stdexcept>

#include "data/hh_text.h"
#include "data/messages.h"
#include "data/prompts.h"
#include "data/text.h"
#include "inference/prompts.h"
#include "inference/records.h"
#include "policy/shards.h"

namespace keel::inference {

int64_t most_tokens(const DialogueLimit& limit, const LanguageModel& model) {
  const int64_t context = model.llama.config.max_position_embeddings;
  return limit.max_tokens > 0 ? std::min(limit.max_tokens, context) : context;
}

std::vector<core::Dialogue> read_dialogues(const std::filesystem::path& path, const data::ChatFormat& format, const DialogueLimit& limit) {
  const data::PromptSet set = data::read_prompts(path);
  std::vector<core::Dialogue> dialogues;
  const auto read = [&](const data::PromptRecord& record) {
    if (record.ids) throw std::invalid_argument("a dialogue is needed as {\"messages\"} or {\"prompt\"}, got {\"ids\"}");
    core::Dialogue dialogue = record.messages ? *record.messages : data::dialogue_of_prompt(*record.text);
    for (size_t i = 0; i < dialogue.messages.size(); ++i) {
      const core::Message& message = dialogue.messages[i];
      if (message.role == "assistant") continue;
      if (message.role == "user" && data::strip(message.content).empty())
        throw std::invalid_argument(fmt::format("\"content\" of message {} is empty: a user turn needs words", i + 1));
      if (!limit.allow_tags && data::holds_tag(format, message.content))
        throw std::invalid_argument(fmt::format(
            "\"content\" of message {} holds a tag of the chat format {}; --allow-tags keeps it as plain text", i + 1, format.name));
    }
    dialogues.push_back(std::move(dialogue));
  };
  for (const auto& record : set.records)
    data::with_place(set.path, record.line, [&] { read(record); });
  if (dialogues.empty()) throw core::DataError(path, 0, "holds no dialogue");
  return dialogues;
}

std::vector<std::optional<core::Answer>> answer_dialogues(const LanguageModel& model, policy::Generator& generator,
                                                          const std::vector<core::Dialogue>& prompts, const std::vector<int64_t>& records,
                                                          const AnswerJob& job) {
  const int64_t most = most_tokens(job.limit, model);
  std::vector<std::optional<core::Answer>> answers(prompts.size());
  policy::GenerationJob task{.sampling = job.sampling,
                             .stop_ids = data::stop_ids(model.format, *model.tokenizer),
                             .seed = job.seed,
                             .purpose = job.purpose,
                             .batch_rows = job.batch_rows};
  std::vector<size_t> places;
  for (size_t i = 0; i < prompts.size(); ++i) {
    core::Ids ids = data::render(model.format, *model.tokenizer, prompts[i], data::TagPolicy::allow).ids;
    if (std::ssize(ids) >= most) continue;
    task.prompts.push_back(std::move(ids));
    task.records.push_back(records.at(i));
    places.push_back(i);
  }
  if (task.prompts.empty()) return answers;
  const auto samples = policy::generate_in_shards(generator, task, job.label, job.folder);
  for (size_t i = 0; i < samples.size(); ++i) {
    const bool fits = std::ssize(task.prompts[i]) + std::ssize(samples[i].ids) <= most;
    answers[places[i]] = core::Answer{.text = data::answer_text(model.format, *model.tokenizer, samples[i].ids),
                                      .finished = fits && samples[i].finish == core::FinishReason::stop};
  }
  return answers;
}

std::vector<std::optional<double>> score_dialogues(const ScoringModel& model, const std::vector<core::Dialogue>& answered) {
  data::PromptSet set;
  for (const core::Dialogue& dialogue : answered) {
    set.records.emplace_back();
    set.records.back().messages = dialogue;
  }
  RenderPolicy limit = model.limit;
  limit.allow_tags = true;
  const auto records = dialogues_for(model, set, {.limit = limit});
  std::vector<core::Ids> rows;
  for (const RecordIds& record : records)
    if (record.too_long.empty()) rows.push_back(record.ids);
  const std::vector<double> scores = model.score(rows);
  std::vector<std::optional<double>> result(answered.size());
  for (size_t i = 0, next = 0; i < records.size(); ++i)
    if (records[i].too_long.empty()) result[i] = scores[next++];
  return result;
}

}  // namespace keel::inference
