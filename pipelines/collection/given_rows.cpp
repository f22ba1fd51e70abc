#include "pipelines/collection/given_rows.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <map>
#include <set>
#include <stdexcept>

#include "core/error.h"
#include "core/jsonl.h"
#include "core/log.h"
#include "core/rng.h"
#include "data/chat_format.h"
#include "data/demonstrations.h"
#include "data/hh_text.h"
#include "data/messages.h"
#include "data/preferences.h"
#include "data/prompts.h"
#include "data/statistics.h"
#include "inference/model_folder.h"
#include "pipelines/collection/file_data.h"

namespace keel::pipelines::collection {
namespace {

using recipe::SourceConfig;
using recipe::SourceKind;

// Refuses tags of the chat format now, not when models have been trained. Throws std::invalid_argument.
class TagCheck {
 public:
  TagCheck(const GivenSettings& settings, const steps::Context& context)
      : refused_(!settings.allow_tags),
        format_(settings.chat == data::ChatFormat::none ? inference::chat_format_of(context.at("model")) : settings.chat) {}

  void operator()(const core::Message& message) const {
    if (refused_ && data::holds_tag(format_, message.content))
      throw std::invalid_argument(
          fmt::format("the {} turn holds a tag of the chat format {}: take it out, or set data.allow_tags, which keeps tags as plain text",
                      message.role, format_.name));
  }
  void operator()(const core::Dialogue& dialogue) const {
    for (const core::Message& message : dialogue.messages)
      (*this)(message);
  }

