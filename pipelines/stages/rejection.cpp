// Rejection sampling (Llama 2 paper, 3.2.3): the newest model writes answers, and the base model is fine-tuned on the best of them.
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "core/error.h"
#include "core/files.h"
#include "core/json.h"
#include "core/jsonl.h"
#include "core/log.h"
#include "core/rng.h"
#include "data/demonstrations.h"
#include "data/messages.h"
#include "data/mixture.h"
#include "data/text.h"
#include "inference/prompts.h"
#include "inference/reward_models.h"
#include "pipelines/measurement/score_curves.h"
#include "pipelines/stages/commands.h"
#include "pipelines/stages/graph.h"
#include "policy/sft.h"
#include "policy/shards.h"
#include "rejection_sampling/run.h"

namespace keel::pipelines::stages {
namespace {

using rejection_sampling::KeptAnswer;

struct RejectionSettings {
  rejection_sampling::RejectionConfig rejection;
  reward::CombinationConfig combination;
  inference::RenderPolicy limit;
  int64_t version = 1;
  double gatt_weight = 0.2, distilled_weight = 0.1;
};

void visit(RejectionSettings& settings, core::Fields& fields) {
  visit(settings.rejection, fields);
  fields.section("combination", settings.combination, "helpfulness and safety in one score");
  fields.section("limit", settings.limit, "prompts that do not fit, and tags in messages");
  fields("version", settings.version, "N of the version VN that this makes: each draws its answers apart, and marks them",
         core::between(1, 1e6));
  fields("gatt_weight", settings.gatt_weight, "share of Ghost Attention dialogues in the fine-tuning data, as far as there are enough",
         core::between(0.001, 0.999));
  fields("distilled_weight", settings.distilled_weight, "share of distilled answers in it, likewise", core::between(0.001, 0.999));
}

nlohmann::json kept_json(const KeptAnswer& kept, const core::Dialogue& dialogue, const std::string& text) {
  return {{"prompt", data::messages_json(dialogue)}, {"completion", text},     {"prompt_ids", kept.prompt}, {"answer_ids", kept.answer},
          {"probability", kept.probability},         {"version", kept.version}};
}

// Whether tokenising an answer's text again, as `keel sft` does with kept.jsonl.gz, gives the same ids.
bool reads_back(const inference::LanguageModel& policy, const KeptAnswer& kept, core::Dialogue dialogue, const std::string& text) {
  dialogue.messages.push_back({"assistant", text});
  return data::render(policy.format, *policy.tokenizer, dialogue, data::TagPolicy::allow).ids == core::joined(kept.prompt, kept.answer);
}

std::vector<KeptAnswer> read_kept(const steps::fs::path& file, int64_t vocabulary, int64_t row_tokens) {
  std::vector<KeptAnswer> kept;
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
    KeptAnswer one{.prompt = ids(row, "prompt_ids"), .answer = ids(row, "answer_ids")};
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

void write_samples(const steps::fs::path& file, const std::vector<core::ScoredSample>& scored) {
  core::write_jsonl(file, scored, [](const core::ScoredSample& one) {
    nlohmann::json row = policy::to_json(one.sample);
    row["probability"] = one.probability;
    return row;
  });
}

// Writes the best answers that fine-tuning can use to kept.jsonl.gz, and counts of the others to selection.json.
std::vector<KeptAnswer> keep(const rejection_sampling::Selection& selection, const inference::LanguageModel& policy,
                             const inference::Prompts& prompts, const RejectionSettings& settings, const steps::Context& context) {
  const rejection_sampling::RejectionConfig& config = settings.rejection;
  std::vector<KeptAnswer> kept;
  int64_t empty = 0;      // blanks alone; `sft` would drop them too
  int64_t over_long = 0;  // prompt and answer do not fit a training row
  int64_t other_ids = 0;  // training uses the generated ids; tokenising the text gives others
  core::JsonlWriter writer(context.work / "kept.jsonl.gz");
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
    kept.push_back(
        {.prompt = prompts.ids[prompt], .answer = best.sample.ids, .probability = best.probability, .version = settings.version});
    if (!reads_back(policy, kept.back(), prompts.dialogues[prompt], text)) ++other_ids;
    writer.write(kept_json(kept.back(), prompts.dialogues[prompt], text));
  }
  writer.commit();
  core::write_file(context.work / "selection.json",
                   core::dump_json({{"kept", kept.size()},
                                    {"unfinished", selection.unfinished.size()},
                                    {"empty", empty},
                                    {"over_long", over_long},
                                    {"other_ids_from_text", other_ids},
                                    {"scores_by_count", measurement::scores_by_count(selection, context.seed)}}) +
                       "\n");
  core::log_info(
      fmt::format("rejection sampling: kept the best of {} answers to {} prompts; of {} no answer ended, of {} the best is empty, {} are "
                  "longer than a training row; of {} the text has other ids than were generated",
                  config.samples, kept.size(), selection.unfinished.size(), empty, over_long, other_ids));
  if (kept.empty() && empty > 0)
    throw core::DataError(
        context.at("prompts"), 0,
        fmt::format("nothing is left to learn from: the best answers to {} prompts are empty (blanks alone); the model ends its "
                    "answers at once, train it on demonstrations first",
                    empty));
  if (kept.empty())
    throw core::DataError(context.at("prompts"), 0,
                          fmt::format("no prompt has an answer that {}fits a training row; raise {}sft.batch.row_tokens",
                                      config.selection.finished_only ? "ended by itself and " : "",
                                      config.selection.finished_only ? "sampling.max_new_tokens or " : ""));
  return kept;
}

std::vector<KeptAnswer> sample_and_keep(const RejectionSettings& settings, const steps::Context& context) {
  const inference::LanguageModel policy = inference::load_language_model(context.at("model"));
  const auto models = inference::load_reward_models(context.at("reward"), context.maybe("safety_reward"), context.at("model"));
  const inference::Prompts prompts =
      inference::read_prompt_file(context.at("prompts"), policy, settings.limit, settings.rejection.sampling.max_new_tokens);
  core::write_file(context.work / "counts.json", core::dump_json({{"prompts", to_json(prompts.counts)}}) + "\n");
  const auto scored =
      rejection_sampling::sample_and_score(policy.llama,
                                           {.prompts = prompts.ids,
                                            .stop_ids = data::stop_ids(policy.format, *policy.tokenizer),
                                            .reward = inference::reward_function(models, prompts.ids, prompts.hazard, settings.combination),
                                            .version = settings.version},
                                           settings.rejection, context.seed, context.work);
  write_samples(context.work / "samples.jsonl.gz", scored);
  return keep(rejection_sampling::select_best(scored, settings.rejection.selection), policy, prompts, settings, context);
}

// Demonstrations of `role` that join `answers` kept answers, so that they make up `weight` of all where the roles together make up
// `weights`.
std::vector<core::TokenSequence> mixed_in(const std::string& role, double weight, double weights, int64_t answers,
                                          const inference::LanguageModel& start, const data::ChatFormat& format,
                                          const RejectionSettings& settings, const steps::Context& context) {
  const auto file = context.at(role);
  auto limits = inference::limits_within(settings.limit,
                                         std::min(start.llama.config.max_position_embeddings, settings.rejection.sft.batch.row_tokens));
  limits.drop_oldest_turns = false;  // the instruction may stand in the first turn alone
  const auto rendered = data::render_demonstrations(data::read_demonstrations(file), format, *start.tokenizer, limits);
  if (rendered.sequences.empty())
    throw core::DataError(file, 0,
                          fmt::format("holds no row that fits the fine-tuning ({}); raise sft.batch.row_tokens", to_line(rendered.counts)));
  const uint64_t seed = core::Stream(context.seed, "mixture " + role, static_cast<uint64_t>(settings.version)).next();
  const double beside_answers = weight / (1 - weights + weight);  // of the answers and this role's rows alone
  std::vector<core::TokenSequence> drawn;
  for (const int64_t i : data::draw_rest(answers, std::ssize(rendered.sequences), beside_answers, seed))
    drawn.push_back(rendered.sequences[static_cast<size_t>(i)]);
  core::log_info(fmt::format("{}: {}; {} of them join {} kept answers, {} would be {} of all", file.string(), to_line(rendered.counts),
                             drawn.size(), answers, data::wanted_rest(answers, beside_answers), weight));
  return drawn;
}

// Reads "model" (which answers), "start" (which is fine-tuned), "reward", "safety_reward" (may be missing), "prompts", "gatt" and
// "distilled" (may be missing) and "pool": kept.jsonl.gz of earlier versions, oldest first. Leaves a model folder with samples.jsonl.gz,
// selection.json and kept.jsonl.gz: the new answers alone, as ids and as {"prompt", "completion"}.
void sample_and_fine_tune(const RejectionSettings& settings, const steps::Context& context) {
  const policy::SftConfig& sft = settings.rejection.sft;
  const inference::LanguageModel start = inference::load_language_model(context.at("start"), {}, inference::weights_for(sft.lora));
  inference::require_same_tokenizer(context.at("start"), context.at("model"));
  const data::ChatFormat format = inference::chat_format_of(context.at("model"));  // of the prompts that the model answers
  std::vector<std::vector<KeptAnswer>> versions;
  for (const auto& file : context.all("pool"))
    versions.push_back(read_kept(file, start.llama.config.vocab_size, settings.rejection.sft.batch.row_tokens));
  versions.push_back(sample_and_keep(settings, context));
  if (versions.size() > 1 && sft.steps > 0)
    core::log_warn(
        fmt::format("sft.steps is {} however large the pool is: with every version each answer is learned from less often; leave it at 0 "
                    "for whole epochs (sft.epochs)",
                    sft.steps));
  std::vector<core::TokenSequence> sequences = rejection_sampling::training_data(versions);
  if (versions.size() > 1)
    core::log_info(fmt::format("rejection sampling: learns from {} answers in the pool of {} versions", sequences.size(), versions.size()));
  const int64_t answers = std::ssize(sequences);
  double weights = 0;
  std::vector<std::pair<std::string, double>> others;
  for (const auto& [role, weight] : {std::pair{"gatt", settings.gatt_weight}, {"distilled", settings.distilled_weight}})
    if (!context.maybe(role).empty()) {
      others.emplace_back(role, weight);
      weights += weight;
    }
  for (const auto& [role, weight] : others)
    for (auto& sequence : mixed_in(role, weight, weights, answers, start, format, settings, context))
      sequences.push_back(std::move(sequence));
  const policy::Llama trained = policy::sft_start(start.llama, sft, context.seed, "fine-tune");
  policy::train_sft(trained, sequences, {}, sft, context.seed, context.work, "fine-tune");
  const nlohmann::json lineage = {{"stage", "rejection"}, {"seed", context.seed}, {"samples", settings.rejection.samples}};
  inference::save_adapter(context.work / "adapter", trained, sft.lora, format, lineage, settings.limit);
  inference::save_language_model(context.work, trained, context.at("start"), format, lineage, settings.limit);
}

steps::Step rejection_step(const RejectionSettings& settings, const steps::Inputs& given) {
  std::vector<std::string> problems = rejection_sampling::problems_of(settings.rejection);
  if (!steps::has_role(given, "safety_reward")) {
    for (auto& problem : inference::unread_combination(settings.combination))
      problems.push_back(std::move(problem));
    if (settings.rejection.score == rejection_sampling::Score::safety)
      problems.emplace_back("score: \"safety\" needs a safety reward model; give --safety-reward");
  }
  const RejectionSettings defaults;
  const bool gatt = steps::has_role(given, "gatt"), distilled = steps::has_role(given, "distilled");
  if (!gatt && settings.gatt_weight != defaults.gatt_weight) problems.emplace_back("gatt_weight: nothing reads it without --gatt");
  if (!distilled && settings.distilled_weight != defaults.distilled_weight)
    problems.emplace_back("distilled_weight: nothing reads it without --distilled");
  if (gatt && distilled && settings.gatt_weight + settings.distilled_weight >= 1)
    problems.emplace_back("gatt_weight and distilled_weight must add up to less than 1");
  std::set<steps::fs::path> pool;
  steps::Inputs inputs = given;
  for (const auto& [role, source] : given) {
    if (role == "pool" && source.stage.empty() && !pool.insert(source.path).second)
      problems.push_back(fmt::format("--pool {} is given twice", source.path.string()));
    if (role == "model" && !steps::has_role(given, "start")) {
      inputs.push_back({"start", source});
      core::log_warn(fmt::format("without --start the model that answers is fine-tuned, {}; the paper starts from the base model each time",
                                 source.path.string()));
    }
  }
  core::throw_if_any(std::move(problems));
  return steps::together(steps::make_step("rejection", settings, std::move(inputs), sample_and_fine_tune));
}

}  // namespace

void add_rejection(steps::Plan& plan, const recipe::Version& version) {
  if (version.rejection.empty()) return;
  const recipe::Recipe& recipe = plan.recipe;
  steps::Inputs inputs = {{"prompts", steps::output_of(version.prompts, "prompts_train.jsonl")},
                          {"model", steps::model_source(recipe, version.newest)},
                          {"reward", steps::output_of(version.helpfulness)},
                          {"safety_reward", steps::output_of(version.safety)},
                          {"start", steps::start_model(recipe)}};
  if (version.number >= recipe.rejection.pool_from)
    for (const auto& earlier : plan.versions)
      if (earlier.number < version.number) inputs.push_back({"pool", steps::output_of(earlier.rejection, "kept.jsonl.gz")});
  RejectionSettings settings{
      .rejection = recipe.rejection, .combination = recipe.combination, .limit = steps::length_limit(recipe), .version = version.number};
  if (!version.gatt.empty()) {
    settings.gatt_weight = recipe.gatt.weight;
    inputs.push_back({"gatt", steps::output_of(version.gatt, "gatt.jsonl")});
  }
  if (!version.distill.empty()) {
    settings.distilled_weight = recipe.distill.weight;
    inputs.push_back({"distilled", steps::output_of(version.distill, "distilled.jsonl")});
  }
  steps::Step step = rejection_step(settings, inputs);
  step.name = version.rejection;
  plan.add(step);
}

steps::Command rejection_command() {
  using Kind = steps::Role::Kind;
  return steps::make_command("rejection", "rejection sampling: the best of K answers by the reward models, then fine-tuning on them",
                             "model folder to write",
                             {{"model", "model that writes the answers: the newest one", Kind::folder},
                              {"start", "model to fine-tune: the base model; --model when left out", Kind::folder, false},
                              {"reward", "helpfulness reward model folder", Kind::folder},
                              {"safety_reward", "safety reward model folder", Kind::folder, false},
                              {"prompts", R"(rows {"messages"} or {"prompt"}, "hazard": true for safety prompts)"},
                              {"gatt", "rows of keel gatt, also used for fine-tuning", Kind::file, false},
                              {"distilled", "rows of keel distill, also used for fine-tuning", Kind::file, false},
                              {"pool", "kept.jsonl.gz of an earlier version, also used for fine-tuning; repeats", Kind::file, false, true}},
                             steps::with_limit({{"--version", "version"}}), rejection_step);
}

}  // namespace keel::pipelines::stages
