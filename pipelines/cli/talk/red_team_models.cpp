#include "pipelines/cli/talk/red_team_models.h"

#include <fmt/format.h>

#include <exception>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>

#include "annotation/chat_client.h"
#include "annotation/parallel.h"
#include "core/digest_cache.h"
#include "core/error.h"
#include "data/messages.h"
#include "http/client.h"
#include "inference/dialogues.h"
#include "inference/prompts.h"
#include "inference/records.h"
#include "inference/reward_models.h"
#include "reward/combination.h"

namespace keel::pipelines::cli::talk {
namespace {

// Ids to answer `dialogue`, with room for the answer. std::invalid_argument for tags, and for a dialogue that does not fit: none is
// shortened, for the log, the judges and the exports hold the whole.
core::Ids rendered(const inference::LanguageModel& model, const inference::RenderPolicy& limit, int64_t max_new_tokens,
                   const core::Dialogue& dialogue) {
  const int64_t context = model.llama.config.max_position_embeddings;
  const int64_t most = inference::room_for_prompt(limit.max_tokens > 0 ? std::min(limit.max_tokens, context) : context, max_new_tokens);
  core::Ids ids = data::render(model.format, *model.tokenizer, dialogue, data::TagPolicy::allow).ids;
  if (std::ssize(ids) > most) throw std::invalid_argument(fmt::format("{} tokens are more than the {} that fit", ids.size(), most));
  return ids;
}

// The user's text alone decides about tags: a model's own answer may hold them.
void refuse_tags(const inference::LanguageModel& model, const std::string& text) {
  data::render(model.format, *model.tokenizer, {{{"user", text}}}, data::TagPolicy::refuse);
}

std::vector<annotation::ChatReply> ask_folder(const inference::LanguageModel& model, policy::Generator& generator,
                                              const inference::RenderPolicy& limit, const AnswerSettings& settings,
                                              const std::vector<red_team::Question>& questions) {
  policy::GenerationJob job{.sampling = settings.sampling,
                            .stop_ids = data::stop_ids(model.format, *model.tokenizer),
                            .seed = settings.seed,
                            .purpose = "red_team",
                            .batch_rows = settings.batch_rows};
  for (const auto& question : questions) {
    job.prompts.push_back(rendered(model, limit, settings.sampling.max_new_tokens, question.dialogue));
    job.records.push_back(static_cast<int64_t>(question.record));
  }
  std::vector<annotation::ChatReply> answers;
  for (const auto& sample : generator.generate(job))
    answers.push_back({.text = data::answer_text(model.format, *model.tokenizer, sample.ids), .refusal = {}});
  return answers;
}

annotation::ChatReply ask_server(const annotation::ChatServer& server, const policy::SamplingConfig& sampling,
                                 const core::Dialogue& dialogue) {
  return annotation::ask_chat(server, {{"messages", data::messages_json(dialogue)},
                                       {"temperature", sampling.temperature},
                                       {"top_p", sampling.top_p},
                                       {"max_tokens", sampling.max_new_tokens}});
}

// Several questions at a time.
std::vector<annotation::ChatReply> ask_all(const annotation::ChatServer& server, const policy::SamplingConfig& sampling,
                                           const std::vector<red_team::Question>& questions) {
  std::vector<annotation::ChatReply> answers(questions.size());
  const std::exception_ptr failure = annotation::run_in_parallel(
      server.parallel, questions.size(), [&](size_t i) { answers[i] = ask_server(server, sampling, questions[i].dialogue); });
  if (failure) std::rethrow_exception(failure);
  return answers;
}

std::string folder_name(const std::filesystem::path& folder) {
  const auto whole = std::filesystem::absolute(folder).lexically_normal();
  return (whole.has_filename() ? whole : whole.parent_path()).filename().string();
}

}  // namespace

red_team::Target folder_target(const std::string& folder, const std::string& chat, std::string name, const AnswerSettings& settings,
                               const std::function<inference::RenderPolicy(const inference::RenderPolicy&)>& limit) {
  const auto model = std::make_shared<const inference::LanguageModel>(inference::load_language_model(folder, chat));
  const auto generator = std::make_shared<policy::Generator>(model->llama, policy::kDialogueBytes);
  const inference::RenderPolicy policy = limit(model->limit);
  const bool refuse = !policy.allow_tags;  // in the user's turns
  core::DigestCache digests;
  red_team::Target target;
  target.name = name.empty() ? folder_name(folder) : std::move(name);
  target.digest = inference::model_digest(folder, digests);
  target.settings = {
      {"sampling", core::key_json_of(settings.sampling)}, {"chat", chat}, {"max_tokens", policy.max_tokens}, {"allow_tags", !refuse}};
  target.ask = [=](const std::vector<red_team::Question>& questions) {
    return ask_folder(*model, *generator, policy, settings, questions);
  };
  target.check = [=](const core::Dialogue& dialogue) {
    if (refuse) refuse_tags(*model, dialogue.messages.back().content);
    rendered(*model, policy, settings.sampling.max_new_tokens, dialogue);
  };
  return target;
}

red_team::Target server_target(const annotation::ChatServer& server, std::string name, const AnswerSettings& settings) {
  http::parse_url(server.url);
  if (settings.sampling.top_k != 0) throw core::UsageError("sampling.top_k: a server behind OpenAI's interface has no such setting");
  red_team::Target target;
  target.name = !name.empty() ? std::move(name) : server.model.empty() ? server.url : server.model;
  target.digest = server.model.empty() ? target.name : server.model;  // not the address: the same model may move
  target.settings = {{"sampling", core::key_json_of(settings.sampling)}};
  target.ask = [=](const std::vector<red_team::Question>& questions) { return ask_all(server, settings.sampling, questions); };
  return target;
}

red_team::SafetyScore safety_score(const std::string& folder) {
  inference::check_reward_kinds({}, folder);
  inference::ScoringModel model = inference::load_scoring_model(folder);
  model.limit.drop_oldest_turns = true;
  return [folder, model = std::move(model)](const std::vector<core::Dialogue>& dialogues) {
    std::vector<double> probabilities;
    for (const auto& score : inference::score_dialogues(model, dialogues)) {
      if (!score) throw core::UsageError(fmt::format("{}: an answer does not fit the safety model; lower sampling.max_new_tokens", folder));
      probabilities.push_back(reward::probability(*score));
    }
    return probabilities;
  };
}

}  // namespace keel::pipelines::cli::talk
