// What a data file holds.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "core/error.h"
#include "data/messages.h"
#include "data/row_forms.h"
#include "data/table_rows.h"
#include "data/token_runs.h"
#include "pipelines/cli/runs/inspect.h"

namespace keel::pipelines::cli::runs {
namespace {

using nlohmann::json;

constexpr size_t kFirstProblems = 3;

// The smallest value that the share q of all values do not exceed (nearest rank).
int64_t quantile(const std::vector<int64_t>& sorted, double q) {
  const auto rank = static_cast<size_t>(std::ceil(q * static_cast<double>(sorted.size())));
  return sorted[std::max<size_t>(rank, 1) - 1];
}

json quantiles(std::vector<int64_t> values) {
  if (values.empty()) return nullptr;
  std::sort(values.begin(), values.end());
  return {{"p50", quantile(values, 0.5)}, {"p90", quantile(values, 0.9)}, {"p99", quantile(values, 0.99)}, {"max", values.back()}};
}

// Rows by the value of a label: {"NAME": count}; null stands under "".
void count_label_(json& counts, const json& row, const char* name) {
  const json* value = data::member(row, name);
  if (value == nullptr || value->is_structured()) return;
  auto& count = counts[value->is_string() ? value->get<std::string>() : value->dump()];
  count = count.is_null() ? 1 : count.get<int64_t>() + 1;
}

json sequence_json(const data::Tokenizer& tokenizer, const core::TokenSequence& sequence, bool ids) {
  json runs = json::array();
  for (const data::TokenRun& run : data::token_runs(tokenizer, sequence))
    runs.push_back({{"text", run.text}, {"special", run.special}, {"trained", run.learned}});
  json object = {{"runs", runs}, {"tokens", sequence.ids.size()}};
  if (ids) object["ids"] = sequence.ids;
  return object;
}

json dialogue_json(const data::FormedRow& row) {
  json object = json::object();
  if (!row.text.empty()) object["text"] = row.text;
  if (!row.dialogue.messages.empty()) object["messages"] = data::messages_json(row.dialogue);
  if (row.other) object["rejected"] = row.other->messages.back().content;
  if (row.ids) object["ids"] = *row.ids;
  return object;
}

// Everything that is counted while the rows go by.
class Tally {
 public:
  Tally(const std::optional<inference::TextParts>& parts, int64_t rows, bool ids) : parts_(parts), most_(rows), with_ids_(ids) {}

  void add(const json& row, int64_t line) {
    ++rows_;
    data::FormedRow formed;
    try {
      formed = data::formed_row(row);
    } catch (const std::invalid_argument& problem) {
      return note_(unreadable_, fmt::format("line {}: {}", line, problem.what()));
    }
    ++forms_[formed.form];
    if (formed.dropped.empty())
      characters_.push_back(data::characters(formed));
    else
      ++dropped_[formed.dropped];
    for (auto& [name, counts] : labels_)
      count_label_(counts, row, name.c_str());
    if (const json* hazard = data::member(row, "hazard"); hazard != nullptr && *hazard == true) ++hazard_;
    const auto sequences = parts_ && formed.dropped.empty() ? rendered(formed, line) : std::vector<core::TokenSequence>{};
    if (std::ssize(shown_) < most_) show(row, formed, line, sequences);
  }

  json result() const {
    json facts = {{"kind", "data file"}, {"rows", rows_}, {"forms", forms_}, {"characters", quantiles(characters_)}, {"shown", shown_}};
    if (!dropped_.empty()) facts["dropped"] = dropped_;
    if (unreadable_.rows > 0) facts["unreadable"] = {{"rows", unreadable_.rows}, {"first", unreadable_.first}};
    if (hazard_ > 0) facts["hazard"] = hazard_;
    for (const auto& [name, counts] : labels_)
      if (!counts.empty()) facts["labels"][name] = counts;
    if (parts_ && !tokens_.empty()) {
      facts["tokens"] = quantiles(tokens_);
      if (parts_->context > 0) {
        facts["tokens"]["context"] = parts_->context;
        facts["tokens"]["over_context"] = std::count_if(tokens_.begin(), tokens_.end(), [&](int64_t n) { return n > parts_->context; });
      }
    }
    if (refused_.rows > 0) facts["refused"] = {{"rows", refused_.rows}, {"first", refused_.first}};
    return facts;
  }

 private:
  struct Problems {
    int64_t rows = 0;
    std::vector<std::string> first;
  };
  static void note_(Problems& problems, const std::string& text) {
    ++problems.rows;
    if (problems.first.size() < kFirstProblems) problems.first.push_back(text);
  }

  std::vector<core::TokenSequence> rendered(const data::FormedRow& formed, int64_t line) {
    try {
      auto sequences = data::rendered_row(formed, parts_->format, *parts_->tokenizer, data::TagPolicy::refuse);
      int64_t longest = -1;
      for (const auto& sequence : sequences)
        longest = std::max(longest, static_cast<int64_t>(sequence.ids.size()));
      if (longest >= 0) tokens_.push_back(longest);
      return sequences;
    } catch (const std::invalid_argument& problem) {
      note_(refused_, fmt::format("line {}: {}", line, problem.what()));
      return {};
    }
  }

  void show(const json& row, const data::FormedRow& formed, int64_t line, const std::vector<core::TokenSequence>& sequences) {
    json object = dialogue_json(formed);
    if (object.empty()) object["row"] = row;
    object["line"] = line;
    object["form"] = formed.form;
    if (!formed.dropped.empty()) object["dropped"] = formed.dropped;
    for (const auto& sequence : sequences)
      object["rendered"].push_back(sequence_json(*parts_->tokenizer, sequence, with_ids_));
    shown_.push_back(std::move(object));
  }

  const std::optional<inference::TextParts>& parts_;
  int64_t most_ = 0, rows_ = 0, hazard_ = 0;
  bool with_ids_ = false;
  std::map<std::string, int64_t> forms_, dropped_;
  std::map<std::string, json> labels_ = {{"source", json::object()},   {"family", json::object()}, {"batch", json::object()},
                                         {"category", json::object()}, {"kind", json::object()},   {"strength", json::object()},
                                         {"model", json::object()},    {"label", json::object()}};
  Problems unreadable_, refused_;
  std::vector<int64_t> characters_, tokens_;
  std::vector<json> shown_;
};

}  // namespace

json data_facts(const std::filesystem::path& path, const std::optional<inference::TextParts>& parts, int64_t rows, bool ids) {
  Tally tally(parts, rows, ids);
  int64_t count = 0;
  data::for_each_row(path, {.integers = {"rating", "turns"}, .labels = {"hazard", "refusal"}}, [&](const json& row, int64_t line) {
    ++count;
    tally.add(row, line);
  });
  if (count == 0) throw core::DataError(path, 0, "holds no row");
  json facts = tally.result();
  facts["bytes"] = std::filesystem::file_size(path);
  return facts;
}

}  // namespace keel::pipelines::cli::runs
