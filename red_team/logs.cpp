#include "red_team/logs.h"

#include <fmt/format.h>

#include <iterator>
#include <map>
#include <string>
#include <system_error>

#include "annotation/raters.h"
#include "core/error.h"
#include "core/json.h"
#include "core/log.h"
#include "data/messages.h"

namespace keel::red_team {
namespace {

std::string place_of(const Attempt& attempt) {
  return fmt::format("{}:{}", attempt.path, attempt.line);
}

// What two logs can only have in common where one is a copy of the other: the turns of one person and the time that they took, or the
// settings and the first attempt of a search. Nothing for other attempts, for the same script may well get the same answer twice.
std::string mark_of(const Attempt& attempt) {
  if (attempt.source != "person" && attempt.settings.is_null()) return {};
  return core::dump_json({attempt.digest, attempt.source, attempt.person, attempt.request, data::messages_json(attempt.dialogue),
                          attempt.seconds, attempt.settings});
}

}  // namespace

std::vector<Attempt> read_logs(const std::vector<std::filesystem::path>& files) {
  std::vector<Attempt> all;
  std::map<std::string, std::string> places;  // of the marks of earlier logs
  annotation::Raters raters;
  for (size_t i = 0; i < files.size(); ++i) {
    std::error_code missing;  // read_attempts() says so
    for (size_t earlier = 0; earlier < i; ++earlier)
      if (std::filesystem::equivalent(files[earlier], files[i], missing))
        throw core::UsageError(
            fmt::format("{} and {} are one log, which would count twice; name it once", files[earlier].string(), files[i].string()));
    std::vector<Attempt> attempts = read_attempts(files[i]);
    if (attempts.empty()) core::log_warn(fmt::format("{} holds no attempt", files[i].string()));
    for (const auto& attempt : attempts)
      if (const auto copied = places.find(mark_of(attempt)); copied != places.end())
        throw core::DataError(
            attempt.path, attempt.line,
            fmt::format("the attempt stands at {} too, and would count twice; leave one of the logs out", copied->second));
    for (const auto& attempt : attempts) {
      data::with_place(attempt.path, attempt.line, [&] {
        if (!attempt.person.empty()) raters.add(attempt.person, place_of(attempt));
        for (const auto& rating : attempt.ratings)
          raters.add(rating.person, place_of(attempt));
      });
      if (const std::string mark = mark_of(attempt); !mark.empty()) places.emplace(mark, place_of(attempt));
    }
    all.insert(all.end(), std::make_move_iterator(attempts.begin()), std::make_move_iterator(attempts.end()));
  }
  if (all.empty()) throw core::DataError(files.at(0), 0, "holds no attempt; name another log");
  return all;
}

}  // namespace keel::red_team
