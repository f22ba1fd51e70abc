// The sandbox's own stages: its data, and preference pairs judged by its annotator.
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/files.h"
#include "core/json.h"
#include "core/jsonl.h"
#include "core/log.h"
#include "core/rng.h"
#include "data/messages.h"
#include "data/preferences.h"
#include "data/prompts.h"
#include "data/sentencepiece_training.h"
#include "data/text.h"
#include "pipelines/model_folder.h"
#include "pipelines/samples.h"
#include "pipelines/stages.h"
#include "sandbox/annotator.h"
#include "sandbox/answers.h"
#include "sandbox/prompts.h"

namespace keel::pipelines {
namespace {

namespace fs = std::filesystem;

nlohmann::json document_row(const sandbox::Document& document) {
  nlohmann::json row = {{"source", document.source}};
  if (document.dialogue.messages.empty())
    row["text"] = document.text;
  else
    row["messages"] = data::messages_json(document.dialogue);
  return row;
}

template <class Items, class ToJson>
void write_rows(const fs::path& file, const Items& items, ToJson&& to_row) {
  core::JsonlWriter writer(file);
  for (const auto& item : items)
    writer.write(to_row(item));
  writer.commit();
}

// What the tokenizer learns from: the text of each turn with the tags that the chat format puts around it.
std::vector<std::string> tokenizer_texts(const std::vector<sandbox::Document>& corpus) {
  constexpr size_t kDocuments = 20000;
  std::vector<std::string> texts;
  for (size_t i = 0; i < std::min(corpus.size(), kDocuments); ++i) {
    if (corpus[i].dialogue.messages.empty()) texts.push_back(corpus[i].text);
    for (const auto& message : corpus[i].dialogue.messages)
      texts.push_back(message.role == "user" ? "[INST] " + message.content + " [/INST]" : message.content);
  }
  return texts;
}

// One comparison waiting for its two answers.
struct Comparison {
  sandbox::PromptInfo prompt;
  sandbox::Kind kind;
  std::vector<std::string> answers;
};

// Answers that the model has to write: prompts by temperature, and where each answer goes.
struct Request {
  std::vector<core::Ids> prompts;
  std::vector<size_t> comparisons;
};

void fill_from_grammar(const sandbox::World& world, Comparison& comparison, core::Stream& stream) {
  const auto& qualities = sandbox::qualities(comparison.prompt.hazard);
  comparison.answers.push_back(sandbox::sample_answer(world, comparison.prompt, stream.pick(qualities), stream));
}

void fill_from_model(const LanguageModel& model, const std::map<double, Request>& requests, std::vector<Comparison>& comparisons,
                     uint64_t seed, const StageContext& context) {
  for (const auto& [temperature, request] : requests) {
    const auto samples = sample_in_shards(model.llama, request.prompts,
                                          {.label = fmt::format("preferences T={}", temperature),
                                           .samples = 1,
                                           .sampling = {.temperature = temperature, .max_new_tokens = 64},
                                           .stop_ids = data::stop_ids(model.format, *model.tokenizer),
                                           .seed = seed},
                                          context.work);
    for (const auto& sample : samples)
      comparisons[request.comparisons[static_cast<size_t>(sample.prompt)]].answers.push_back(
          data::answer_text(model.format, *model.tokenizer, sample.ids));
  }
}

const sandbox::Annotator& annotator_named(const std::string& name) {
  const auto& all = sandbox::annotators();
  return *std::find_if(all.begin(), all.end(), [&](const auto& annotator) { return annotator.name == name; });
}

// The accuracy that nobody can beat on test pairs, because the annotator's choices are noisy: the mean of bayes_accuracy() over the pairs
// that a reward model is measured on.
struct Ceiling {
  double sum = 0;
  int64_t pairs = 0;

