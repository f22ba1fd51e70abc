#include "inference/prompts.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/error.h"
#include "core/jsonl.h"
#include "core/log.h"
#include "data/hh_text.h"
#include "data/messages.h"
#include "data/prompts.h"

namespace keel::inference {

data::RenderLimits limits_within(const RenderPolicy& policy, int64_t most) {
  return {.max_tokens = policy.max_tokens > 0 ? std::min(policy.max_tokens, most) : most,
          .drop_oldest_turns = policy.drop_oldest_turns,
          .tags = policy.allow_tags ? data::TagPolicy::allow : data::TagPolicy::refuse};
}

int64_t room_for_prompt(int64_t max_tokens, int64_t max_new_tokens) {
  if (max_new_tokens >= max_tokens)
    throw core::UsageError(
        fmt::format("{} tokens hold prompt and answer here (the model's context, the limit that it was trained with, or --max-tokens), and "
                    "sampling.max_new_tokens is {}: lower it, --max-new-tokens N",
                    max_tokens, max_new_tokens));
  return max_tokens - max_new_tokens;
}

Prompts read_prompt_file(const std::filesystem::path& path, const LanguageModel& model, const RenderPolicy& limit, int64_t max_new_tokens) {
  data::RenderLimits limits = limits_within(limit, model.llama.config.max_position_embeddings);
  const int64_t room = room_for_prompt(limits.max_tokens, max_new_tokens);
  limits.max_tokens = room;
  Prompts prompts;
  core::JsonlReader reader(path);
  const auto read = [&](const nlohmann::json& row) {
    const data::PromptRecord record = data::parse_prompt_record(row);
    if (record.ids) throw std::invalid_argument("a prompt is needed as {\"messages\"} or {\"prompt\"}, got {\"ids\"}");
    core::Dialogue dialogue = record.messages ? *record.messages : data::dialogue_of_prompt(*record.text);
    if (dialogue.messages.back().role != "user") throw std::invalid_argument("a prompt must end with a user turn");
    core::Ids ids;
    const bool fits = data::shorten_until_fits_(dialogue, limits, prompts.counts, [&](const core::Dialogue& left) {
      ids = data::render(model.format, *model.tokenizer, left, limits.tags).ids;
      return std::ssize(ids);
    });
    if (!fits) return;
    prompts.rows.push_back(row);
    prompts.dialogues.push_back(std::move(dialogue));
    prompts.ids.push_back(std::move(ids));
    prompts.hazard.push_back(record.hazard);
    prompts.sources.push_back(record.source);
  };
  for (nlohmann::json row; reader.next(row);)
    data::with_place(reader.path(), reader.line(), [&] { read(row); });
  core::log_info(fmt::format("{}: {}", path.string(), to_line(prompts.counts)));
  if (prompts.ids.empty())
    throw core::DataError(path, 0,
                          fmt::format("holds no prompt of at most {} tokens, which leaves room for an answer of {}", room, max_new_tokens));
  return prompts;
}

}  // namespace keel::inference
