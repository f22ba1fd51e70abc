// Data of a run on a team's own files: each batch of preference pairs and, with the first one, demonstrations and prompts.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "core/error.h"
#include "core/files.h"
#include "core/json.h"
#include "core/jsonl.h"
#include "core/log.h"
#include "data/messages.h"
#include "data/preferences.h"
#include "data/prompts.h"
#include "data/statistics.h"
#include "pipelines/collection/file_data.h"
#include "pipelines/collection/given_rows.h"
#include "pipelines/steps/plan.h"

namespace keel::pipelines::collection {
namespace {

using recipe::SourceKind;

void write_pairs(const steps::fs::path& file, const Pairs& pairs, int64_t most = 0) {
  core::JsonlWriter writer(file);
  for (size_t i = 0; i < pairs.size() && (most == 0 || i < static_cast<size_t>(most)); ++i)
    writer.write(data::preference_json(pairs[i]));
  writer.commit();
}

nlohmann::json prompt_row(const Item& item) {
  nlohmann::json row = {{"messages", data::messages_json(item.prompt)}, {"hazard", item.hazard}};
  if (!item.source.empty()) row["source"] = item.source;
  return row;
}

nlohmann::json answered_row(const Item& item) {
  core::Dialogue dialogue = item.prompt;
  dialogue.messages.push_back({"assistant", item.answer});
  return {{"messages", data::messages_json(dialogue)}};
}

ByHazard items_of(const std::vector<KindOfPairs>& kinds, Pairs KindOfPairs::*side) {
  ByHazard items;
  for (const KindOfPairs& kind : kinds)
    if (kind.kind != SourceKind::public_pairs)
      for (const core::PreferencePair& pair : kind.*side)
        items.at(kind.hazard ? 1 : 0)
            .push_back({.prompt = pair.prompt, .answer = pair.chosen, .source = pair.source, .hazard = kind.hazard});
  return items;
}

// Files that take their rows from both kinds in turn, each file going on where the one before ended.
class Alternating {
 public:
  explicit Alternating(const ByHazard& items) : items_(items) {}

  // The next `count` rows (0 = all), by halves as far as both kinds last.
  void write(const std::filesystem::path& file, int64_t count, nlohmann::json (*to_row)(const Item&)) {
    core::JsonlWriter writer(file);
    const size_t most = count > 0 ? static_cast<size_t>(count) : SIZE_MAX;
    size_t written = 0;
    for (bool any = true; any && written < most;) {
      any = false;
      for (size_t kind = 0; kind < items_.size() && written < most; ++kind) {
        if (next_[kind] == items_[kind].size()) continue;
        writer.write(to_row(items_[kind][next_[kind]++]));
        ++written;
        any = true;
      }
    }
    writer.commit();
  }

