// Rejection sampling and PPO on folders.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/files.h"
#include "core/json.h"
#include "core/jsonl.h"
#include "core/log.h"
#include "data/hh_text.h"
#include "data/messages.h"
#include "data/prompts.h"
#include "pipelines/model_folder.h"
#include "pipelines/operations.h"
#include "pipelines/samples.h"
#include "ppo/train.h"

namespace keel::pipelines {
namespace {

// Both reward models, and the paper's combination of them; without a safety model the helpfulness score alone.
struct Rewards {
  ScoringModel helpfulness;
  std::optional<ScoringModel> safety;

  Rewards(const fs::path& helpfulness_folder, const fs::path& safety_folder) : helpfulness(load_scoring_model(helpfulness_folder)) {
    if (!safety_folder.empty()) safety = load_scoring_model(safety_folder);
  }

  ppo::RewardFunction function(const std::vector<core::Ids>& prompts, const std::vector<bool>& hazard,
                               const reward::CombinationConfig& config) const {
    if (safety) return ppo::gated_reward(helpfulness.model, safety->model, prompts, hazard, config);
    // One model alone: its own score stands on both sides of the gate.
    return ppo::gated_reward(helpfulness.model, helpfulness.model, prompts, hazard, config);
  }
};

// Prompts rendered for `model`, with room for an answer; longer ones are left out and counted.
struct Prompts {
  std::vector<core::Ids> ids;
  std::vector<bool> hazard;
};

Prompts render_prompts(const fs::path& file, const LanguageModel& model, int64_t max_new_tokens) {
  const PromptFile read = read_prompt_file(file);
  Prompts prompts;
  const int64_t room = model.llama.config.max_position_embeddings - max_new_tokens;
  for (size_t i = 0; i < read.dialogues.size(); ++i) {
    core::Ids ids =
        data::with_place(file, read.lines[i], [&] { return data::render(model.format, *model.tokenizer, read.dialogues[i]).ids; });
    if (static_cast<int64_t>(ids.size()) > room) continue;
    prompts.ids.push_back(std::move(ids));
    prompts.hazard.push_back(read.hazard[i]);
  }
  core::log_info(fmt::format("{}: kept {}, dropped {} (over_long {})", file.string(), prompts.ids.size(),
                             read.dialogues.size() - prompts.ids.size(), read.dialogues.size() - prompts.ids.size()));
  if (prompts.ids.empty())
    throw core::DataError(file, 0, fmt::format("holds no prompt of at most {} tokens, which leaves room for an answer", room));
  return prompts;
}

// `over_long`: kept answers that are left out because prompt and answer do not fit a training row.
nlohmann::json statistics_json(const rejection_sampling::Selection& selection, size_t over_long) {
  nlohmann::json by_count = nlohmann::json::array();
  for (const auto& row : selection.statistics)
    by_count.push_back({{"answers", row.answers}, {"maximum", row.maximum}, {"mean", row.mean}, {"median", row.median}});
  return {{"kept", selection.best.size() - over_long},
          {"unfinished", selection.unfinished.size()},
          {"over_long", over_long},
          {"scores_by_count", by_count}};
}

}  // namespace

PromptFile read_prompt_file(const fs::path& path) {
  PromptFile file;
  core::JsonlReader reader(path);
  for (nlohmann::json row; reader.next(row);)
    data::with_place(reader.path(), reader.line(), [&] {
      const data::PromptRecord record = data::parse_prompt_record(row);
      if (record.ids) throw std::invalid_argument("a prompt is needed as {\"messages\"} or {\"prompt\"}, got {\"ids\"}");
      file.dialogues.push_back(record.messages ? *record.messages : data::dialogue_of_prompt(*record.text));
      if (file.dialogues.back().messages.back().role != "user") throw std::invalid_argument("a prompt must end with a user turn");
      const auto hazard = row.find("hazard");
      if (hazard != row.end() && !hazard->is_boolean()) throw std::invalid_argument("\"hazard\" must be true or false");
      file.hazard.push_back(hazard != row.end() && hazard->get<bool>());
      file.lines.push_back(reader.line());
    });
  return file;
}

void rejection_operation(const RejectionInputs& inputs, const RejectionConfig& config, uint64_t seed, const fs::path& work) {
  std::vector<core::TokenSequence> selected;
  const LanguageModel start = load_language_model(inputs.start);
  {
    const LanguageModel policy = load_language_model(inputs.policy);
    const Rewards rewards(inputs.helpfulness, inputs.safety);
    const Prompts prompts = render_prompts(inputs.prompts, policy, config.sampling.max_new_tokens);
    const std::vector<core::Sample> samples = sample_in_shards(policy.llama, prompts.ids,
                                                               {.label = "rejection",
                                                                .samples = config.samples,
                                                                .sampling = config.sampling,
                                                                .stop_ids = data::stop_ids(policy.format, *policy.tokenizer),
                                                                .seed = seed},
                                                               work);
    const std::vector<double> scores = rewards.function(prompts.ids, prompts.hazard, config.combination)(samples);
    std::vector<core::ScoredSample> scored;
    for (size_t i = 0; i < samples.size(); ++i)
      scored.push_back({.sample = samples[i], .score = scores[i]});
    const auto selection = rejection_sampling::select_best(scored, config.selection);
    core::JsonlWriter writer(work / "samples.jsonl.gz");
    for (const auto& sample : scored) {
      nlohmann::json row = to_json(sample.sample);
      row["probability"] = sample.score;
      writer.write(row);
    }
    writer.commit();
    for (const auto& best : selection.best)
      selected.push_back(rejection_sampling::training_sequence(prompts.ids[static_cast<size_t>(best.sample.prompt)], best.sample.ids));
    const size_t over_long = std::erase_if(
        selected, [&](const core::TokenSequence& sequence) { return std::ssize(sequence.ids) > config.sft.batch.row_tokens; });
    core::write_file(work / "selection.json", core::dump_json(statistics_json(selection, over_long)) + "\n");
    core::log_info(fmt::format(
        "rejection sampling: kept the best of {} answers to {} prompts; of {} no answer ended, {} are longer than a training row",
        config.samples, selected.size(), selection.unfinished.size(), over_long));
  }
  if (selected.empty())
    throw core::DataError(
        inputs.prompts, 0,
        "no prompt has an answer that ended by itself and fits a training row; raise sampling.max_new_tokens or sft.batch.row_tokens");
  policy::train_sft(start.llama, selected, {}, config.sft, seed, work, "fine-tune");
  save_language_model(work, start.llama, inputs.start, start.format, {{"stage", "rejection"}, {"seed", seed}, {"samples", config.samples}});
}

void ppo_operation(const PpoInputs& inputs, const ppo::PpoConfig& config, const reward::CombinationConfig& combination, uint64_t seed,
                   const fs::path& work) {
  const LanguageModel policy = load_language_model(inputs.policy);
  const Rewards rewards(inputs.helpfulness, inputs.safety);
  const Prompts prompts = render_prompts(inputs.prompts, policy, config.sampling.max_new_tokens);
  const reward::RewardModel critic = ppo::make_critic(config, policy.llama, rewards.helpfulness.model);
  const ppo::PpoTimes times = ppo::train(policy.llama, critic,
                                         {.prompts = prompts.ids,
                                          .stop_ids = data::stop_ids(policy.format, *policy.tokenizer),
                                          .reward = rewards.function(prompts.ids, prompts.hazard, combination)},
                                         config, seed, work);
  core::write_file(
      work / "timings.json",
      core::dump_json(
          {{"generation", times.generation}, {"scoring", times.scoring}, {"assessment", times.assessment}, {"update", times.update}}) +
          "\n");
  save_scoring_model(work / "critic", critic, inputs.helpfulness, policy.format, {{"stage", "ppo"}, {"kind", "critic"}, {"seed", seed}});
  save_language_model(work, policy.llama, inputs.policy, policy.format, {{"stage", "ppo"}, {"seed", seed}});
}

}  // namespace keel::pipelines
