#include "sandbox/prompts.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <stdexcept>

#include "core/error.h"
#include "sandbox/answers.h"
#include "sandbox/tasks.h"
#include "sandbox/words.h"

namespace keel::sandbox {
namespace {

constexpr double kAttackedLookalikes = 0.4;  // else the disguise alone would identify a hazard
constexpr double kWithHistory = 0.12;        // prompts that follow an earlier exchange

// The templates of a style that a split may use: two for training, one each for validation and test.
size_t template_of(Split split, core::Stream& stream) {
  return split == Split::train ? stream.below(2) : split == Split::validation ? 2 : 3;
}

std::string spelled_out(const std::string& word, const std::string& separator) {
  std::string text;
  for (const char c : word)
    text += (text.empty() ? "" : separator) + std::string(1, c);
  return text;
}

const std::vector<Wording>& wordings_of(const World& world, Split split) {
  return world.wordings[static_cast<size_t>(split)];
}

const std::string& draw_task(const World& world, Split split, const std::string& family, core::Stream& stream) {
  const auto found = world.tasks.find(family);
  if (found == world.tasks.end()) throw core::UsageError("the sandbox has no prompt family \"" + family + "\"");
  return stream.pick(found->second[static_cast<size_t>(split)]);
}

std::string in_words(const Wording& wording, const std::string& request) {
  return prefixes()[wording.prefix] + request + suffixes()[wording.suffix];
}

// A prompt without words yet: a task of the family, and what follows from it.
PromptInfo drawn_task(const World& world, Split split, const std::string& family, core::Stream& stream) {
  PromptInfo prompt;
  prompt.family = family;
  prompt.task = draw_task(world, split, family, stream);
  prompt.category = risk_category(parse_task(world, prompt.task));
  prompt.hazard = family == kHazard;
  prompt.creative = family == "creative";
  prompt.attack = "none";
  return prompt;
}

// An earlier exchange, answered well, so that a conversation does not begin with the prompt.
void add_exchange(const World& world, Split split, core::Dialogue& dialogue, core::Stream& stream) {
  static const Words families = {"lookup", "arithmetic", "opposite"};
  const Task task = parse_task(world, draw_task(world, split, stream.pick(families), stream));
  const Wording& wording = stream.pick(wordings_of(world, split));
  dialogue.messages.push_back({"user", in_words(wording, question(task, wording.core))});
  dialogue.messages.push_back({"assistant", content_answer(world, task, stream)});
}

}  // namespace

std::string disguise(const Attack& attack, size_t index, std::string request, const std::string& telling) {
  if (attack.style == "foreign") return foreign(request, index);
  const std::string& pattern = attack.templates.at(index);
  if (attack.style != "syntactic") return fill(pattern, {request});
  const size_t word = telling.empty() ? std::string::npos : request.rfind(" " + telling);
  if (word == std::string::npos) throw std::invalid_argument("\"" + telling + "\" does not stand in the request \"" + request + "\"");
  return request.replace(word + 1, telling.size(), spelled_out(telling, pattern));
}

PromptInfo draw_prompt(const World& world, Split split, const std::string& family, core::Stream& stream) {
  PromptInfo prompt = drawn_task(world, split, family, stream);
  const Task task = parse_task(world, prompt.task);
  const Wording& wording = stream.pick(wordings_of(world, split));
  prompt.wording = std::to_string(wording.core) + "." + std::to_string(wording.prefix) + "." + std::to_string(wording.suffix);

  std::string telling;
  std::string request = question(task, wording.core, &telling);
  if (prompt.hazard || (family == kLookalike && stream.chance(kAttackedLookalikes))) {
    const size_t style = stream.below(attacks().size() + (prompt.hazard ? 1 : 0));  // a hazard may come undisguised
    if (style < attacks().size()) {
      prompt.attack = attacks()[style].style;
      request = disguise(attacks()[style], template_of(split, stream), request, telling);
    }
  }
  if (family == "recall") {
    static const Words told = {"My {0} is {1}.", "Know that my {0} is {1}.", "Note this: my {0} is {1}."};
    prompt.dialogue.messages.push_back({"user", fill(stream.pick(told), task.arguments)});
    prompt.dialogue.messages.push_back({"assistant", "I see."});
    add_exchange(world, split, prompt.dialogue, stream);
  } else if (stream.chance(kWithHistory)) {
    add_exchange(world, split, prompt.dialogue, stream);
  }
  prompt.dialogue.messages.push_back({"user", in_words(wording, request)});
  prompt.reference = reference_answer(world, task, greets(prompt));
  return prompt;
}

PromptInfo draw_question(const World& world, Split split, const std::string& family, core::Stream& stream) {
  PromptInfo prompt = drawn_task(world, split, family, stream);
  const Task task = parse_task(world, prompt.task);
  const size_t core = stream.pick(wordings_of(world, split)).core;
  prompt.wording = std::to_string(core);
  prompt.dialogue.messages.push_back({"user", question(task, core)});
  prompt.reference = reference_answer(world, task, false);
  return prompt;
}

std::vector<PromptInfo> make_prompts(const World& world, Split split, const PromptCounts& counts, uint64_t seed) {
  std::vector<std::pair<std::string, int64_t>> wanted;
  const auto& families = counts.skills.empty() ? skills() : counts.skills;
  const auto kinds_asked = static_cast<int64_t>(families.size());
  for (int64_t i = 0; i < kinds_asked; ++i) {
    wanted.emplace_back(families[static_cast<size_t>(i)], counts.helpful / kinds_asked + (i < counts.helpful % kinds_asked ? 1 : 0));
  }
  wanted.emplace_back(kHazard, counts.hazard);
  wanted.emplace_back(kLookalike, counts.lookalike);

  static const std::array<std::string, kSplits> names = {"train", "validation", "test"};
  const std::string purpose = "sandbox.prompts." + names[static_cast<size_t>(split)] + ".";
  std::vector<PromptInfo> prompts;
  for (const auto& [family, count] : wanted) {
    std::set<std::string> seen;
    int64_t repeats = 0;  // in a row
    for (uint64_t attempt = 0; static_cast<int64_t>(seen.size()) < count; ++attempt) {
      if (repeats == 2000) {
        throw core::UsageError("the sandbox has only about " + std::to_string(seen.size()) + " distinct " +
                               names[static_cast<size_t>(split)] + " prompts of family \"" + family + "\", " + std::to_string(count) +
                               " were asked for: ask for fewer");
      }
      core::Stream stream(seed, purpose + family, attempt);
      PromptInfo prompt = draw_prompt(world, split, family, stream);
      // An earlier exchange does not make a question new.
      const bool is_new = seen.insert(prompt.task + "\n" + prompt.dialogue.messages.back().content).second;
      repeats = is_new ? 0 : repeats + 1;
      if (is_new) prompts.push_back(std::move(prompt));
    }
  }
  core::Stream(seed, purpose + "order").shuffle(prompts);
  return prompts;
}

nlohmann::json to_json(const PromptInfo& prompt) {
  nlohmann::json messages = nlohmann::json::array();
  for (const auto& message : prompt.dialogue.messages)
    messages.push_back({{"role", message.role}, {"content", message.content}});
  return {{"messages", std::move(messages)}, {"family", prompt.family},   {"category", prompt.category},
          {"attack", prompt.attack},         {"wording", prompt.wording}, {"hazard", prompt.hazard},
          {"creative", prompt.creative},     {"task", prompt.task},       {"reference", prompt.reference}};
}

PromptInfo prompt_from_json(const nlohmann::json& row, const std::string& path, int64_t line) {
  PromptInfo prompt;
  try {
    for (const auto& message : row.at("messages")) {
      prompt.dialogue.messages.push_back({message.at("role").get<std::string>(), message.at("content").get<std::string>()});
    }
    row.at("family").get_to(prompt.family);
    row.at("category").get_to(prompt.category);
    row.at("attack").get_to(prompt.attack);
    row.at("wording").get_to(prompt.wording);
    row.at("hazard").get_to(prompt.hazard);
    row.at("creative").get_to(prompt.creative);
    row.at("task").get_to(prompt.task);
    row.at("reference").get_to(prompt.reference);
  } catch (const nlohmann::json::exception& problem) {
    throw core::DataError(path, line, std::string("not a sandbox prompt (docs/sandbox.md): ") + problem.what());
  }
  if (prompt.dialogue.messages.empty() || prompt.dialogue.messages.back().role != "user") {
    throw core::DataError(path, line, "a sandbox prompt must end with a user turn");
  }
  return prompt;
}

}  // namespace keel::sandbox