 private:
  const ByHazard& items_;
  std::array<size_t, 2> next_{};
};

void write_pool(const steps::fs::path& file, const ByHazard& items, const std::string& side) {
  if (items[0].empty() && items[1].empty())
    throw core::DataError("data.sources", 0,
                          fmt::format("there is no {} conversation among the prompts; give more, or change data.held_out", side));
  core::JsonlWriter writer(file);
  for (const auto& of_kind : items)
    for (const Item& item : of_kind)
      writer.write(prompt_row(item));
  writer.commit();
}

// Chosen answers as demonstrations, by halves, in the order of their prompts.
void demonstrate_chosen(const GivenSettings& settings, const steps::Context& context, ByHazard items) {
  const recipe::FileDataConfig& data = settings.data;
  const size_t most = data.max_demonstrations > 0 ? static_cast<size_t>(data.max_demonstrations) / items.size() : items[1].size();
  items[1].resize(static_cast<size_t>(std::llround(data.safety_used * static_cast<double>(std::min(most, items[1].size())))));
  if (data.max_demonstrations > 0) items[0].resize(std::min(most, items[0].size()));
  Alternating(items).write(context.work / "demonstrations.jsonl", data.max_demonstrations, answered_row);
}

// Demonstrations of the sources. Those that answer a prompt in `held_out` teach nothing; the first of the others validate.
void demonstrate_given(const GivenSettings& settings, const steps::Context& context, const std::set<std::string>& held_out,
                       nlohmann::json& counts) {
  const recipe::FileDataConfig& data = settings.data;
  std::vector<Weighted<GivenDemonstration>> rows = read_demonstrations(settings, context, counts);
  const auto unseen = std::erase_if(rows, [&](const auto& one) { return held_out.contains(one.row.opening); });
  const auto validation = std::min(static_cast<size_t>(data.validation_prompts), rows.size() / 10);
  core::JsonlWriter validating(context.work / "demonstrations_validation.jsonl"), training(context.work / "demonstrations.jsonl");
  std::set<std::string> openings;
  for (size_t i = 0; i < validation; ++i) {
    validating.write(rows[i].row.json);
    if (!rows[i].row.opening.empty()) openings.insert(rows[i].row.opening);
  }
  rows.erase(rows.begin(), rows.begin() + static_cast<std::ptrdiff_t>(validation));
  const auto repeated = std::erase_if(rows, [&](const auto& one) { return openings.contains(one.row.opening); });
  const auto about_safety = std::count_if(rows.begin(), rows.end(), [](const auto& one) { return one.row.hazard; });
  int64_t unused = about_safety - std::llround(data.safety_used * static_cast<double>(about_safety));
  std::erase_if(rows, [&](const auto& one) { return one.row.hazard && unused-- > 0; });
  const auto used = by_weight(rows, context.seed, "demonstrations");
  for (const GivenDemonstration& one : used)
    training.write(one.json);
  training.commit();
  validating.commit();
  if (used.empty()) throw core::DataError(context.all("demonstrations").front(), 0, "leaves no demonstration to train on");
  counts["demonstrations"].update(
      {{"prompt_held_out", unseen}, {"validation", validation}, {"prompt_in_validation", repeated}, {"train", used.size()}});
  core::log_info(fmt::format("demonstrations: {} to train on, {} to validate, {} left out because their prompt is held out", used.size(),
                             validation, unseen + repeated));
}

std::set<std::string> openings_of(const std::vector<KindOfPairs>& kinds, const ByHazard& tested) {
  std::set<std::string> openings;
  for (const auto& items : tested)
    for (const Item& item : items)
      openings.insert(data::opening_turn(item.prompt));
  for (const KindOfPairs& kind : kinds)
    for (const Pairs* pairs : {&kind.test, &kind.gold_train, &kind.gold_test})
      for (const core::PreferencePair& pair : *pairs)
        openings.insert(data::opening_turn(pair.prompt));
  return openings;
}

// Prompts and demonstrations, which come with the first batch.
void write_first(const GivenSettings& settings, const steps::Context& context, const std::vector<KindOfPairs>& kinds,
                 const Prompts& prompts, nlohmann::json& counts) {
  const recipe::FileDataConfig& data = settings.data;
  Alternating(prompts.train).write(context.work / "prompts_train.jsonl", data.train_prompts, prompt_row);
  // Test conversations are divided: validation during training and the evaluation use different ones.
  const bool answered = context.all("prompts").empty() && context.all("demonstrations").empty();  // chosen answers validate SFT
  const int64_t wanted = data.test_prompts + (answered ? 2 : 1) * data.validation_prompts,
                there = std::ssize(prompts.test[0]) + std::ssize(prompts.test[1]);
  const auto part = [&](int64_t count) { return there >= wanted ? count : std::max<int64_t>(1, count * there / wanted); };
  if (there < wanted)
    core::log_warn(
        fmt::format("{} held-out conversations are fewer than the {} that test_prompts and validation_prompts ask for; each gets "
                    "its part",
                    there, wanted));
  Alternating test(prompts.test);
  test.write(context.work / "prompts_test.jsonl", part(data.test_prompts), prompt_row);
  test.write(context.work / "prompts_validation.jsonl", part(data.validation_prompts), prompt_row);
  if (!context.all("demonstrations").empty()) return demonstrate_given(settings, context, openings_of(kinds, prompts.test), counts);
  if (kinds.empty()) return;
  demonstrate_chosen(settings, context, items_of(kinds, &KindOfPairs::train));
  if (context.all("prompts").empty()) {  // prompts and chosen answers are of the same conversations
    test.write(context.work / "demonstrations_validation.jsonl", part(data.validation_prompts), answered_row);
  } else {
    const ByHazard held_out = items_of(kinds, &KindOfPairs::test);
    Alternating(held_out).write(context.work / "demonstrations_validation.jsonl", data.validation_prompts, answered_row);
  }
}

std::set<std::string> unordered_keys(const KindOfPairs& kind) {
  std::set<std::string> keys;
  for (const Pairs* pairs : {&kind.train, &kind.test, &kind.gold_train, &kind.gold_test})
    for (const core::PreferencePair& pair : *pairs)
      keys.insert(data::unordered_key(pair));
  return keys;
}

// Two answers that stand under two kinds, in either order.
void warn_of_shared_pairs(const std::vector<KindOfPairs>& kinds) {
  std::vector<std::set<std::string>> keys;
  for (size_t i = 0; i < kinds.size(); ++i) {
    keys.push_back(unordered_keys(kinds[i]));
    for (size_t j = 0; j < i; ++j) {
      const auto shared = std::ranges::count_if(keys[i], [&](const std::string& key) { return keys[j].contains(key); });
      if (shared > 0)
        core::log_warn(fmt::format("{} pairs stand among those of the kinds {} and {}, in the same order or the other one; all stay",
                                   shared, core::name_of(kinds[j].kind), core::name_of(kinds[i].kind)));
    }
  }
}

// Reads the files of each kind, and of earlier batches ("earlier") what their data stages left. Leaves KIND_train.jsonl and
// KIND_test.jsonl of the pairs, and the prompts of the batch.
void write_data(const GivenSettings& settings, const steps::Context& context) {
  nlohmann::json counts = nlohmann::json::object();
  std::vector<KindOfPairs> kinds;
  for (const SourceKind kind : {SourceKind::helpfulness, SourceKind::safety, SourceKind::public_pairs})
    if (KindOfPairs pairs = read_pairs(settings, context, kind, counts); !pairs.train.empty()) kinds.push_back(std::move(pairs));
  warn_of_shared_pairs(kinds);
  for (const KindOfPairs& kind : kinds) {
    const std::string name = core::name_of(kind.kind);
    write_pairs(context.work / (name + "_train.jsonl"), kind.train, settings.data.max_pairs);
    write_pairs(context.work / (name + "_test.jsonl"), kind.test);
    if (settings.data.gold_share == 0 || settings.batch > 1 || kind.kind == SourceKind::public_pairs) continue;
    if (kind.gold_train.empty() || kind.gold_test.empty())
      throw core::DataError(context.all(name).front(), 0,
                            "too few conversations for gold reward models; raise data.gold_share, or set it to 0");
    core::make_directories(context.work / kGold);
    write_pairs(context.work / kGold / (name + "_train.jsonl"), kind.gold_train);
    write_pairs(context.work / kGold / (name + "_test.jsonl"), kind.gold_test);
  }
  const Prompts prompts = context.all("prompts").empty()
                              ? Prompts{.train = items_of(kinds, &KindOfPairs::train), .test = items_of(kinds, &KindOfPairs::test)}
                              : read_prompts(settings, context, counts);
  const bool public_alone = context.all("prompts").empty() && context.all("helpfulness").empty() && context.all("safety").empty();
  if (!public_alone) {  // strangers' prompts are not the policy's
    write_pool(context.work / kPromptsForTraining, prompts.train, "training");
    write_pool(context.work / kPromptsForTesting, prompts.test, "test");
  }
  if (settings.batch == 1) write_first(settings, context, kinds, prompts, counts);
  core::write_file(context.work / "counts.json", core::dump_json(counts) + "\n");
}

// Reads "pretraining": rows of all its sources, as often as their weights say.
void write_corpus(const GivenSettings& settings, const steps::Context& context) {
  core::write_jsonl(context.work / "corpus.jsonl", read_documents(settings, context));
}

// The sources of a batch that `wanted` chooses, and their files.
std::pair<GivenSettings, steps::Inputs> given_of(const std::vector<recipe::SourceConfig>& sources,
                                                 const std::vector<std::vector<recipe::SourceFile>>& files, int64_t batch,
                                                 bool (*wanted)(SourceKind)) {
  GivenSettings settings{.data = {}, .sources = {}, .batch = batch};
  steps::Inputs inputs;
  for (size_t i = 0; i < sources.size(); ++i) {
    if (sources[i].batch != batch || !wanted(sources[i].kind)) continue;
    settings.sources.push_back({.source = sources[i], .files = std::ssize(files[i])});
    for (const recipe::SourceFile& file : files[i])
      inputs.push_back({core::name_of(sources[i].kind), steps::from_outside(file.name, file.path)});
  }
  return {settings, inputs};
}

// What the check of tags needs; the model for its own chat format.
void check_tags_of(const recipe::Recipe& recipe, GivenSettings& settings, steps::Inputs& inputs) {
  if (!recipe.chat_format.empty()) settings.chat = data::parse_chat_format(recipe.chat_format);
  settings.allow_tags = recipe.data.allow_tags;
  inputs.push_back({"model", steps::from_outside("model", recipe.model)});
}

}  // namespace

void add_file_data(steps::Plan& plan) {
  const recipe::Recipe& recipe = plan.recipe;
  if (recipe::from_sandbox(recipe)) return;
  const auto sources = recipe::sources_of(recipe.data);
  const auto files = recipe::files_of(recipe.data, plan.digests);
  steps::Inputs earlier;
  // All batches are read before any work begins, so that a bad row is found at once.
  for (const recipe::Version& version : plan.versions) {
    auto [settings, inputs] = given_of(sources, files, version.number, [](SourceKind kind) { return kind != SourceKind::pretraining; });
    if (settings.sources.empty()) continue;
    settings.data = recipe.data;
    if (version.number > 1)  // only what a later batch reads, so that nothing else is part of its key
      settings.data = {.held_out = recipe.data.held_out, .gold_share = recipe.data.gold_share, .max_pairs = recipe.data.max_pairs};
    check_tags_of(recipe, settings, inputs);
    inputs.insert(inputs.end(), earlier.begin(), earlier.end());
    earlier.push_back({"earlier", steps::output_of(version.data)});
    plan.add(steps::make_step(version.data, settings, std::move(inputs), write_data));
  }
  if (auto [settings, inputs] = given_of(sources, files, 1, [](SourceKind kind) { return kind == SourceKind::pretraining; });
      !settings.sources.empty()) {
    check_tags_of(recipe, settings, inputs);
    plan.add(steps::make_step("corpus", settings, std::move(inputs), write_corpus));
  }
}

}  // namespace keel::pipelines::collection
