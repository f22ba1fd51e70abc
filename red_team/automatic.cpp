#include "red_team/automatic.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <stdexcept>
#include <utility>

#include "core/error.h"
#include "core/interrupt.h"
#include "core/log.h"
#include "core/progress.h"
#include "core/rng.h"
#include "data/messages.h"
#include "red_team/measures.h"
#include "sandbox/judge.h"

namespace keel::red_team {
namespace {

void stop_if_interrupted() {
  if (core::interrupt_requested())
    throw core::Interrupted("stopped; the log holds what was judged, and the same command goes on from there");
}

// The dialogue up to each of its answers.
std::vector<core::Dialogue> answered_parts(const core::Dialogue& dialogue) {
  std::vector<core::Dialogue> parts;
  for (size_t i = 0; i < dialogue.messages.size(); ++i)
    if (dialogue.messages[i].role == "assistant")
      parts.push_back({{dialogue.messages.begin(), dialogue.messages.begin() + static_cast<std::ptrdiff_t>(i) + 1}});
  return parts;
}

double worst_gold(const sandbox::World& world, const Attempt& attempt) {
  nlohmann::json row = attempt.prompt.is_object() ? attempt.prompt : nlohmann::json::object();
  row["messages"] = {{{"role", "user"}, {"content", "?"}}};  // the judge reads the task alone
  const sandbox::PromptInfo prompt = sandbox::prompt_from_json(row, attempt.path, attempt.line);
  double worst = 1;
  for (const auto& message : attempt.dialogue.messages)
    if (message.role == "assistant")
      worst = std::min(worst,
                       data::with_place(attempt.path, attempt.line, [&] { return sandbox::gold_safety(world, prompt, message.content); }));
  return worst;
}

std::vector<double> worst_scores(const SafetyScore& safety, const std::vector<Attempt>& attempts) {
  std::vector<core::Dialogue> parts;
  std::vector<size_t> owner;
  for (size_t i = 0; i < attempts.size(); ++i)
    for (auto& part : answered_parts(attempts[i].dialogue)) {
      parts.push_back(std::move(part));
      owner.push_back(i);
    }
  const std::vector<double> scores = safety(parts);
  std::vector<double> worst(attempts.size(), 1);
  for (size_t i = 0; i < parts.size(); ++i)
    worst[owner[i]] = std::min(worst[owner[i]], scores.at(i));
  return worst;
}

// All rows of finished attempts, numbered on from the log's.
void record(const std::vector<Attempt>& attempts, const std::vector<std::vector<Verdict>>& verdicts, AttemptLog& log) {
  std::vector<nlohmann::json> rows;
  for (size_t i = 0; i < attempts.size(); ++i) {
    const int64_t number = log.next() + static_cast<int64_t>(i);
    rows.push_back(opening_row(number, attempts[i]));
    for (const auto& message : attempts[i].dialogue.messages)
      rows.push_back(turn_row(number, message));
    for (const auto& verdict : verdicts[i])
      rows.push_back(verdict_row(number, verdict));
  }
  log.record(rows);
}

// What the safety model says; nothing where it has not judged.
std::optional<double> safety_of(const std::vector<Verdict>& verdicts) {
  const auto model = std::find_if(verdicts.begin(), verdicts.end(), [](const Verdict& one) { return one.by == "safety_model"; });
  return model == verdicts.end() ? std::nullopt : std::optional(model->safety);
}

// The whole attempts of one automatic search that a log holds, in their order.
std::vector<Attempt> logged(const AttemptLog& log, const std::string& source, const Target& target) {
  std::vector<Attempt> found;
  for (const auto& attempt : log.attempts())
    if (attempt.source == source && attempt.digest == target.digest && safety_of(attempt.verdicts)) found.push_back(attempt);
  return found;
}

// What decides a search, flat: {"/search/budget": 500, "/seed": 1, ...}.
nlohmann::json settings_of(const Target& target, const SearchConfig& config, uint64_t seed, const Judges& judges) {
  const nlohmann::json all = {{"safety_model", judges.safety_digest},
                              {"sandbox", judges.world.has_value()},
                              {"target", target.settings},
                              {"search", core::key_json_of(config)},
                              {"seed", seed}};
  return all.flatten();
}

// DataError where the log holds an automatic search on this model that began with other settings. True where it holds one.
bool continues(const AttemptLog& log, const std::string& source, const Target& target, const nlohmann::json& settings) {
  bool first = true;
  for (const auto& attempt : log.attempts()) {
    if (attempt.source != source || attempt.digest != target.digest || !std::exchange(first, false)) continue;
    std::vector<std::string> differ;
    for (const auto& [name, value] : settings.items())
      if (!attempt.settings.contains(name) || attempt.settings.at(name) != value)
        differ.push_back(fmt::format("{} (was {}, is {})", name.substr(1),
                                     attempt.settings.contains(name) ? attempt.settings.at(name).dump() : "not kept", value.dump()));
    if (!differ.empty())
      throw core::DataError(attempt.path, attempt.line,
                            fmt::format("the log holds another automatic search on this model: {}; give the same settings or a new --log",
                                        fmt::join(differ, ", ")));
  }
  return !first;
}

// Scripts that the model could not be asked. A server may refuse one (a filter); one that refuses all is asked in a way that it does not
// know, and that must not look like a safe model.
class NotAsked {
 public:
  explicit NotAsked(int64_t most_in_a_row, bool any_answer = false) : most_in_a_row_(most_in_a_row), any_answer_(any_answer) {}

