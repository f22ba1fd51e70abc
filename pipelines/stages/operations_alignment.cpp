// Rejection sampling and PPO on folders.
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "core/error.h"
#include "core/files.h"
#include "core/json.h"
#include "core/jsonl.h"
#include "core/log.h"
#include "data/hh_text.h"
#include "data/messages.h"
#include "data/prompts.h"
#include "data/text.h"
#include "evaluation/statistics/interval.h"
#include "evaluation/statistics/json.h"
#include "inference/model_folder.h"
#include "pipelines/stages/operations.h"
#include "policy/shards.h"
#include "ppo/train.h"

namespace keel::pipelines::stages {
namespace {

// Both reward models, and the paper's combination of them; without a safety model the helpfulness score alone. They score the ids of
// `policy`'s answers as they are.
struct Rewards {
  inference::ScoringModel helpfulness;
  std::optional<inference::ScoringModel> safety;

  Rewards(const fs::path& helpfulness_folder, const fs::path& safety_folder, const fs::path& policy)
      : helpfulness(inference::load_scoring_model(helpfulness_folder)) {
    inference::require_same_text(helpfulness_folder, policy);
    if (safety_folder.empty()) return;
    inference::require_same_text(safety_folder, policy);
    safety = inference::load_scoring_model(safety_folder);
  }

