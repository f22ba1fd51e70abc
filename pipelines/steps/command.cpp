#include "pipelines/steps/command.h"

#include <utility>

namespace keel::pipelines::steps {

std::vector<Option> with_limit(std::vector<Option> options) {
  options.push_back({"--drop-oldest-turns", "limit.drop_oldest_turns"});
  return with_dialogue_limit(std::move(options));
}

std::vector<Option> with_dialogue_limit(std::vector<Option> options) {
  options.push_back({"--max-tokens", "limit.max_tokens"});
  options.push_back({"--allow-tags", "limit.allow_tags"});
  return options;
}

}  // namespace keel::pipelines::steps
