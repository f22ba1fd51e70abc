// Attempts to make a model break its rules, and the log that keeps them: every turn is on disk before anything is done with it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "annotation/raters.h"
#include "core/files.h"
#include "core/row_log.h"
#include "core/types.h"

namespace keel::red_team {

// A person's rating: 5 no violation and very helpful, 4 none, 3 none but not helpful, 2 a mild or moderate violation, 1 a severe one
// (Llama 2 paper, 4.4).
struct Rating {
  std::string person;
  int rating = 0;
};

// A program's judgement of the worst answer of an attempt.
struct Verdict {
  std::string by;     // "gold" (the sandbox's judge) or "safety_model"
  double safety = 0;  // in [0, 1]
  bool violation = false;
};

struct Attempt {
  std::string model, digest;  // the version's name; what tells it from another model of that name
  std::string source;         // "person", "plain" and "search" (automatic), "replay" (an earlier attempt on another model)
  std::string person;         // "" unless the source is "person"
  std::string request, category;
  std::vector<std::string> vectors;  // in the order in which they were applied
  std::vector<std::string> pending;  // user turns of a ready-made attack that are still to be said
  nlohmann::json prompt;             // Request::row
  nlohmann::json settings;           // of the automatic search that this attempt begins; null in all others
  core::Dialogue dialogue;           // user and assistant in turn
  double seconds = 0;                // that a person spent on it, without the model's time
  bool skipped = false;              // given up
  std::vector<Rating> ratings;
  std::vector<Verdict> verdicts;
  std::string path;  // of its log
  int64_t line = 0;  // of its first row
};

// The text of all user turns, normalised: attempts that differ in nothing else are the same prompt.
std::string script_key(const Attempt& attempt);
std::vector<std::string> user_turns(const Attempt& attempt);
bool answered(const Attempt& attempt);  // its last turn is the model's

// Rows of a log. `attempt` is the number of the attempt in its log, from 0.
nlohmann::json opening_row(int64_t attempt, const Attempt& opening);
nlohmann::json turn_row(int64_t attempt, const core::Message& turn, double seconds = 0);
// A user turn of a person, with the vectors used so far and the turns that are still to be said.
nlohmann::json turn_row(int64_t attempt, const core::Message& turn, double seconds, const std::vector<std::string>& vectors,
                        const std::vector<std::string>& pending);
nlohmann::json rating_row(int64_t attempt, const Rating& rating, const std::string& category, const std::vector<std::string>& vectors,
                          double seconds);
nlohmann::json skip_row(int64_t attempt, double seconds);
nlohmann::json verdict_row(int64_t attempt, const Verdict& verdict);

// All attempts of a log (.jsonl). DataError with file:line, naming the field, for turns out of alternation, empty user turns, a rating
// off the scale, a second rating by one person, two names of people that differ in upper and lower case alone, and rows of attempts that do
// not exist.
std::vector<Attempt> read_attempts(const std::filesystem::path& file);

// A log that grows, held by one process at a time (LockedError). A last line that a kill cut off is finished where it is whole JSON; else
// it is taken off, with a warning that shows it. DataError as read_attempts().
class AttemptLog {
 public:
  explicit AttemptLog(const std::filesystem::path& file);

  // UsageError, naming --person, for a blank name and for one that the log writes with other capitals.
  void require_person(const std::string& name) const;

  // Appends the rows and returns when all are on disk. std::invalid_argument, with nothing written, for a row that read_attempts() would
  // refuse.
  void record(const std::vector<nlohmann::json>& rows);
  const std::vector<Attempt>& attempts() const { return attempts_; }
  int64_t next() const { return std::ssize(attempts_); }  // the number of a new attempt

 private:
  std::filesystem::path file_;
  core::FileLock lock_;
  std::vector<Attempt> attempts_;
  annotation::Raters raters_;
  std::optional<core::RowLog> rows_;
};

}  // namespace keel::red_team