  reward::RewardFunction function(const std::vector<core::Ids>& prompts, const std::vector<bool>& hazard,
                                  const reward::CombinationConfig& config) const {
    if (safety) return reward::gated_reward(helpfulness.model, safety->model, prompts, hazard, config);
    if (const auto marked = std::count(hazard.begin(), hazard.end(), true); marked > 0)
      core::log_warn(
          fmt::format("{} of {} prompts have \"hazard\": true, which nothing reads without a safety reward model: the helpfulness "
                      "model scores their answers too",
                      marked, hazard.size()));
    return reward::plain_reward(helpfulness.model, prompts);
  }
};

// Settings of the combination that are none where there is no safety model.
std::vector<std::string> unread_combination(const fs::path& safety, const reward::CombinationConfig& config) {
  std::vector<std::string> problems;
  if (safety.empty())
    for (const auto& field : core::set_fields(config))
      problems.push_back(
          fmt::format("combination.{}: nothing reads it without a safety reward model; give --safety-reward, or leave it out", field.name));
  return problems;
}

// K answers to each prompt, numbered 0..K-1, in order; temperature i of several writes the answers i, i + count, ...
std::vector<core::Sample> sample_at_temperatures(const inference::LanguageModel& policy, const inference::Prompts& prompts,
                                                 const rejection_sampling::RejectionConfig& config, const RejectionInputs& inputs,
                                                 uint64_t seed, const fs::path& work) {
  const std::string label = inputs.version == 1 ? "rejection" : fmt::format("rejection{}", inputs.version);
  policy::SamplingTask task{.label = label,
                            .samples = config.samples,
                            .sampling = config.sampling,
                            .batch_rows = config.batch_rows,
                            .stop_ids = data::stop_ids(policy.format, *policy.tokenizer),
                            .seed = seed};
  if (config.temperatures.empty()) return policy::sample_in_shards(policy.llama, prompts.ids, task, work);
  const auto count = std::ssize(config.temperatures);
  std::vector<core::Sample> all;
  for (int64_t i = 0; i < count; ++i) {
    task.sampling.temperature = config.temperatures[static_cast<size_t>(i)];
    task.label = fmt::format("{} T={}", label, task.sampling.temperature);
    task.samples = config.samples / count;
    for (auto& sample : policy::sample_in_shards(policy.llama, prompts.ids, task, work)) {
      sample.sample = sample.sample * count + i;
      all.push_back(std::move(sample));
    }
  }
  std::stable_sort(all.begin(), all.end(),
                   [](const auto& a, const auto& b) { return std::pair(a.prompt, a.sample) < std::pair(b.prompt, b.sample); });
  return all;
}

nlohmann::json kept_json(const rejection_sampling::KeptAnswer& kept, const core::Dialogue& dialogue, const std::string& text) {
  return {{"prompt", data::messages_json(dialogue)}, {"completion", text},     {"prompt_ids", kept.prompt}, {"answer_ids", kept.answer},
          {"probability", kept.probability},         {"version", kept.version}};
}

// Whether the ids of an answer are those that its text gets where it is read again, as `keel sft` does with kept.jsonl.gz.
bool reads_back(const inference::LanguageModel& policy, const rejection_sampling::KeptAnswer& kept, core::Dialogue dialogue,
                const std::string& text) {
  dialogue.messages.push_back({"assistant", text});
  return data::render(policy.format, *policy.tokenizer, dialogue, data::TagPolicy::allow).ids == core::joined(kept.prompt, kept.answer);
}

std::vector<rejection_sampling::KeptAnswer> read_kept(const fs::path& file, int64_t vocabulary, int64_t row_tokens) {
  std::vector<rejection_sampling::KeptAnswer> kept;
  core::JsonlReader reader(file);
  const auto is_id = [&](const nlohmann::json& id) {
    return id.is_number_unsigned() && id.get<uint64_t>() < static_cast<uint64_t>(vocabulary);
  };
  const auto ids = [&](const nlohmann::json& row, const char* name) {
    const auto found = row.find(name);
    if (found == row.end() || !found->is_array() || found->empty() || !std::all_of(found->begin(), found->end(), is_id))
      throw reader.error(fmt::format("\"{}\" must be a list of ids 0..{} of the model, as kept.jsonl.gz has it", name, vocabulary - 1));
    return found->get<core::Ids>();
  };
  int64_t over_long = 0, empty = 0;
  for (nlohmann::json row; reader.next(row);) {
    rejection_sampling::KeptAnswer one{.prompt = ids(row, "prompt_ids"), .answer = ids(row, "answer_ids")};
    if (const auto* text = data::member(row, "completion");
        text != nullptr && text->is_string() && data::strip(text->get<std::string>()).empty())
      ++empty;
    else if (std::ssize(one.prompt) + std::ssize(one.answer) > row_tokens)
      ++over_long;
    else
      kept.push_back(std::move(one));
  }
  core::log_info(fmt::format("{}: kept {}, dropped {} (over_long {}, empty_answer {})", file.string(), kept.size(), over_long + empty,
                             over_long, empty));
  return kept;
}

double probability_of(const reward::AnswerReward& earned, const std::string& score) {
  return score == "helpfulness" ? earned.helpfulness : score == "safety" ? earned.safety : earned.probability;
}

// The answers of `inputs.policy` that are kept. Writes what was sampled and what became of it.
std::vector<rejection_sampling::KeptAnswer> sample_and_select(const RejectionInputs& inputs,
                                                              const rejection_sampling::RejectionConfig& config,
                                                              const reward::CombinationConfig& combination, uint64_t seed,
                                                              const fs::path& work) {
  const inference::LanguageModel policy = inference::load_language_model(inputs.policy);
  const Rewards rewards(inputs.helpfulness, inputs.safety, inputs.policy);
  const inference::Prompts prompts = inference::read_prompt_file(inputs.prompts, policy, inputs.limit, config.sampling.max_new_tokens);
  core::write_file(work / "counts.json", core::dump_json({{"prompts", to_json(prompts.counts)}}) + "\n");
  const std::vector<core::Sample> samples = sample_at_temperatures(policy, prompts, config, inputs, seed, work);
  const std::vector<reward::AnswerReward> earned = rewards.function(prompts.ids, prompts.hazard, combination)(samples);
  std::vector<core::ScoredSample> scored;
  core::JsonlWriter sampled(work / "samples.jsonl.gz");
  for (size_t i = 0; i < samples.size(); ++i) {
    scored.push_back({.sample = samples[i], .probability = probability_of(earned[i], config.score)});
    nlohmann::json row = policy::to_json(samples[i]);
    row["probability"] = scored.back().probability;
    sampled.write(row);
  }
  sampled.commit();

  const auto selection = rejection_sampling::select_best(scored, config.selection);
  std::vector<rejection_sampling::KeptAnswer> kept;
  int64_t empty = 0;      // blanks alone, which `sft` would leave out of kept.jsonl.gz too
  int64_t over_long = 0;  // prompt and answer do not fit a training row
  int64_t other_ids = 0;  // training goes by the generated ids, a reader of the text would have others
  core::JsonlWriter writer(work / "kept.jsonl.gz");
  for (const auto& best : selection.best) {
    const auto prompt = static_cast<size_t>(best.sample.prompt);
    if (std::ssize(prompts.ids[prompt]) + std::ssize(best.sample.ids) > config.sft.batch.row_tokens) {
      ++over_long;
      continue;
    }
    const std::string text = data::answer_text(policy.format, *policy.tokenizer, best.sample.ids);
    if (data::strip(text).empty()) {
      ++empty;
      continue;
    }
    kept.push_back({.prompt = prompts.ids[prompt], .answer = best.sample.ids, .probability = best.probability, .version = inputs.version});
    if (!reads_back(policy, kept.back(), prompts.dialogues[prompt], text)) ++other_ids;
    writer.write(kept_json(kept.back(), prompts.dialogues[prompt], text));
  }
  writer.commit();
  core::write_file(work / "selection.json", core::dump_json({{"kept", kept.size()},
                                                             {"unfinished", selection.unfinished.size()},
                                                             {"empty", empty},
                                                             {"over_long", over_long},
                                                             {"other_ids_from_text", other_ids},
                                                             {"scores_by_count", scores_by_count(selection, seed)}}) +
                                                "\n");
  core::log_info(
      fmt::format("rejection sampling: kept the best of {} answers to {} prompts; of {} no answer ended, of {} the best is empty, {} are "
                  "longer than a training row; of {} the text has other ids than were generated",
                  config.samples, kept.size(), selection.unfinished.size(), empty, over_long, other_ids));
  if (kept.empty() && empty > 0)
    throw core::DataError(
        inputs.prompts, 0,
        fmt::format("nothing is left to learn from: the best answers to {} prompts are empty (blanks alone); the model ends its "
                    "answers at once, train it on demonstrations first",
                    empty));
  if (kept.empty())
    throw core::DataError(inputs.prompts, 0,
                          fmt::format("no prompt has an answer that {}fits a training row; raise {}sft.batch.row_tokens",
                                      config.selection.finished_only ? "ended by itself and " : "",
                                      config.selection.finished_only ? "sampling.max_new_tokens or " : ""));
  return kept;
}

}  // namespace

// A thousand replicates: there are K of each.
nlohmann::json scores_by_count(const rejection_sampling::Selection& selection, uint64_t seed) {
  nlohmann::json by_count = nlohmann::json::array();
  for (const auto& row : selection.statistics)
    by_count.push_back({{"answers", row.answers},
                        {"maximum", to_json(evaluation::statistics::bootstrap_mean(row.maximum, {.seed = seed, .replicates = 1000}))},
                        {"median", to_json(evaluation::statistics::bootstrap_mean(row.median, {.seed = seed, .replicates = 1000}))}});
  return by_count;
}

void rejection_operation(const RejectionInputs& inputs, const rejection_sampling::RejectionConfig& config,
                         const reward::CombinationConfig& combination, uint64_t seed, const fs::path& work) {
  std::vector<std::string> problems = rejection_sampling::problems_of(config);
  for (auto& problem : unread_combination(inputs.safety, combination))
    problems.push_back(std::move(problem));
  core::throw_if_any(std::move(problems));
  if (inputs.safety.empty() && config.score == "safety")
    throw core::UsageError("score \"safety\" needs a safety reward model: give --safety-reward");
  const inference::LanguageModel start = inference::load_language_model(inputs.start);
  inference::require_same_tokenizer(inputs.start, inputs.policy);
  const data::ChatFormat format = data::chat_format_of(inputs.policy);  // of the prompts that the model learns to answer
  std::vector<std::vector<rejection_sampling::KeptAnswer>> versions;
  for (const auto& file : inputs.pool)
    versions.push_back(read_kept(file, start.llama.config.vocab_size, config.sft.batch.row_tokens));
  versions.push_back(sample_and_select(inputs, config, combination, seed, work));
  std::vector<core::TokenSequence> sequences;
  for (const auto& kept : rejection_sampling::pool_of(versions))
    sequences.push_back(rejection_sampling::training_sequence(kept.prompt, kept.answer));
  if (!inputs.pool.empty())
    core::log_info(fmt::format("rejection sampling: {} answers in the pool of {} versions", sequences.size(), versions.size()));
  policy::train_sft(start.llama, sequences, {}, config.sft, seed, work, "fine-tune");
  inference::save_language_model(work, start.llama, inputs.start, format,
                                 {{"stage", "rejection"}, {"seed", seed}, {"samples", config.samples}});
}

void ppo_operation(const PpoInputs& inputs, const ppo::PpoConfig& config, const reward::CombinationConfig& combination, uint64_t seed,
                   const fs::path& work) {
  std::vector<std::string> problems = unread_combination(inputs.safety, combination);
  if (inputs.safety.empty() && config.score.whiten_scope == "deciding_model")
    problems.emplace_back(
        "score.whiten_scope: without a safety reward model deciding_model is the same as batch; give --safety-reward, or leave it out");
  core::throw_if_any(std::move(problems));
  const inference::LanguageModel policy = inference::load_language_model(inputs.policy);
  core::throw_if_any(ppo::problems_with(config, policy.llama.config));
  const Rewards rewards(inputs.helpfulness, inputs.safety, inputs.policy);
  const inference::Prompts prompts = inference::read_prompt_file(inputs.prompts, policy, inputs.limit, config.sampling.max_new_tokens);
  nlohmann::json counts = {{"prompts", to_json(prompts.counts)}};
  ppo::PpoJob job{.prompts = prompts.ids,
                  .stop_ids = data::stop_ids(policy.format, *policy.tokenizer),
                  .reward = rewards.function(prompts.ids, prompts.hazard, combination),
                  .sources = prompts.sources};
  inference::Prompts held_out;  // what the job's rewards refer to
  if (!inputs.held_out.empty()) {
    held_out = inference::read_prompt_file(inputs.held_out, policy, inputs.limit, config.sampling.max_new_tokens);
    counts["held_out"] = to_json(held_out.counts);
    job.held_out = {.prompts = held_out.ids, .reward = rewards.function(held_out.ids, held_out.hazard, combination)};
  }
  if (config.ptx.weight > 0 && !inputs.pretraining.empty())
    job.pretraining = read_corpus_sequences(inputs.pretraining, policy, policy.llama.config.max_position_embeddings, counts);
  core::write_file(work / "counts.json", core::dump_json(counts) + "\n");
  const reward::RewardModel critic = ppo::make_critic(config, policy.llama, rewards.helpfulness.model);
  const ppo::PpoResult result = ppo::train(policy.llama, critic, job, config, seed, work);
  nlohmann::json seconds;
  for (const auto& [phase, spent] : ppo::row_of(result.times))
    seconds[phase] = spent;
  core::write_file(work / "timings.json", core::dump_json(seconds) + "\n");
  inference::save_scoring_model(work / "critic", result.critic, inputs.helpfulness, policy.format,
                                {{"stage", "ppo"}, {"kind", "critic"}, {"seed", seed}});
  inference::save_language_model(
      work, result.policy, inputs.policy, policy.format,
      {{"stage", "ppo"}, {"seed", seed}, {"iterations", result.iterations}, {"kept_iteration", result.kept_iteration}});
}

}  // namespace keel::pipelines::stages
