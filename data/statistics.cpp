#include "data/statistics.h"

#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "data/messages.h"
#include "data/text.h"

namespace keel::data {
namespace {

// Sums over examples; a comparison makes two.
struct Sums {
  int64_t comparisons = 0, examples = 0, prompts = 0, responses = 0;
  int64_t example_tokens = 0, prompt_tokens = 0, response_tokens = 0;

  void operator+=(const Sums& other) {
    comparisons += other.comparisons, examples += other.examples, prompts += other.prompts, responses += other.responses;
    example_tokens += other.example_tokens, prompt_tokens += other.prompt_tokens, response_tokens += other.response_tokens;
  }
};

Sums sums_of(const core::PreferencePair& pair, const Tokenizer& tokenizer) {
  const auto count = [&](const std::string& text) { return std::ssize(tokenizer.encode(text)); };
  Sums sums{.comparisons = 1, .examples = 2};
  for (const core::Message& message : pair.prompt.messages) {
    const int64_t tokens = 2 * count(message.content);
    sums.example_tokens += tokens;
    if (message.role == "user") sums.prompts += 2, sums.prompt_tokens += tokens;
    if (message.role == "assistant") sums.responses += 2, sums.response_tokens += tokens;
  }
  const int64_t answers = count(pair.chosen) + count(pair.rejected);
  sums.example_tokens += answers;
  sums.responses += 2, sums.response_tokens += answers;
  return sums;
}

PairStatistics means(const std::string& source, const Sums& sums) {
  const auto mean = [](int64_t sum, int64_t count) { return count > 0 ? static_cast<double>(sum) / static_cast<double>(count) : 0.0; };
  return {.source = source,
          .comparisons = sums.comparisons,
          .turns = mean(sums.prompts, sums.examples),
          .tokens_per_example = mean(sums.example_tokens, sums.examples),
          .tokens_per_prompt = mean(sums.prompt_tokens, sums.prompts),
          .tokens_per_response = mean(sums.response_tokens, sums.responses)};
}

std::string exact_key(const core::Dialogue& prompt, const std::string& first, const std::string& second) {
  return nlohmann::json{messages_json(prompt), first, second}.dump();
}

std::string exact_key(const core::PreferencePair& pair) {
  return exact_key(pair.prompt, pair.chosen, pair.rejected);
}

std::set<std::string> prompt_keys(const PreferenceSet& set) {
  std::set<std::string> keys;
  for (const core::PreferencePair& pair : set.pairs)
    keys.insert(prompt_key(pair.prompt));
  return keys;
}

// Removes the pairs for which `unwanted` is true, in order, and counts them.
template <class Unwanted>
void drop_(PreferenceSet& set, const std::string& reason, Unwanted&& unwanted) {
  PreferenceSet kept{.path = set.path, .pairs = {}, .lines = {}, .counts = set.counts};
  for (size_t i = 0; i < set.pairs.size(); ++i) {
    if (unwanted(set.pairs[i])) {
      --kept.counts.kept;
      ++kept.counts.dropped[reason];
      continue;
    }
    kept.pairs.push_back(std::move(set.pairs[i]));
    if (i < set.lines.size()) kept.lines.push_back(set.lines[i]);
  }
  set = std::move(kept);
}

}  // namespace

std::vector<PairStatistics> pair_statistics(const PreferenceSet& set, const Tokenizer& tokenizer) {
  std::map<std::string, Sums> by_source;
  Sums total;
  for (size_t i = 0; i < set.pairs.size(); ++i) {
    const int64_t line = i < set.lines.size() ? set.lines[i] : 0;
    const Sums sums = with_place(set.path, line, [&] { return sums_of(set.pairs[i], tokenizer); });
    by_source[set.pairs[i].source] += sums;
    total += sums;
  }
  std::vector<PairStatistics> rows;
  for (const auto& [source, sums] : by_source)
    rows.push_back(means(source, sums));
  rows.push_back(means("total", total));
  return rows;
}

nlohmann::json to_json(const PairStatistics& row) {
  return {{"source", row.source.empty() ? "not recorded" : row.source},
          {"comparisons", row.comparisons},
          {"turns", row.turns},
          {"tokens_per_example", row.tokens_per_example},
          {"tokens_per_prompt", row.tokens_per_prompt},
          {"tokens_per_response", row.tokens_per_response}};
}

Repeats count_repeats(const PreferenceSet& set) {
  Repeats repeats;
  std::set<std::string> seen;
  for (const core::PreferencePair& pair : set.pairs) {
    if (!seen.insert(exact_key(pair)).second)
      ++repeats.duplicates;
    else if (seen.contains(exact_key(pair.prompt, pair.rejected, pair.chosen)))
      ++repeats.contradictions;
  }
  return repeats;
}

Repeats count_repeats_of(const PreferenceSet& earlier, const PreferenceSet& set) {
  std::set<std::string> known;
  for (const core::PreferencePair& pair : earlier.pairs)
    known.insert(exact_key(pair));
  Repeats repeats;
  for (const core::PreferencePair& pair : set.pairs) {
    repeats.duplicates += known.contains(exact_key(pair)) ? 1 : 0;
    repeats.contradictions += known.contains(exact_key(pair.prompt, pair.rejected, pair.chosen)) ? 1 : 0;
  }
  return repeats;
}

std::string unordered_key(const core::PreferencePair& pair) {
  return exact_key(pair.prompt, std::min(pair.chosen, pair.rejected), std::max(pair.chosen, pair.rejected));
}

void drop_duplicates_(PreferenceSet& set) {
  std::set<std::string> seen;
  drop_(set, "duplicate", [&](const core::PreferencePair& pair) { return !seen.insert(exact_key(pair)).second; });
}

std::string prompt_key(const core::Dialogue& prompt) {
  const auto blank = [](char c) { return c == ' ' || (c >= '\t' && c <= '\r'); };
  nlohmann::json key = nlohmann::json::array();
  for (const core::Message& message : prompt.messages) {
    std::string text;
    for (const char c : strip(message.content)) {
      if (!blank(c))
        text += c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
      else if (text.back() != ' ')
        text += ' ';
    }
    key.push_back({message.role, text});
  }
  return key.dump();
}

SharedPrompts shared_prompts(const PreferenceSet& train, const PreferenceSet& test) {
  SharedPrompts shared;
  const std::set<std::string> in_train = prompt_keys(train), in_test = prompt_keys(test);
  for (const std::string& key : in_test)
    shared.prompts += in_train.contains(key) ? 1 : 0;
  for (const core::PreferencePair& pair : train.pairs)
    shared.train_pairs += in_test.contains(prompt_key(pair.prompt)) ? 1 : 0;
  for (const core::PreferencePair& pair : test.pairs)
    shared.test_pairs += in_train.contains(prompt_key(pair.prompt)) ? 1 : 0;
  return shared;
}

void drop_shared_prompts_(PreferenceSet& train, const PreferenceSet& test) {
  const std::set<std::string> in_test = prompt_keys(test);
  drop_(train, "prompt_in_test", [&](const core::PreferencePair& pair) { return in_test.contains(prompt_key(pair.prompt)); });
}

}  // namespace keel::data
