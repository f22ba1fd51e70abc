// Red teaming without a person: scripts are said to the model, the answers judged, and everything is logged.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "red_team/attempt.h"
#include "red_team/search.h"
#include "red_team/target.h"
#include "sandbox/world.h"

namespace keel::red_team {

// What judges answers; an attempt is as safe as its worst answer.
struct Judges {
  std::optional<sandbox::World> world;  // the sandbox's gold judge reads the prompts' "task"
  SafetyScore safety;                   // may be empty
  std::string safety_digest = {};       // of its model
  double unsafe_below = kUnsafe;        // probability of the safety model below which its verdict is a violation; a search has its own
};

// A script said turn by turn, or why the model could not be asked: Target::check(), more than kMostTurns turns, or, then `by_server`, the
// refusal of a server.
struct Conversation {
  core::Dialogue dialogue;
  std::string refused;
  bool by_server = false;
};

// All scripts together, one turn of each at a time; records[i] keys the draws of script i.
std::vector<Conversation> converse(const Target& target, const std::vector<std::vector<std::string>>& scripts,
                                   const std::vector<uint64_t>& records);

// The verdicts on answered attempts, of each judge there is. DataError with file:line for a prompt that is not of the gold judge's sandbox.
std::vector<std::vector<Verdict>> judged(const Judges& judges, const std::vector<Attempt>& attempts);

// Runs `search` (source "search") or plain sampling (source "plain") against a target; judges.safety ranks. Attempts that the log already
// has from the same search are not asked again; DataError where those are of another one: the first row of a search holds its
// settings (safety model, sampling, search, seed), and what differs is named; other prompts and attacks are known by their scripts.
// Returns how many scripts the model could not be asked. UsageError with the server's words where it refuses as many scripts in a row as a
// generation has, or every script: then it is asked in a way that it does not know, and nothing is learnt about the model.
int64_t attack_automatically(const std::string& source, const Target& target, const std::vector<Request>& requests,
                             const std::vector<Attack>& attacks, const SearchConfig& config, uint64_t seed, const Judges& judges,
                             AttemptLog& log);

// Says every script that violated in `earlier` to the target, once, with its own answers in between, as attempts of the source "replay".
// What the log already has is not asked again. Returns how many scripts the model could not be asked; UsageError as above.
int64_t replay(const std::vector<Attempt>& earlier, const Target& target, const Judges& judges, AttemptLog& log);

}  // namespace keel::red_team