 private:
  bool refused_;
  data::ChatFormat format_;
};

// Every row of a kind, by `read(file, source)`, which gives the rows of a file.
template <class Row, class Read>
std::vector<Weighted<Row>> read_kind(const GivenSettings& settings, const steps::Context& context, SourceKind kind, Read&& read) {
  const auto files = context.all(core::name_of(kind));
  std::vector<Weighted<Row>> all;
  size_t next = 0;
  for (const GivenSource& given : settings.sources) {
    if (given.source.kind != kind) continue;
    for (int64_t i = 0; i < given.files; ++i)
      for (Row& row : read(files.at(next++), given.source))
        all.push_back({.row = std::move(row), .weight = given.source.weight});
  }
  return all;
}

// The rows in a random order of their own.
template <class Row>
void shuffle_(std::vector<Weighted<Row>>& rows, const GivenSettings& settings, uint64_t seed, const std::string& kind) {
  std::vector<Weighted<Row>> shuffled;
  for (const int64_t i : core::permutation(std::ssize(rows), seed, "data." + kind, static_cast<uint64_t>(settings.batch) - 1))
    shuffled.push_back(std::move(rows[static_cast<size_t>(i)]));
  rows = std::move(shuffled);
}

// Where a conversation belongs: one side for all of its rows, whatever source and batch they are from.
enum class Side { train, test, gold };
Side side_of(const core::Dialogue& prompt, const recipe::FileDataConfig& data, uint64_t seed) {
  if (data::held_out(prompt, data.gold_share, core::Stream(seed, "gold").next())) return Side::gold;
  return data::held_out(prompt, data.held_out, seed) ? Side::test : Side::train;
}

void warn_of_repeats(const std::string& name, const data::Repeats& repeats, const std::string& of_what) {
  if (repeats.duplicates > 0)
    core::log_warn(
        fmt::format("{}: {} pairs repeat {}; leave a source out, or set mixture.drop_duplicates", name, repeats.duplicates, of_what));
  if (repeats.contradictions > 0)
    core::log_warn(fmt::format("{}: {} pairs contradict {}: the same two answers in the other order; both stay", name,
                               repeats.contradictions, of_what));
}

// The pairs of a kind that the data stages of earlier batches left.
data::PreferenceSet earlier_pairs(const steps::Context& context, const std::string& kind) {
  data::PreferenceSet earlier;
  for (const steps::fs::path& batch : context.all("earlier"))
    for (const steps::fs::path& folder : {batch, batch / kGold})
      for (const char* side : {"_train.jsonl", "_test.jsonl"})
        if (const steps::fs::path file = folder / (kind + side); steps::fs::exists(file))
          std::ranges::move(data::read_preferences(file).pairs, std::back_inserter(earlier.pairs));
  return earlier;
}

[[noreturn]] void refuse_empty(const steps::fs::path& file, const std::string& what, const data::Counts& counts) {
  const bool empty = counts.dropped.empty();
  throw core::DataError(file, 0,
                        empty ? std::string("is empty; leave the source out")
                              : fmt::format("holds no {} that can be used ({}); leave the source out", what, to_line(counts)));
}

void warn_of_contradicting_hazards(const std::vector<Weighted<Item>>& items) {
  std::map<std::string, bool> hazards;
  std::set<std::string> contradicting;
  for (const auto& [item, weight] : items) {
    const std::string key = data::prompt_key(item.prompt);
    if (const auto [known, fresh] = hazards.try_emplace(key, item.hazard); !fresh && known->second != item.hazard)
      contradicting.insert(key);
  }
  if (!contradicting.empty())
    core::log_warn(
        fmt::format("prompts with \"hazard\" both true and false in the sources: {}; all their rows stay", contradicting.size()));
}

GivenDemonstration demonstration_of(const data::Demonstration& row, const SourceConfig& source) {
  GivenDemonstration given{
      .json = row.text.empty() ? nlohmann::json{{"messages", data::messages_json(row.dialogue)}} : nlohmann::json{{"text", row.text}},
      .opening = data::opening_turn(row.dialogue),
      .hazard = row.hazard.value_or(source.hazard)};
  if (const std::string& name = row.source.empty() ? source.source : row.source; !name.empty()) given.json["source"] = name;
  if (given.hazard) given.json["hazard"] = true;
  return given;
}

Item read_prompt(const nlohmann::json& row, const SourceConfig& source, const TagCheck& check_tags) {
  const data::PromptRecord record = data::parse_prompt_record(row);
  if (record.ids) throw std::invalid_argument("\"ids\" belong to one tokenizer; give \"messages\" or a \"prompt\"");
  Item item{.prompt = record.messages ? *record.messages : data::dialogue_of_prompt(*record.text),
            .answer = {},
            .source = record.source.empty() ? source.source : record.source,
            .hazard = data::member(row, "hazard") == nullptr ? source.hazard : record.hazard};
  if (item.prompt.messages.back().role != "user") throw std::invalid_argument("a prompt must end with a user turn");
  check_tags(item.prompt);
  return item;
}

std::vector<Item> read_prompt_items(const steps::fs::path& file, const SourceConfig& source, const TagCheck& check_tags) {
  std::vector<Item> items;
  core::JsonlReader reader(file);
  for (nlohmann::json row; reader.next(row);)
    items.push_back(data::with_place(reader.path(), reader.line(), [&] { return read_prompt(row, source, check_tags); }));
  core::log_info(fmt::format("{}: {} prompts", file.string(), items.size()));
  if (items.empty()) throw core::DataError(file, 0, "holds no prompt; leave the source out");
  return items;
}

}  // namespace

KindOfPairs read_pairs(const GivenSettings& settings, const steps::Context& context, SourceKind kind, nlohmann::json& counts) {
  const std::string name = core::name_of(kind);
  KindOfPairs result{.kind = kind, .hazard = kind == SourceKind::safety, .train = {}, .test = {}, .gold_train = {}, .gold_test = {}};
  data::Counts read;
  if (context.all(name).empty()) return result;
  const TagCheck check_tags(settings, context);
  auto pairs = read_kind<core::PreferencePair>(settings, context, kind, [&](const steps::fs::path& file, const SourceConfig& source) {
    data::PreferenceSet set = data::read_preferences(file, {.safety = result.hazard});
    core::log_info(fmt::format("{}: {}", file.string(), to_line(set.counts)));
    if (set.pairs.empty()) refuse_empty(file, "pair", set.counts);
    read += set.counts;
    for (size_t i = 0; i < set.pairs.size(); ++i) {
      core::PreferencePair& pair = set.pairs[i];
      if (pair.source.empty()) pair.source = source.source;
      data::with_place(set.path, set.lines.at(i), [&] {
        check_tags(pair.prompt);
        check_tags({"assistant", pair.chosen});
        check_tags({"assistant", pair.rejected});
      });
    }
    return std::move(set.pairs);
  });
  data::PreferenceSet all;
  for (const auto& [pair, weight] : pairs)
    all.pairs.push_back(pair);
  const data::Repeats repeats = data::count_repeats(all), of_earlier = data::count_repeats_of(earlier_pairs(context, name), all);
  warn_of_repeats(name, repeats, "another");
  warn_of_repeats(name, of_earlier, "one of an earlier batch");
  shuffle_(pairs, settings, context.seed, name);
  std::vector<Weighted<core::PreferencePair>> train;
  for (auto& pair : pairs) {
    if (pair.row.batch.empty()) pair.row.batch = std::to_string(settings.batch);
    switch (side_of(pair.row.prompt, settings.data, context.seed)) {
      case Side::train:
        train.push_back(std::move(pair));
        break;
      case Side::test:
        result.test.push_back(std::move(pair.row));
        break;
      case Side::gold:
        (data::held_out(pair.row.prompt, settings.data.held_out, context.seed) ? result.gold_test : result.gold_train)
            .push_back(std::move(pair.row));
        break;
    }
  }
  if (train.empty() || result.test.empty())
    throw core::DataError(context.all(name).front(), 0,
                          fmt::format("{}: too few conversations to be split into training and test ones", name));
  result.train = by_weight(train, context.seed, name);
  if (result.train.empty())
    throw core::DataError(context.all(name).front(), 0,
                          fmt::format("{}: the weights of its sources leave no training pair; raise one", name));
  counts[name] = to_json(read);
  counts[name].update({{"train", result.train.size()},
                       {"test", result.test.size()},
                       {"duplicates", repeats.duplicates},
                       {"contradictions", repeats.contradictions}});
  if (settings.batch > 1)
    counts[name]["of_earlier_batches"] = {{"duplicates", of_earlier.duplicates}, {"contradictions", of_earlier.contradictions}};
  if (settings.data.gold_share > 0) counts[name]["gold"] = result.gold_train.size() + result.gold_test.size();
  return result;
}

Prompts read_prompts(const GivenSettings& settings, const steps::Context& context, nlohmann::json& counts) {
  const TagCheck check_tags(settings, context);
  auto items = read_kind<Item>(settings, context, SourceKind::prompts, [&](const steps::fs::path& file, const SourceConfig& source) {
    return read_prompt_items(file, source, check_tags);
  });
  warn_of_contradicting_hazards(items);
  shuffle_(items, settings, context.seed, "prompts");
  std::vector<Weighted<Item>> train;
  Prompts prompts;
  int64_t gold = 0;
  for (auto& [item, weight] : items) {
    const Side side = side_of(item.prompt, settings.data, context.seed);
    gold += side == Side::gold ? 1 : 0;
    if (side == Side::test) prompts.test.at(item.hazard ? 1 : 0).push_back(std::move(item));
    if (side == Side::train) train.push_back({.row = std::move(item), .weight = weight});
  }
  for (Item& item : by_weight(train, context.seed, "prompts"))
    prompts.train.at(item.hazard ? 1 : 0).push_back(std::move(item));
  counts["prompts"] = {{"train", prompts.train[0].size() + prompts.train[1].size()},
                       {"test", prompts.test[0].size() + prompts.test[1].size()}};
  if (settings.data.gold_share > 0) counts["prompts"]["gold"] = gold;
  return prompts;
}

std::vector<Weighted<GivenDemonstration>> read_demonstrations(const GivenSettings& settings, const steps::Context& context,
                                                              nlohmann::json& counts) {
  data::Counts read;
  const TagCheck check_tags(settings, context);
  auto rows = read_kind<GivenDemonstration>(settings, context, SourceKind::demonstrations,
                                            [&](const steps::fs::path& file, const SourceConfig& source) {
                                              const data::DemonstrationSet set = data::read_demonstrations(file);
                                              core::log_info(fmt::format("{}: {}", file.string(), to_line(set.counts)));
                                              if (set.rows.empty()) refuse_empty(file, "demonstration", set.counts);
                                              read += set.counts;
                                              std::vector<GivenDemonstration> of_file;
                                              for (size_t i = 0; i < set.rows.size(); ++i) {
                                                const data::Demonstration& row = set.rows[i];
                                                data::with_place(set.path, set.lines.at(i), [&] { check_tags(row.dialogue); });
                                                of_file.push_back(demonstration_of(row, source));
                                              }
                                              return of_file;
                                            });
  shuffle_(rows, settings, context.seed, "demonstrations");
  counts["demonstrations"] = to_json(read);
  return rows;
}

std::vector<nlohmann::json> read_documents(const GivenSettings& settings, const steps::Context& context) {
  const TagCheck check_tags(settings, context);
  auto rows =
      read_kind<nlohmann::json>(settings, context, SourceKind::pretraining, [&](const steps::fs::path& file, const SourceConfig& source) {
        std::vector<nlohmann::json> documents;
        core::JsonlReader reader(file);
        for (nlohmann::json row; reader.next(row);) {
          if (const auto* messages = data::member(row, "messages"))
            data::with_place(reader.path(), reader.line(), [&] { check_tags(data::parse_messages(*messages, "messages")); });
          if (data::optional_text(row, "source").empty() && !source.source.empty()) row["source"] = source.source;
          documents.push_back(std::move(row));
        }
        if (documents.empty()) throw core::DataError(file, 0, "holds no text; leave the source out");
        return documents;
      });
  return by_weight(rows, context.seed, "pretraining");
}

}  // namespace keel::pipelines::collection
