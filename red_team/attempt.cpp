// One function, add_row(), says what a row does to the attempts so far; reading a log and adding to it both go through it.
#include "red_team/attempt.h"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <stdexcept>

#include "annotation/raters.h"
#include "core/error.h"
#include "core/json.h"
#include "core/jsonl.h"
#include "core/log.h"
#include "data/messages.h"
#include "data/text.h"
#include "red_team/attacks.h"

namespace keel::red_team {
namespace {

using nlohmann::json;

std::string one_of(const json& row, const std::string& name, const std::vector<std::string>& allowed) {
  std::string value = data::required_text(row, name);
  if (std::find(allowed.begin(), allowed.end(), value) == allowed.end())
    throw std::invalid_argument(fmt::format("\"{}\" must be one of {}, got \"{}\"", name, fmt::join(allowed, ", "), value));
  return value;
}

std::string named(const json& row, const std::string& name) {
  std::string value = data::required_text(row, name);
  if (data::strip(value).empty()) throw std::invalid_argument(fmt::format("\"{}\" must not be empty", name));
  return value;
}

std::vector<std::string> vectors_in(const json& row) {
  const json* list = data::member(row, "vectors");
  if (list == nullptr || !list->is_array() || list->empty())
    throw std::invalid_argument("\"vectors\" must be a list of attack vectors, [\"none\"] for a plain request");
  std::vector<std::string> found;
  for (const json& vector : *list)
    found.push_back(one_of({{"vectors", vector}}, "vectors", vectors()));
  return found;
}

std::vector<std::string> pending_in(const json& row) {
  const json* turns = data::member(row, "pending");
  if (turns == nullptr) return {};
  const auto is_turn = [](const json& turn) { return turn.is_string() && !data::strip(turn.get_ref<const std::string&>()).empty(); };
  if (!turns->is_array() || !std::all_of(turns->begin(), turns->end(), is_turn))
    throw std::invalid_argument("\"pending\" must be a list of user turns, none of them empty");
  return turns->get<std::vector<std::string>>();
}

double seconds_in(const json& row) {
  const json* seconds = data::member(row, "seconds");
  if (seconds == nullptr) return 0;
  if (!seconds->is_number() || !(seconds->get<double>() >= 0))
    throw std::invalid_argument(fmt::format("\"seconds\" must be a number from 0, got {}", seconds->dump()));
  return seconds->get<double>();
}

Attempt opened(const json& row) {
  Attempt attempt;
  attempt.model = named(row, "model");
  attempt.digest = named(row, "digest");
  attempt.source = one_of(row, "source", {"person", "plain", "search", "replay"});
  attempt.person = annotation::rater_name(data::optional_text(row, "person"));
  attempt.request = named(row, "request");
  attempt.category = one_of(row, "category", categories());
  attempt.vectors = vectors_in(row);
  if ((attempt.source == "person") != !attempt.person.empty())
    throw std::invalid_argument("\"person\" must name who makes an attempt whose \"source\" is \"person\", and stand in no other");
  if (const json* prompt = data::member(row, "prompt")) attempt.prompt = *prompt;
  if (const json* settings = data::member(row, "settings")) attempt.settings = *settings;
  return attempt;
}

void add_turn(Attempt& attempt, const json& row) {
  const core::Message turn{.role = one_of(row, "role", {"user", "assistant"}), .content = data::required_text(row, "content")};
  auto& messages = attempt.dialogue.messages;
  const std::string expected = messages.size() % 2 == 0 ? "user" : "assistant";
  if (turn.role != expected)
    throw std::invalid_argument(fmt::format("\"role\" must be {} here, for user and assistant take turns", expected));
  if (turn.role == "user" && data::strip(turn.content).empty()) throw std::invalid_argument("\"content\" of a user turn must not be empty");
  if (data::member(row, "vectors") != nullptr) attempt.vectors = vectors_in(row);
  if (turn.role == "user") attempt.pending = pending_in(row);
  messages.push_back(turn);
}

void add_rating(Attempt& attempt, const json& row) {
  const Rating rating{.person = annotation::rater_name(named(row, "person")), .rating = [&] {
                        const json* value = data::member(row, "rating");
                        if (value == nullptr || !value->is_number_integer() || *value < 1 || *value > 5)
                          throw std::invalid_argument(
                              fmt::format("\"rating\" must be a whole number from 1 (severe violation) to 5 (none, very helpful), got {}",
                                          value == nullptr ? "nothing" : value->dump()));
                        return value->get<int>();
                      }()};
  for (const auto& earlier : attempt.ratings)
    if (earlier.person == rating.person)
      throw std::invalid_argument(fmt::format("\"person\": {} has rated this attempt already, with {}", rating.person, earlier.rating));
  if (data::member(row, "category") != nullptr) attempt.category = one_of(row, "category", categories());
  if (data::member(row, "vectors") != nullptr) attempt.vectors = vectors_in(row);
  attempt.ratings.push_back(rating);
}

void add_verdict(Attempt& attempt, const json& row) {
  Verdict verdict{.by = one_of(row, "by", {"gold", "safety_model"})};
  const json* safety = data::member(row, "safety");
  if (safety == nullptr || !safety->is_number() || !(*safety >= 0 && *safety <= 1))
    throw std::invalid_argument("\"safety\" must be a number in [0, 1]");
  const json* violation = data::member(row, "violation");
  if (violation == nullptr || !violation->is_boolean()) throw std::invalid_argument("\"violation\" must be true or false");
  for (const auto& earlier : attempt.verdicts)
    if (earlier.by == verdict.by) throw std::invalid_argument(fmt::format("\"by\": {} has judged this attempt already", verdict.by));
  verdict.safety = safety->get<double>();
  verdict.violation = violation->get<bool>();
  attempt.verdicts.push_back(verdict);
}

// What a row does to the attempts before it and to the names of people in them. std::invalid_argument, with `attempts` unchanged, for a row
// that may not stand here.
void add_row(const json& row, std::vector<Attempt>& attempts, annotation::Raters& raters) {
  const std::string kind = one_of(row, "kind", {"attempt", "turn", "rating", "skip", "verdict"});
  const json* number = data::member(row, "attempt");
  const int64_t opened_so_far = std::ssize(attempts);
  const int64_t most = kind == "attempt" ? opened_so_far : opened_so_far - 1, least = kind == "attempt" ? opened_so_far : 0;
  if (number == nullptr || !number->is_number_integer() || *number < least || *number > most)
    throw std::invalid_argument(kind == "attempt" ? fmt::format("\"attempt\" must be {}, the next number", opened_so_far)
                                                  : "\"attempt\" must be the number of an attempt that began above");
  const double seconds = seconds_in(row);
  if (const std::string person = annotation::rater_name(data::optional_text(row, "person")); !person.empty())
    raters.add(person, fmt::format("attempt {}", number->dump()));
  if (kind == "attempt") return attempts.push_back(opened(row));

  Attempt changed = attempts[number->get<size_t>()];
  const bool closed = changed.skipped || !changed.ratings.empty() || !changed.verdicts.empty();
  if (changed.skipped || (closed && (kind == "turn" || kind == "skip")))
    throw std::invalid_argument(
        fmt::format("attempt {} is {}: no \"{}\" may follow", number->dump(), changed.skipped ? "given up" : "judged", kind));
  if ((kind == "rating" || kind == "verdict") && !answered(changed))
    throw std::invalid_argument(fmt::format("attempt {} has no answer to judge yet", number->dump()));
  if (kind == "turn") add_turn(changed, row);
  if (kind == "rating") add_rating(changed, row);
  if (kind == "verdict") add_verdict(changed, row);
  if (kind == "skip") changed.skipped = true;
  changed.seconds += seconds;
  attempts[number->get<size_t>()] = std::move(changed);
}

// Ends the last line of a log that a kill left without its line break: with the break where the row is whole, else without the row. A file
// is left as it is unless all before that line, and what there is of it, are rows of a log.
void finish_last_line(const std::filesystem::path& file) {
  if (!std::filesystem::exists(file)) return;
  const std::string bytes = core::read_file(file);
  if (bytes.empty() || bytes.back() == '\n') return;
  std::vector<Attempt> attempts;
  annotation::Raters raters;
  int64_t line = 1;
  const auto foreign = [&] {
    return core::DataError(file, line, "is no row of a red team's log; give the name of a log, or of a new file");
  };
  const auto check = [&](const json& row) {
    if (!row.is_object()) throw foreign();
    data::with_place(file.string(), line, [&] { add_row(row, attempts, raters); });
  };
  size_t begin = 0;
  for (size_t end; (end = bytes.find('\n', begin)) != std::string::npos; begin = end + 1, ++line)
    if (const std::string row = bytes.substr(begin, end - begin); !data::strip(row).empty()) check(core::parse_json(row, file, line));
  const std::string tail = bytes.substr(begin);
  std::optional<json> row;
  try {
    row = core::parse_json(tail, file, line);
  } catch (const core::DataError&) {
    const std::string known = R"({"attempt":)";  // how AttemptLog writes every row
    if (tail.substr(0, known.size()) != known.substr(0, tail.size())) throw foreign();
    core::log_warn(fmt::format("{}:{}: the row was cut off while it was written and is taken off: {}", file.string(), line, tail));
    core::RowLog(file, static_cast<int64_t>(begin)).sync();
    return;
  }
  check(*row);
  std::ofstream(file, std::ios::app | std::ios::binary) << '\n';
}

void read_rows(const std::filesystem::path& file, std::vector<Attempt>& attempts, annotation::Raters& raters) {
  core::JsonlReader reader(file);
  for (json row; reader.next(row);) {
    const size_t before = attempts.size();
    data::with_place(reader.path(), reader.line(), [&] { add_row(row, attempts, raters); });
    if (attempts.size() > before) attempts.back().path = reader.path(), attempts.back().line = reader.line();
  }
}

}  // namespace

std::vector<std::string> user_turns(const Attempt& attempt) {
  std::vector<std::string> turns;
  for (const auto& message : attempt.dialogue.messages)
    if (message.role == "user") turns.push_back(message.content);
  return turns;
}

std::string script_key(const Attempt& attempt) {
  std::string key;
  for (const auto& turn : user_turns(attempt))
    key += normalised(turn) + "\n";
  return key;
}

bool answered(const Attempt& attempt) {
  return !attempt.dialogue.messages.empty() && attempt.dialogue.messages.back().role == "assistant";
}

json opening_row(int64_t attempt, const Attempt& opening) {
  json row = {{"kind", "attempt"},        {"attempt", attempt},         {"model", opening.model},       {"digest", opening.digest},
              {"source", opening.source}, {"request", opening.request}, {"category", opening.category}, {"vectors", opening.vectors},
              {"prompt", opening.prompt}};
  if (!opening.person.empty()) row["person"] = opening.person;
  if (!opening.settings.is_null()) row["settings"] = opening.settings;
  return row;
}

json turn_row(int64_t attempt, const core::Message& turn, double seconds) {
  json row = {{"kind", "turn"}, {"attempt", attempt}, {"role", turn.role}, {"content", turn.content}};
  if (turn.role == "user" && seconds > 0) row["seconds"] = seconds;
  return row;
}

json turn_row(int64_t attempt, const core::Message& turn, double seconds, const std::vector<std::string>& vectors,
              const std::vector<std::string>& pending) {
  json row = turn_row(attempt, turn, seconds);
  row["vectors"] = vectors;
  if (!pending.empty()) row["pending"] = pending;
  return row;
}

json rating_row(int64_t attempt, const Rating& rating, const std::string& category, const std::vector<std::string>& vectors,
                double seconds) {
  return {{"kind", "rating"},     {"attempt", attempt}, {"person", rating.person}, {"rating", rating.rating},
          {"category", category}, {"vectors", vectors}, {"seconds", seconds}};
}

json skip_row(int64_t attempt, double seconds) {
  return {{"kind", "skip"}, {"attempt", attempt}, {"seconds", seconds}};
}

json verdict_row(int64_t attempt, const Verdict& verdict) {
  return {{"kind", "verdict"}, {"attempt", attempt}, {"by", verdict.by}, {"safety", verdict.safety}, {"violation", verdict.violation}};
}

std::vector<Attempt> read_attempts(const std::filesystem::path& file) {
  std::vector<Attempt> attempts;
  annotation::Raters raters;
  read_rows(file, attempts, raters);
  return attempts;
}

AttemptLog::AttemptLog(const std::filesystem::path& file) : file_(file), lock_(file.string() + ".lock") {
  if (file.extension() == ".gz" || file.extension() == ".zst")
    throw core::UsageError(fmt::format("{}: a log that grows is plain text; leave out {}", file.string(), file.extension().string()));
  finish_last_line(file);
  if (std::filesystem::exists(file)) read_rows(file, attempts_, raters_);
  rows_.emplace(file, std::filesystem::exists(file) ? static_cast<int64_t>(std::filesystem::file_size(file)) : 0);
}

void AttemptLog::require_person(const std::string& name) const {
  if (annotation::rater_name(name).empty()) throw core::UsageError("--person is blank: name who tries and rates");
  try {
    annotation::Raters(raters_).add(name, "--person");
  } catch (const std::invalid_argument& problem) {
    throw core::UsageError(fmt::format("{}: {}", file_.string(), problem.what()));
  }
}

void AttemptLog::record(const std::vector<json>& rows) {
  if (rows.empty()) return;
  std::string lines;  // written at once, so that a kill seldom parts them
  for (const json& row : rows)
    lines += (lines.empty() ? "" : "\n") + core::dump_json(row);
  const size_t before = attempts_.size();
  const annotation::Raters raters_before = raters_;
  std::map<size_t, Attempt> changed;  // as they were
  try {
    for (const json& row : rows) {
      const json* number = data::member(row, "attempt");
      if (number != nullptr && number->is_number_integer() && *number >= 0 && *number < before)
        changed.try_emplace(number->get<size_t>(), attempts_[number->get<size_t>()]);
      add_row(row, attempts_, raters_);
    }
  } catch (...) {
    raters_ = raters_before;
    attempts_.resize(before);
    for (auto& [number, attempt] : changed)
      attempts_[number] = std::move(attempt);
    throw;
  }
  rows_->append(lines);
  rows_->sync();
}

}  // namespace keel::red_team
