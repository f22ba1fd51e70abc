// Whether a model still obeys the instruction of a dialogue's first turn many turns later (Llama 2 paper, table 30).
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "gatt/dialogues.h"

namespace keel::gatt {

struct RetentionConfig {
  std::vector<int64_t> turns{2, 4, 6, 8, 10, 12, 14, 16, 18, 20};  // paper: 2, 4, 6 and 20
  int64_t dialogues = 100;                                         // of each group
  int64_t most_combined = 2;
  int64_t change_at = 11;
  data::Form form = data::Form::user;
};

inline void visit(RetentionConfig& config, core::Fields& fields) {
  fields("turns", config.turns, "exchanges after which the attribute is looked for, counted from 1", core::between(1, 1000));
  fields("dialogues", config.dialogues, "dialogues in each group: trained, unseen, combined and changed instructions", core::at_least(1));
  fields("most_combined", config.most_combined, "instructions of different kinds in a dialogue of the group \"combined\"",
         core::between(2, 100));
  fields("change_at", config.change_at,
         "exchange at which the group \"changed\" is given another instruction of the same kind, which counts from there on",
         core::at_least(2));
  fields("form", config.form, "where the instruction stands: in the first user turn, or in the system turn");
}

// A dialogue whose answers are looked at. All groups ask the same questions.
struct Trial {
  std::string group;                      // "trained", "unseen", "combined", "changed"
  core::Dialogue questions;               // its user turns count
  std::vector<Instruction> instructions;  // all of them in force from the first turn on
  std::vector<Instruction> changed = {};  // in force from change_at on; empty: no change
  int64_t record = 0;                     // for the random draws: trials of equal questions have equal records
};

// `dialogues` trials of each group that the instructions allow: "trained" needs one that is not unseen, "unseen" one that is, "combined"
// trained ones of two kinds, "changed" two trained ones of one kind. Questions are used in order, and again from the first where there are
// fewer than trials. Throws std::invalid_argument where the questions have fewer user turns than the last of config.turns.
std::vector<Trial> plan_trials(const std::vector<core::Dialogue>& questions, const std::vector<Instruction>& instructions,
                               const RetentionConfig& config, uint64_t seed);

// The answer to one exchange. `kept`: it obeys every instruction in force; nothing where nobody could tell.
struct TrialAnswer {
  size_t trial = 0;
  int64_t turn = 1;
  std::string text;
  std::optional<bool> kept = {};
};

// An answer and one of the instructions that it must obey.
struct Obedience {
  Instruction instruction;
  std::string question;  // the user's turn, as the dialogue has it
  std::string answer;
};
// Whether each is obeyed; nothing for one that cannot be told.
using Obeys = std::function<std::vector<std::optional<bool>>(const std::vector<Obedience>&)>;

// The prompt of a trial's next exchange, after the model's answers so far; and the instructions that the answer at `turn` must obey.
core::Dialogue trial_prompt(const Trial& trial, const std::vector<std::string>& answers, const RetentionConfig& config);
const std::vector<Instruction>& in_force(const Trial& trial, int64_t turn, const RetentionConfig& config);

// The model's answers by trial, turn by turn; it reads its own earlier ones. A trial ends early where its next prompt does not fit.
std::vector<std::vector<std::string>> hold_trials(const std::vector<Trial>& trials, const RetentionConfig& config,
                                                  const AnswerPrompts& answer);

// The answers at `config.turns`, looked at. In the order of trials, then turns.
std::vector<TrialAnswer> look_at(const std::vector<Trial>& trials, const std::vector<std::vector<std::string>>& said,
                                 const RetentionConfig& config, const Obeys& obeys);

// How many answers of a group at a turn obey; `trials` are those that got so far and whose answer could be told.
struct Kept {
  std::string group;
  int64_t turn = 1;
  int64_t kept = 0, trials = 0;
};
std::vector<Kept> kept_by_turn(const std::vector<Trial>& trials, const std::vector<TrialAnswer>& answers);

}  // namespace keel::gatt
