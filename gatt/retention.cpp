#include "gatt/retention.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <stdexcept>

#include "data/pattern.h"
#include "data/text.h"
#include "gatt/language.h"

namespace keel::gatt {
namespace {

std::vector<std::string> user_turns(const core::Dialogue& dialogue) {
  std::vector<std::string> turns;
  for (const core::Message& message : dialogue.messages)
    if (message.role == "user") turns.push_back(message.content);
  return turns;
}

// Pairs (index, other index) of instructions of one kind.
std::vector<std::pair<size_t, size_t>> changes_of(const std::vector<Instruction>& all) {
  std::vector<std::pair<size_t, size_t>> pairs;
  for (size_t i = 0; i < all.size(); ++i)
    for (size_t j = 0; j < all.size(); ++j)
      if (i != j && !all[i].kind.empty() && all[i].kind == all[j].kind) pairs.emplace_back(i, j);
  return pairs;
}

}  // namespace

std::vector<Trial> plan_trials(const std::vector<core::Dialogue>& questions, const std::vector<Instruction>& instructions,
                               const RetentionConfig& config, uint64_t seed) {
  const int64_t last = *std::max_element(config.turns.begin(), config.turns.end());
  if (questions.empty()) throw std::invalid_argument("there is no dialogue to ask");
  for (size_t i = 0; i < questions.size(); ++i)
    if (const auto turns = std::ssize(user_turns(questions[i])); turns < last)
      throw std::invalid_argument(fmt::format(
          "dialogue {} has {} user turns, fewer than the last of \"turns\", {}; name fewer turns or longer dialogues", i + 1, turns, last));
  std::vector<Instruction> trained, unseen;
  for (const Instruction& one : instructions)
    (one.unseen ? unseen : trained).push_back(one);
  const auto pairs = changes_of(trained);
  std::vector<Trial> trials;
  for (int64_t i = 0; i < config.dialogues; ++i) {
    const auto record = static_cast<size_t>(i) % questions.size();
    const auto add = [&](const std::string& group, std::vector<Instruction> first, std::vector<Instruction> changed) {
      trials.push_back(
          {.group = group, .questions = questions[record], .instructions = std::move(first), .changed = std::move(changed), .record = i});
    };
    const auto draw = [&](const std::string& group) { return core::Stream(seed, "gatt.trial." + group, static_cast<uint64_t>(i)); };
    if (auto stream = draw("trained"); !trained.empty()) add("trained", {stream.pick(trained)}, {});
    if (auto stream = draw("unseen"); !unseen.empty()) add("unseen", {stream.pick(unseen)}, {});
    auto stream = draw("combined");
    if (auto parts = pick_of_different_kinds(trained, config.most_combined, stream); parts.size() > 1)
      add("combined", std::move(parts), {});
    if (auto change = draw("changed"); !pairs.empty() && config.change_at <= last) {
      const auto& [before, after] = change.pick(pairs);
      add("changed", {trained[before]}, {trained[after]});
    }
  }
  std::stable_sort(trials.begin(), trials.end(), [](const Trial& a, const Trial& b) { return a.group < b.group; });
  return trials;
}

core::Dialogue trial_prompt(const Trial& trial, const std::vector<std::string>& answers, const RetentionConfig& config) {
  const std::vector<std::string> questions = user_turns(trial.questions);
  const size_t change = static_cast<size_t>(config.change_at) - 1;
  core::Dialogue prompt;
  if (data::first_user_turn(trial.questions) == 1) prompt.messages.push_back(trial.questions.messages[0]);
  for (size_t i = 0; i <= answers.size(); ++i) {
    const bool changes = i == change && !trial.changed.empty();
    prompt.messages.push_back({"user", questions[i]});
    if (changes) data::join_(prompt.messages.back(), combined(trial.changed).text);
    if (i < answers.size()) prompt.messages.push_back({"assistant", answers[i]});
  }
  return data::instructed(std::move(prompt), combined(trial.instructions).text, config.form);
}

const std::vector<Instruction>& in_force(const Trial& trial, int64_t turn, const RetentionConfig& config) {
  return turn >= config.change_at && !trial.changed.empty() ? trial.changed : trial.instructions;
}

std::vector<std::vector<std::string>> hold_trials(const std::vector<Trial>& trials, const RetentionConfig& config,
                                                  const AnswerPrompts& answer) {
  const int64_t last = *std::max_element(config.turns.begin(), config.turns.end());
  std::vector<std::vector<std::string>> said(trials.size());
  std::vector<size_t> open(trials.size());
  std::iota(open.begin(), open.end(), size_t{0});
  for (int64_t turn = 1; turn <= last && !open.empty(); ++turn) {
    std::vector<core::Dialogue> prompts;
    std::vector<int64_t> records;
    for (const size_t i : open) {
      prompts.push_back(trial_prompt(trials[i], said[i], config));
      records.push_back(trials[i].record);
    }
    const auto given = answer(prompts, records, turn);
    std::vector<size_t> still_open;
    for (size_t place = 0; place < open.size(); ++place) {
      if (!given.at(place)) continue;
      said[open[place]].emplace_back(data::strip(given[place]->text));
      still_open.push_back(open[place]);
    }
    open.swap(still_open);
  }
  return said;
}

std::vector<TrialAnswer> look_at(const std::vector<Trial>& trials, const std::vector<std::vector<std::string>>& said,
                                 const RetentionConfig& config, const Obeys& obeys) {
  std::vector<TrialAnswer> answers;
  std::vector<Obedience> asked;
  std::vector<size_t> answer_of;  // each that is asked
  for (size_t i = 0; i < trials.size(); ++i) {
    const std::vector<std::string> questions = user_turns(trials[i].questions);
    for (int64_t turn = 1; turn <= std::ssize(said[i]); ++turn) {
      if (std::find(config.turns.begin(), config.turns.end(), turn) == config.turns.end()) continue;
      const auto place = static_cast<size_t>(turn) - 1;
      for (const Instruction& one : in_force(trials[i], turn, config)) {
        asked.push_back({.instruction = one, .question = questions[place], .answer = said[i][place]});
        answer_of.push_back(answers.size());
      }
      answers.push_back({.trial = i, .turn = turn, .text = said[i][place], .kept = true});
    }
  }
  const auto verdicts = obeys(asked);
  for (size_t i = 0; i < asked.size(); ++i) {
    std::optional<bool>& kept = answers[answer_of[i]].kept;
    const std::optional<bool>& obeyed = verdicts.at(i);
    if (kept == false || obeyed == true) continue;  // one that is broken decides; else one that nobody could tell
    kept = obeyed;
  }
  return answers;
}

std::vector<Kept> kept_by_turn(const std::vector<Trial>& trials, const std::vector<TrialAnswer>& answers) {
  std::map<std::pair<std::string, int64_t>, Kept> counts;
  for (const TrialAnswer& one : answers) {
    if (!one.kept) continue;
    Kept& kept = counts[{trials.at(one.trial).group, one.turn}];
    kept.group = trials[one.trial].group;
    kept.turn = one.turn;
    kept.kept += *one.kept ? 1 : 0;
    kept.trials += 1;
  }
  std::vector<Kept> list;
  for (const auto& [key, kept] : counts)
    list.push_back(kept);
  return list;
}

bool has_checker(const Instruction& instruction) {
  return !instruction.pattern.empty() || (instruction.kind == "language" && known_language(instruction.value));
}

std::optional<bool> obeys_by_pattern_or_language(const Instruction& instruction, const std::string& answer) {
  if (!instruction.pattern.empty()) return !data::Pattern(instruction.pattern).matches(answer).empty();
  if (has_checker(instruction)) return is_in_language(answer, instruction.value);
  return std::nullopt;
}

}  // namespace keel::gatt
