// Data of a run on real preference files: pairs split by conversation, the chosen answers as demonstrations, prompts of both kinds.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
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
#include "pipelines/collection/file_pairs.h"
#include "pipelines/steps/plan.h"

namespace keel::pipelines::collection {
namespace {

struct Kind {
  std::string name;
  bool hazard;  // true for the safety file, whose prompts count as prompts about safety
  std::vector<core::PreferencePair> train, test;
};

Kind read_kind(const std::string& name, bool hazard, const std::string& file, double held_out_share, uint64_t seed,
               nlohmann::json& counts) {
  data::PreferenceSet set = data::read_preferences(file, {.safety = hazard});
  core::log_info(fmt::format("{}: {}", file, to_line(set.counts)));
  counts[name] = to_json(set.counts);
  Kind kind{.name = name, .hazard = hazard, .train = {}, .test = {}};
  std::vector<int64_t> order = core::permutation(std::ssize(set.pairs), seed, "data." + name, 0);
  for (const int64_t i : order) {
    auto& pair = set.pairs[static_cast<size_t>(i)];
    (data::held_out(pair.prompt, held_out_share, seed) ? kind.test : kind.train).push_back(std::move(pair));
  }
  counts[name]["train"] = kind.train.size();
  counts[name]["test"] = kind.test.size();
  if (kind.train.empty() || kind.test.empty())
    throw core::DataError(file, 0, "is too small to be split into training and test conversations");
  return kind;
}

core::Dialogue with_answer(const core::PreferencePair& pair) {
  core::Dialogue dialogue = pair.prompt;
  dialogue.messages.push_back({"assistant", pair.chosen});
  return dialogue;
}

// Files that take their rows from both kinds in turn.
class Alternating {
 public:
  Alternating(const std::vector<Kind>& kinds, std::vector<core::PreferencePair> Kind::*side)
      : kinds_(kinds), side_(side), next_(kinds.size(), 0) {}

  // The next `count` rows (0 = all), by halves, each through `to_row`.
  template <class ToRow>
  void write(const std::filesystem::path& file, int64_t count, ToRow&& to_row) {
    core::JsonlWriter writer(file);
    const size_t each = count > 0 ? static_cast<size_t>(count) / kinds_.size() : SIZE_MAX;
    bool any = true;
    for (size_t taken = 0; taken < each && any; ++taken) {
      any = false;
      for (size_t kind = 0; kind < kinds_.size(); ++kind) {
        const auto& rows = kinds_[kind].*side_;
        if (next_[kind] == rows.size()) continue;
        writer.write(to_row(kinds_[kind], rows[next_[kind]++]));
        any = true;
      }
    }
    writer.commit();
  }

 private:
  const std::vector<Kind>& kinds_;
  std::vector<core::PreferencePair> Kind::*side_;
  std::vector<size_t> next_;
};

// Reads "data.helpful" and "data.harmless".
void write_data(const recipe::FileDataConfig& config, const steps::Context& context) {
  nlohmann::json counts;
  const std::vector<Kind> kinds = {read_kind("helpfulness", false, context.at("data.helpful"), config.held_out, context.seed, counts),
                                   read_kind("safety", true, context.at("data.harmless"), config.held_out, context.seed, counts)};
  for (const auto& kind : kinds) {
    const auto write_pairs = [&](const std::string& suffix, const std::vector<core::PreferencePair>& pairs, int64_t most) {
      core::JsonlWriter writer(context.work / (kind.name + suffix));
      for (size_t i = 0; i < pairs.size() && (most == 0 || i < static_cast<size_t>(most)); ++i)
        writer.write(data::preference_json(pairs[i]));
      writer.commit();
    };
    write_pairs("_train.jsonl", kind.train, config.max_pairs);
    write_pairs("_test.jsonl", kind.test, 0);
  }
  const auto demonstration = [](const Kind&, const core::PreferencePair& pair) -> nlohmann::json {
    return {{"messages", data::messages_json(with_answer(pair))}};
  };
  const auto prompt = [](const Kind& kind, const core::PreferencePair& pair) { return row_of_prompt(pair, kind.hazard); };
  for (const auto& kind : kinds)
    if (config.max_pairs > 0 && config.max_pairs < std::ssize(kind.train))
      core::write_jsonl(context.work / (kind.name + kUncapped), kind.train,
                        [&](const core::PreferencePair& pair) { return row_of_prompt(pair, kind.hazard); });
  std::vector<Kind> demonstrated = kinds;
  for (Kind& kind : demonstrated) {
    if (!kind.hazard) continue;
    const size_t most = config.max_demonstrations > 0 ? static_cast<size_t>(config.max_demonstrations) / kinds.size() : kind.train.size();
    const auto all = static_cast<double>(std::min(most, kind.train.size()));
    kind.train.resize(static_cast<size_t>(std::llround(config.safety_used * all)));
  }
  Alternating(demonstrated, &Kind::train).write(context.work / "demonstrations.jsonl", config.max_demonstrations, demonstration);
  Alternating(kinds, &Kind::train).write(context.work / "prompts_train.jsonl", config.train_prompts, prompt);
  // Test conversations are divided: validation during training and the evaluation use different ones.
  Alternating test(kinds, &Kind::test);
  test.write(context.work / "prompts_test.jsonl", config.test_prompts, prompt);
  test.write(context.work / "prompts_validation.jsonl", config.validation_prompts, prompt);
  test.write(context.work / "demonstrations_validation.jsonl", config.validation_prompts, demonstration);
  core::write_file(context.work / "counts.json", core::dump_json(counts) + "\n");
}

}  // namespace

nlohmann::json row_of_prompt(const core::PreferencePair& pair, bool hazard) {
  nlohmann::json row = {{"messages", data::messages_json(pair.prompt)}, {"hazard", hazard}};
  if (!pair.source.empty()) row["source"] = pair.source;
  return row;
}

void add_file_data(steps::Plan& plan) {
  const recipe::Recipe& recipe = plan.recipe;
  if (recipe::from_sandbox(recipe)) return;
  plan.add(steps::make_step<recipe::FileDataConfig>("data", recipe.data,
                                                    {{"data.helpful", steps::from_outside("data.helpful", recipe.data.helpful)},
                                                     {"data.harmless", steps::from_outside("data.harmless", recipe.data.harmless)}},
                                                    write_data));
}

}  // namespace keel::pipelines::collection
