// Two answers to a prompt from two model variants at varied temperatures (Llama 2 paper, 3.2.1), which wait for an annotator.
#include <fmt/format.h>

#include <array>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "annotation/annotation.h"
#include "core/error.h"
#include "core/jsonl.h"
#include "core/rng.h"
#include "data/messages.h"
#include "data/prompts.h"
#include "inference/prompts.h"
#include "pipelines/collection/batch.h"
#include "pipelines/steps/plan.h"
#include "policy/shards.h"
#include "sandbox/answers.h"
#include "sandbox/prompts.h"

namespace keel::pipelines::collection {
namespace {

using recipe::SourceKind;

// Safety pairs are written for hazards; harmless prompts among them keep the model from calling look-alikes unsafe.
constexpr double kHazardShare = 0.7;

struct ComparisonSettings {
  bool sandbox = true;
  int64_t version = 1;
  std::string newest, before;  // models; the latter may be ""
  int64_t pairs = 0;           // of each kind
  int64_t public_pairs = 0;
  double grammar_share = 0;
  std::vector<double> temperatures;
  int64_t max_new_tokens = 256;
  inference::RenderPolicy limit;
};

void visit(ComparisonSettings& settings, core::Fields& fields) {
  fields("sandbox", settings.sandbox, "prompts and grammar of the sandbox");
  fields("version", settings.version, "N of VN");
  fields("newest", settings.newest, "model that answers");
  fields("before", settings.before, "model that the other answer is by");
  fields("pairs", settings.pairs, "comparisons of each kind");
  fields("public_pairs", settings.public_pairs, "comparisons by strangers");
  fields("grammar_share", settings.grammar_share, "share of answers that the grammar writes");
  fields("temperatures", settings.temperatures, "sampling temperatures");
  fields("max_new_tokens", settings.max_new_tokens, "longest answer in tokens");
  fields.section("limit", settings.limit, "prompts that do not fit, and tags in messages");
}

struct Answer {
  std::string text, model;
  double temperature = 0;  // 0 for the grammar, which has none
};

// One comparison: a prompt as its file has it, and two answers.
struct Comparison {
  const nlohmann::json* prompt = nullptr;
  SourceKind kind = SourceKind::helpfulness;
  std::array<Answer, 2> answers;
};

nlohmann::json comparison_json(const Comparison& comparison, size_t id) {
  nlohmann::json row = *comparison.prompt, answers = nlohmann::json::array();
  for (const auto& answer : comparison.answers)
    answers.push_back({{"text", answer.text}, {"model", answer.model}, {"temperature", answer.temperature}});
  row["id"] = id;
  row["kind"] = core::name_of(comparison.kind);
  row["answers"] = std::move(answers);
  return row;
}

// Answers for one model to write at one temperature: their prompts and destinations.
struct Request {
  std::vector<core::Ids> prompts;
  std::vector<Answer*> answers;
};

using Requests = std::map<std::pair<std::string, double>, Request>;

// The prompts of a version, by kind, from which comparisons are drawn.
struct PromptPool {
  std::vector<nlohmann::json> rows;
  std::vector<core::Ids> ids;
  std::vector<size_t> harmless, hazards;

  PromptPool(const steps::fs::path& file, const inference::LanguageModel& model, const inference::RenderPolicy& limit,
             int64_t max_new_tokens) {
    inference::Prompts prompts = inference::read_prompt_file(file, model, limit, max_new_tokens);
    for (size_t i = 0; i < prompts.rows.size(); ++i)
      (prompts.hazard[i] ? hazards : harmless).push_back(i);
    for (const auto& [kind, of_kind] : {std::pair{"harmless prompt", &harmless}, {"prompt about safety", &hazards}})
      if (of_kind->empty())
        throw core::DataError(file, 0, fmt::format("holds no {} that leaves room for an answer; both kinds are compared", kind));
    rows = std::move(prompts.rows);
    ids = std::move(prompts.ids);
    for (size_t i = 0; i < rows.size(); ++i) {
      // The annotator sees the dialogue that the models answered; the opening of the whole dialogue decides whether it is held out.
      nlohmann::json& messages = rows[i].at("messages");
      if (prompts.dialogues[i].messages.size() == messages.size()) continue;
      rows[i]["opening"] = data::opening_turn(data::parse_messages(messages, "messages"));
      messages = data::messages_json(prompts.dialogues[i]);
    }
  }

