// Red teaming by a person at a terminal: lines in, text out. Nothing else is needed, so that it runs over ssh and in a pipe.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "red_team/attacks.h"
#include "red_team/attempt.h"
#include "red_team/requests.h"
#include "red_team/target.h"

namespace keel::red_team {

struct Terminal {
  std::function<std::optional<std::string>()> read;  // the next line without its break; nothing at the end of input
  std::function<void(const std::string&)> print;
  std::function<double()> clock;  // seconds, monotonic
};

// Shows one request after another, the least tried first; the person writes what to say turn by turn, sees the answers and rates the
// attempt. Goes on with the attempt that this person left open on this model, if there is one. Every turn and rating is in `log` before
// the terminal answers to it. Returns at /quit and at the end of input; throws the core::IoError of a model that gave no answer when the
// input ends before it did, and the UsageError of AttemptLog::require_person() before anything is shown.
void try_requests(const std::string& person, const Target& target, const std::vector<Request>& requests, const std::vector<Attack>& attacks,
                  AttemptLog& log, const Terminal& terminal);

// Shows the attempts of a log that `person` has not rated, without the ratings of others, and asks for a rating. Returns as
// try_requests() does. The paper's violation is the majority of three people (4.4).
void rate_attempts(const std::string& person, AttemptLog& log, const Terminal& terminal);

}  // namespace keel::red_team
