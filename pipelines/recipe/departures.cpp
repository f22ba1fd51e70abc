#include "pipelines/recipe/departures.h"

#include <algorithm>

namespace keel::pipelines::recipe {

const std::vector<Departure>& departing_defaults() {
  static const std::vector<Departure> table = {
      {{"data.max_tokens"}, "512", "a context of 4,096 tokens (table 1): memory"},
      {{"data.train_prompts"}, "1024", "PPO alone draws 512 new prompts an iteration (3.2.3): time"},
      {{"data.max_demonstrations"}, "2000", "27,540 demonstrations (3.1): time"},
      {{"data.validation_prompts"}, "64", "584 and 1,586 prompts (3.4): time"},
      {{"data.test_prompts"}, "200", "more than 4,000 prompts (3.4): time"},
      {{"data.held_out"}, "0.2", "1,000 examples a batch (3.2.1), which smaller data does not have"},
      {{"preferences.held_out"}, "0.15", "1,000 examples a batch (3.2.1), which smaller batches do not have"},
      {{"preferences.pairs", "preferences.later_pairs"}, "4000", "5,561 to 249,356 comparisons a batch (table 26): time"},
      {{"evaluation.max_new_tokens"}, "256", "1,000 or 2,000 tokens with the context (3.4): time"},
      {{"preferences.annotator"}, "\"middle\"", "people (3.2.1); the default data is the sandbox, which has annotators of its own"},
      {{"gatt.from_version"}, "0", "after RLHF V3 (3.3), i.e. from V4 on: it needs dialogues and instructions"},
      {{"sandbox.demonstrations.count"}, "1200", "27,540 demonstrations (3.1): the sandbox's world is small"},
      {{"sandbox.vocab_size"}, "1024", "32,000 pieces (2.2): the sandbox's world has few words"},
  };
  return table;
}

std::vector<Departure> departures_of(const Recipe& recipe) {
  const std::vector<core::Difference> set = changed_settings(recipe);
  const std::vector<std::string> unread = unread_settings(recipe);
  const auto is_used = [&](const std::string& name) {
    return std::ranges::find(set, name, &core::Difference::name) == set.end() && std::ranges::find(unread, name) == unread.end();
  };
  std::vector<Departure> used;
  for (Departure departure : departing_defaults()) {
    std::erase_if(departure.fields, [&](const std::string& name) { return !is_used(name); });
    if (!departure.fields.empty()) used.push_back(std::move(departure));
  }
  return used;
}

}  // namespace keel::pipelines::recipe