  size_t draw(SourceKind kind, bool sandbox, core::Stream& stream) const {
    const bool hazard = kind != SourceKind::helpfulness && (kind == SourceKind::safety && !sandbox ? true : stream.chance(kHazardShare));
    return stream.pick(hazard ? hazards : harmless);
  }
};

void answer_all(const Requests& requests, const ComparisonSettings& settings, const steps::Context& context) {
  std::map<std::string, inference::LanguageModel> models;
  for (const auto& [variant, request] : requests) {
    const auto& [name, temperature] = variant;
    auto [model, fresh] = models.try_emplace(name);
    if (fresh) model->second = inference::load_language_model(context.at("model:" + name));
    // The two answers of a comparison use different draws, whichever models wrote them.
    const std::string draws = purpose_of(settings.version, fmt::format(" {}T={}", settings.version == 1 ? "" : name + " ", temperature));
    const auto samples = policy::generate_in_shards(model->second.llama,
                                                    {.prompts = request.prompts,
                                                     .sampling = {.temperature = temperature, .max_new_tokens = settings.max_new_tokens},
                                                     .stop_ids = data::stop_ids(model->second.format, *model->second.tokenizer),
                                                     .seed = context.seed,
                                                     .purpose = draws},
                                                    draws, context.work);
    for (const auto& sample : samples)
      request.answers[static_cast<size_t>(sample.prompt)]->text =
          data::answer_text(model->second.format, *model->second.tokenizer, sample.ids);
  }
}

// Reads "prompts" and "model:NAME" of the models that answer. Leaves comparisons.jsonl.gz and, on real data, for_people.jsonl.
void collect(const ComparisonSettings& settings, const steps::Context& context) {
  const bool sandbox = settings.sandbox;
  const sandbox::World world = sandbox::make_world(context.seed);
  const PromptPool pool(context.at("prompts"), inference::load_language_model(context.at("model:" + settings.newest)), settings.limit,
                        settings.max_new_tokens);

  std::vector<Comparison> comparisons;
  for (const SourceKind kind : kinds_of(settings.public_pairs > 0)) {
    const int64_t count = kind == SourceKind::public_pairs ? settings.public_pairs : settings.pairs;
    comparisons.resize(comparisons.size() + static_cast<size_t>(count), {.prompt = nullptr, .kind = kind, .answers = {}});
  }
  Requests requests;
  std::map<SourceKind, uint64_t> drawn;
  for (auto& comparison : comparisons) {
    core::Stream stream(context.seed, purpose_of(settings.version, "." + core::name_of(comparison.kind)), drawn[comparison.kind]++);
    const size_t prompt = pool.draw(comparison.kind, sandbox, stream);
    comparison.prompt = &pool.rows[prompt];
    for (size_t side = 0; side < 2; ++side) {
      Answer& answer = comparison.answers.at(side);
      if (settings.version == 1 && stream.chance(settings.grammar_share)) {
        const auto info = sandbox::prompt_from_json(*comparison.prompt, "prompts", 0);
        answer = {.text = sandbox::sample_answer(world, info, stream.pick(sandbox::qualities(info.hazard)), stream), .model = "grammar"};
        continue;
      }
      answer.model = side == 1 && !settings.before.empty() ? settings.before : settings.newest;
      answer.temperature = stream.pick(settings.temperatures);
      Request& request = requests[{answer.model, answer.temperature}];
      request.prompts.push_back(pool.ids[prompt]);
      request.answers.push_back(&answer);
    }
  }
  answer_all(requests, settings, context);

  core::JsonlWriter writer(context.work / "comparisons.jsonl.gz");
  // On real data always, because the annotator is not part of this stage's key.
  std::optional<core::JsonlWriter> for_people;
  if (!sandbox) for_people.emplace(context.work / kForPeople);
  for (size_t i = 0; i < comparisons.size(); ++i) {
    // Random order: with the newer model always first, an annotator would come to prefer a side.
    core::Stream stream(context.seed, purpose_of(settings.version, ".order"), i);
    if (settings.version > 1 && stream.chance(0.5)) std::swap(comparisons[i].answers[0], comparisons[i].answers[1]);
    const nlohmann::json row = comparison_json(comparisons[i], i);
    writer.write(row);
    if (for_people) for_people->write(annotation::blinded(row));
  }
  writer.commit();
  if (for_people) for_people->commit();
}

}  // namespace

void add_comparisons(steps::Plan& plan, const recipe::Version& version) {
  if (version.comparisons.empty()) return;
  const recipe::PreferenceConfig& config = plan.recipe.preferences;
  const bool sandbox = recipe::from_sandbox(plan.recipe), first = version.number == 1;
  const ComparisonSettings settings{.sandbox = sandbox,
                                    .version = version.number,
                                    .newest = version.newest,
                                    .before = version.before,
                                    .pairs = first ? config.pairs : config.later_pairs,
                                    .public_pairs = first ? config.public_pairs : 0,
                                    .grammar_share = first ? config.grammar_share : 0,
                                    .temperatures = config.temperatures,
                                    .max_new_tokens = config.max_new_tokens,
                                    .limit = steps::length_limit(plan.recipe)};
  steps::Inputs inputs = {{"prompts", steps::output_of(version.prompts, sandbox ? "prompts_train.jsonl" : "prompts_comparisons.jsonl")}};
  for (const auto& model : {version.newest, version.before})
    if (!model.empty()) inputs.push_back({"model:" + model, steps::model_source(plan.recipe, model)});
  plan.add(steps::together(steps::make_step(version.comparisons, settings, std::move(inputs), collect)));
}

}  // namespace keel::pipelines::collection