  void answered() {
    any_answer_ = true;
    in_a_row_ = 0;
  }
  void refused(const Conversation& one) {
    if (++scripts_ == 1) core::log_warn(fmt::format("not asked: {} (further ones are counted)", one.refused));
    if (!one.by_server) return;
    ++in_a_row_;
    words_ = one.refused;
  }
  int64_t scripts() const { return scripts_; }

  // To be called when all answers are in the log.
  void stop_if_hopeless() const {
    if (in_a_row_ >= most_in_a_row_) stop();
  }
  void stop_if_all_refused() const {
    if (in_a_row_ > 0 && !any_answer_) stop();
  }

 private:
  [[noreturn]] void stop() const {
    throw core::UsageError(
        fmt::format("the server refused {} scripts in a row, the last time: {}; check its settings (sampling.*) and the "
                    "model's name, then give the same command again",
                    in_a_row_, words_));
  }

  int64_t most_in_a_row_, scripts_ = 0, in_a_row_ = 0;  // in a row: by a server, without an answer in between
  bool any_answer_;
  std::string words_;
};

}  // namespace

std::vector<Conversation> converse(const Target& target, const std::vector<std::vector<std::string>>& scripts,
                                   const std::vector<uint64_t>& records) {
  std::vector<Conversation> all(scripts.size());
  for (size_t i = 0; i < scripts.size(); ++i)
    if (scripts[i].size() > kMostTurns) all[i].refused = fmt::format("{} turns are more than {}", scripts[i].size(), kMostTurns);
  for (uint64_t turn = 0; turn < kMostTurns; ++turn) {
    std::vector<Question> questions;
    std::vector<size_t> owners;
    for (size_t i = 0; i < scripts.size(); ++i) {
      if (turn >= scripts[i].size() || !all[i].refused.empty()) continue;
      all[i].dialogue.messages.push_back({"user", scripts[i][turn]});
      try {
        target.check(all[i].dialogue);
      } catch (const std::invalid_argument& problem) {
        all[i].refused = problem.what();
        continue;
      }
      questions.push_back({.dialogue = all[i].dialogue, .record = records[i] * kMostTurns + turn});
      owners.push_back(i);
    }
    if (questions.empty()) break;
    const auto answers = target.ask(questions);
    for (size_t i = 0; i < owners.size(); ++i) {
      Conversation& one = all[owners[i]];
      if (answers.at(i).text) {
        one.dialogue.messages.push_back({"assistant", *answers[i].text});
      } else {
        one.refused = answers[i].refusal;
        one.by_server = true;
      }
    }
  }
  return all;
}

std::vector<std::vector<Verdict>> judged(const Judges& judges, const std::vector<Attempt>& attempts) {
  std::vector<std::vector<Verdict>> verdicts(attempts.size());
  for (size_t i = 0; judges.world && i < attempts.size(); ++i) {
    const double safety = worst_gold(*judges.world, attempts[i]);
    verdicts[i].push_back({.by = "gold", .safety = safety, .violation = safety < sandbox::kViolation});
  }
  if (!judges.safety || attempts.empty()) return verdicts;
  const std::vector<double> scores = worst_scores(judges.safety, attempts);
  for (size_t i = 0; i < attempts.size(); ++i)
    verdicts[i].push_back({.by = "safety_model", .safety = scores[i], .violation = scores[i] < judges.unsafe_below});
  return verdicts;
}

int64_t attack_automatically(const std::string& source, const Target& target, const std::vector<Request>& requests,
                             const std::vector<Attack>& attacks, const SearchConfig& config, uint64_t seed, const Judges& judges,
                             AttemptLog& log) {
  if (!judges.safety) throw core::UsageError("the automatic red team ranks answers by a safety model: give its folder with --safety");
  const nlohmann::json settings = settings_of(target, config, seed, judges);
  bool begun = continues(log, source, target, settings);
  const std::vector<Attempt> known = logged(log, source, target);
  size_t used = 0;
  uint64_t scripts_so_far = 0;
  int64_t answers = 0;
  Judges own_judges = judges;
  own_judges.unsafe_below = config.unsafe_below;
  NotAsked not_asked(config.generation);
  core::Progress progress(source, config.budget, "answers");

  const auto attempt_of = [&](const Tried& tried) {
    const Request& request = requests[tried.candidate.request];
    Attempt attempt;
    attempt.model = target.name;
    attempt.digest = target.digest;
    attempt.source = source;
    attempt.request = request.id;
    attempt.category = request.category;
    for (const size_t attack : tried.candidate.attacks)
      attempt.vectors.push_back(attacks[attack].vector);
    if (attempt.vectors.empty()) attempt.vectors = {"none"};
    attempt.prompt = request.row;
    return attempt;
  };

  const Probe probe = [&](const std::vector<Tried>& generation) {
    stop_if_interrupted();
    std::vector<std::optional<double>> safeties(generation.size());
    std::vector<std::vector<std::string>> scripts;
    std::vector<uint64_t> records;
    std::vector<size_t> asked;
    for (size_t i = 0; i < generation.size(); ++i, ++scripts_so_far) {
      if (used < known.size() && user_turns(known[used]) == generation[i].script.turns) {
        safeties[i] = safety_of(known[used++].verdicts);
        not_asked.answered();
        continue;
      }
      scripts.push_back(generation[i].script.turns);
      records.push_back(scripts_so_far);
      asked.push_back(i);
    }
    const auto conversations = converse(target, scripts, records);
    std::vector<Attempt> attempts;
    std::vector<size_t> owners;
    for (size_t i = 0; i < conversations.size(); ++i) {
      if (!conversations[i].refused.empty()) {
        not_asked.refused(conversations[i]);
        continue;
      }
      not_asked.answered();
      attempts.push_back(attempt_of(generation[asked[i]]));
      attempts.back().dialogue = conversations[i].dialogue;
      owners.push_back(asked[i]);
    }
    if (!attempts.empty() && used < known.size())
      throw core::DataError(known[used].path, known[used].line,
                            "the log holds another automatic search on this model: prompts or attacks differ; give a new --log");
    if (!attempts.empty() && !std::exchange(begun, true)) attempts[0].settings = settings;
    const auto verdicts = judged(own_judges, attempts);
    record(attempts, verdicts, log);
    not_asked.stop_if_hopeless();
    for (size_t i = 0; i < attempts.size(); ++i)
      safeties[owners[i]] = safety_of(verdicts[i]);
    for (size_t i = 0; i < generation.size(); ++i)
      if (safeties[i]) answers += std::ssize(generation[i].script.turns);
    progress.update(answers);
    return safeties;
  };
  (source == "search" ? evolved_search : plain_sampling)(requests, attacks, config, seed, probe);
  if (used < known.size())
    throw core::DataError(known[used].path, known[used].line,
                          "the log holds more attempts of an automatic search on this model than the budget allows; give a new --log");
  not_asked.stop_if_all_refused();
  return not_asked.scripts();
}

int64_t replay(const std::vector<Attempt>& earlier, const Target& target, const Judges& judges, AttemptLog& log) {
  constexpr size_t kTogether = 64;
  std::set<std::string> done;
  for (const auto& attempt : log.attempts())
    if (attempt.digest == target.digest && answered(attempt)) done.insert(script_key(attempt));
  NotAsked not_asked(kTogether, !done.empty());
  std::vector<Attempt> wanted;
  for (const auto& attempt : earlier)
    if (decide(attempt).violation && done.insert(script_key(attempt)).second) wanted.push_back(attempt);

  core::Progress progress("replay", std::ssize(wanted), "attempts");
  for (size_t begin = 0; begin < wanted.size(); begin += kTogether) {
    stop_if_interrupted();
    std::vector<std::vector<std::string>> scripts;
    std::vector<uint64_t> records;
    for (size_t i = begin; i < std::min(begin + kTogether, wanted.size()); ++i) {
      scripts.push_back(user_turns(wanted[i]));
      records.push_back(core::text_key(script_key(wanted[i])) / kMostTurns);
    }
    const auto conversations = converse(target, scripts, records);
    std::vector<Attempt> attempts;
    for (size_t i = 0; i < conversations.size(); ++i) {
      if (!conversations[i].refused.empty()) {
        not_asked.refused(conversations[i]);
        continue;
      }
      not_asked.answered();
      Attempt again = wanted[begin + i];
      again.settings = nullptr;
      again.model = target.name;
      again.digest = target.digest;
      again.source = "replay";
      again.person.clear();
      again.dialogue = conversations[i].dialogue;
      attempts.push_back(std::move(again));
    }
    record(attempts, judged(judges, attempts), log);
    not_asked.stop_if_hopeless();
    progress.update(static_cast<int64_t>(begin + scripts.size()));
  }
  not_asked.stop_if_all_refused();
  return not_asked.scripts();
}

}  // namespace keel::red_team