  void add(const sandbox::World& world, const Comparison& comparison, const sandbox::Annotator& annotator) {
    const std::string& a = comparison.answers[0];
    const std::string& b = comparison.answers[1];
    if (data::strip(a) == data::strip(b)) return;  // dropped as identical_answers
    sum += sandbox::bayes_accuracy(sandbox::perceived_gap(world, comparison.prompt, a, b, comparison.kind, annotator), annotator);
    ++pairs;
  }
  nlohmann::json to_json() const { return {{"best_possible_accuracy", sum / static_cast<double>(pairs)}, {"pairs", pairs}}; }
};

}  // namespace

void write_sandbox_data(const Recipe& recipe, const StageContext& context) {
  const SandboxConfig& config = recipe.sandbox;
  const sandbox::World world = sandbox::make_world(context.seed);
  const auto corpus = sandbox::make_corpus(world, config.corpus, context.seed);
  sandbox::CorpusConfig few = config.corpus;
  few.documents = 400;
  write_rows(context.work / "corpus.jsonl", corpus, document_row);
  write_rows(context.work / "corpus_validation.jsonl", sandbox::make_corpus(world, few, context.seed + 1), document_row);

  const auto dialogue_row = [](const core::Dialogue& dialogue) -> nlohmann::json { return {{"messages", data::messages_json(dialogue)}}; };
  sandbox::DemonstrationConfig held_out = config.demonstrations;
  held_out.count = std::max<int64_t>(50, held_out.count / 10);
  write_rows(context.work / "demonstrations.jsonl", sandbox::make_demonstrations(world, config.demonstrations, context.seed), dialogue_row);
  write_rows(context.work / "demonstrations_validation.jsonl", sandbox::make_demonstrations(world, held_out, context.seed + 1),
             dialogue_row);

  const auto prompt_row = [](const sandbox::PromptInfo& prompt) { return sandbox::to_json(prompt); };
  const auto write_prompts = [&](const char* name, sandbox::Split split, const sandbox::PromptCounts& counts) {
    write_rows(context.work / name, sandbox::make_prompts(world, split, counts, context.seed), prompt_row);
  };
  write_prompts("prompts_train.jsonl", sandbox::Split::train,
                {.helpful = config.helpful_prompts, .hazard = config.hazard_prompts, .lookalike = config.lookalike_prompts});
  write_prompts("prompts_validation.jsonl", sandbox::Split::validation,
                {.helpful = config.helpful_prompts / 4, .hazard = config.hazard_prompts / 4, .lookalike = config.lookalike_prompts / 4});
  write_prompts("prompts_test.jsonl", sandbox::Split::test,
                {.helpful = config.test_helpful, .hazard = config.test_hazard, .lookalike = config.test_lookalike});
  try {
    data::train_sentencepiece(tokenizer_texts(corpus), config.vocab_size, context.work / "tokenizer.model");
  } catch (const std::invalid_argument& error) {
    throw core::ConfigError({fmt::format("sandbox.vocab_size {}: {}", config.vocab_size, error.what())});
  }
}

void collect_preferences(const Recipe& recipe, const StageContext& context) {
  const PreferenceConfig& config = recipe.preferences;
  const sandbox::World world = sandbox::make_world(context.seed);
  const LanguageModel model = load_language_model(context.inputs.at("sft"));
  std::vector<sandbox::PromptInfo> helpful, hazards;
  core::JsonlReader reader(context.inputs.at("data") / "prompts_train.jsonl");
  for (nlohmann::json row; reader.next(row);) {
    auto prompt = sandbox::prompt_from_json(row, reader.path(), reader.line());
    (prompt.hazard ? hazards : helpful).push_back(std::move(prompt));
  }

  std::vector<Comparison> comparisons;
  std::map<double, Request> requests;
  for (const auto kind : {sandbox::Kind::helpfulness, sandbox::Kind::safety})
    for (int64_t i = 0; i < config.pairs; ++i) {
      core::Stream stream(context.seed, kind == sandbox::Kind::safety ? "preferences.safety" : "preferences.helpfulness",
                          static_cast<uint64_t>(i));
      // Safety pairs are written for hazards; harmless prompts among them keep the model from calling look-alikes unsafe.
      const bool hazard = kind == sandbox::Kind::safety && stream.chance(0.7);
      Comparison comparison{.prompt = stream.pick(hazard ? hazards : helpful), .kind = kind, .answers = {}};
      for (int side = 0; side < 2; ++side) {
        if (stream.chance(config.grammar_share)) {
          fill_from_grammar(world, comparison, stream);
        } else {
          Request& request = requests[stream.pick(config.temperatures)];
          request.prompts.push_back(data::render(model.format, *model.tokenizer, comparison.prompt.dialogue).ids);
          request.comparisons.push_back(comparisons.size());
        }
      }
      comparisons.push_back(std::move(comparison));
    }
  fill_from_model(model, requests, comparisons, context.seed, context);

  const sandbox::Annotator& annotator = annotator_named(config.annotator);
  core::JsonlWriter files[2][2] = {
      {core::JsonlWriter(context.work / "helpfulness_train.jsonl"), core::JsonlWriter(context.work / "helpfulness_test.jsonl")},
      {core::JsonlWriter(context.work / "safety_train.jsonl"), core::JsonlWriter(context.work / "safety_test.jsonl")}};
  Ceiling ceilings[2];
  for (size_t i = 0; i < comparisons.size(); ++i) {
    const Comparison& comparison = comparisons[i];
    core::Stream stream(context.seed, "preferences.annotator", i);
    auto pair =
        sandbox::annotate(world, comparison.prompt, comparison.answers[0], comparison.answers[1], comparison.kind, annotator, stream);
    pair.batch = "1";
    const bool test = data::held_out(comparison.prompt.dialogue, config.held_out, context.seed);
    const size_t kind = comparison.kind == sandbox::Kind::safety ? 1 : 0;
    files[kind][test ? 1 : 0].write(data::preference_json(pair));
    if (test) ceilings[kind].add(world, comparison, annotator);
  }
  core::write_file(context.work / "annotator.json",
                   core::dump_json({{"helpfulness", ceilings[0].to_json()}, {"safety", ceilings[1].to_json()}}) + "\n");
  for (auto& kind : files)
    for (auto& file : kind)
      file.commit();
}

}  // namespace keel::pipelines
