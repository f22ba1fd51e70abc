#include "annotation/ratings.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <utility>

#include "annotation/raters.h"
#include "data/messages.h"
#include "data/table_rows.h"

namespace keel::annotation {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

// What a row says about its prompt, and the place ("file:line") that said it first.
struct Said {
  std::string value, place;
};

// An answer's position in RatingSet::answers, its first row, and whether that row is a list of anonymous ratings.
struct Known {
  size_t index = 0;
  std::string place;
  bool list = false;
};

struct Collector {
  RatingSet set;
  std::map<std::pair<std::string, std::string>, Known> answers;  // by id and model
  std::map<std::pair<std::string, std::string>, Said> prompts;   // by id and field
  Raters raters;
};

int parse_rating(const json& value, const std::string& field) {
  if (!value.is_number_integer() || value < kLowestRating || value > kHighestRating)
    throw std::invalid_argument(fmt::format("{} must be an integer from {} (severe violation) to {} (no violation, very helpful), got {}",
                                            field, kLowestRating, kHighestRating, value.dump()));
  return value.get<int>();
}

// "turns", or the user turns of "messages", as text; "" when the row has neither.
std::string parse_turns(const json& row) {
  const json* number = data::member(row, "turns");
  if (number != nullptr && (!number->is_number_integer() || *number < 1))
    throw std::invalid_argument(fmt::format("\"turns\" must be the number of user turns, 1 or more, got {}", number->dump()));
  const json* messages = data::member(row, "messages");
  if (messages == nullptr) return number == nullptr ? "" : number->dump();
  const core::Dialogue dialogue = data::parse_messages(*messages, "messages");
  data::check_roles(dialogue);
  auto counted = std::to_string(std::ranges::count(dialogue.messages, "user", &core::Message::role));
  if (number != nullptr && number->dump() != counted)
    throw std::invalid_argument(fmt::format("\"turns\" is {}, but \"messages\" has {} user turns", number->dump(), counted));
  return counted;
}

void say(Collector& all, const std::string& id, const std::string& field, const std::string& value, const std::string& place) {
  if (value.empty()) return;
  const auto [said, first] = all.prompts.try_emplace({id, field}, Said{value, place});
  if (!first && said->second.value != value)
    throw std::invalid_argument(
        fmt::format("\"{}\" of id \"{}\" is \"{}\", but \"{}\" at {}", field, id, value, said->second.value, said->second.place));
}

std::string parse_person(const json& row) {
  std::string person = rater_name(data::required_name(row, "person"));
  if (person.empty()) throw std::invalid_argument("\"person\" is blank");
  return person;
}

// `person` "" is unknown.
void add_rating(Collector& all, RatedAnswer& answer, const std::string& person, const json* value, const std::string& field,
                const std::string& place) {
  if (value == nullptr || value->is_null()) {
    ++all.set.blank;
    return;
  }
  if (!person.empty()) all.raters.add(person, place);
  const bool known = !person.empty() && std::ranges::count(answer.ratings, person, &Rating::person) > 0;
  if (known)
    throw std::invalid_argument(
        fmt::format("\"{}\" rates the answer of \"{}\" to id \"{}\" a second time", person, answer.model, answer.id));
  answer.ratings.push_back({.person = person, .value = parse_rating(*value, field)});
}

void add_row(Collector& all, const json& row, const std::string& place) {
  const std::pair key{data::required_name(row, "id"), data::required_name(row, "model")};
  for (const char* field : {"category", "vector"})
    say(all, key.first, field, data::optional_name(row, field), place);
  say(all, key.first, "turns", parse_turns(row), place);

  const json *rating = data::member(row, "rating"), *ratings = data::member(row, "ratings");
  const bool list = ratings != nullptr && ratings->is_array();
  const auto [known, first] = all.answers.try_emplace(key, Known{all.set.answers.size(), place, list});
  if (first) all.set.answers.push_back({.id = key.first, .model = key.second});
  if (!first && (list || known->second.list))
    throw std::invalid_argument(fmt::format(
        "the answer of \"{}\" to id \"{}\" has a row already, at {}; a list of ratings must hold all of an answer's, because it "
        "does not say whose they are",
        key.second, key.first, known->second.place));
  RatedAnswer& answer = all.set.answers[known->second.index];
  if (ratings == nullptr) {
    if (!row.contains("rating") && !row.contains("ratings")) throw std::invalid_argument("the row has no \"rating\" and no \"ratings\"");
    return add_rating(all, answer, rating == nullptr ? "" : parse_person(row), rating, "\"rating\"", place);
  }
  if (rating != nullptr) throw std::invalid_argument("the row has both \"rating\" and \"ratings\"; give one of them");
  if (data::member(row, "person") != nullptr)
    throw std::invalid_argument(
        "the row has both \"person\" and \"ratings\": one person gives one \"rating\"; write those of several as {\"NAME\": RATING, ...}");
  if (list) {
    for (size_t i = 0; i < ratings->size(); ++i)
      add_rating(all, answer, "", &ratings->at(i), fmt::format("element {} of \"ratings\"", i + 1), place);
  } else if (ratings->is_object()) {
    for (const auto& [key_of_person, value] : ratings->items()) {
      const std::string person = rater_name(key_of_person);
      if (person.empty()) throw std::invalid_argument(fmt::format("\"ratings\" names a person \"{}\"", key_of_person));
      add_rating(all, answer, person, &value, fmt::format("\"{}\" of \"ratings\"", person), place);
    }
  } else {
    throw std::invalid_argument(
        fmt::format("\"ratings\" must be a list of ratings or an object of them by person, got {}", ratings->dump()));
  }
}

const data::TableColumns kColumns{.needed = {"id", "model", "person", "rating"}, .integers = {"rating", "turns"}};

}  // namespace

RatingSet read_ratings(const std::vector<fs::path>& files) {
  Collector all;
  for (const auto& file : files)
    data::for_each_row(file, kColumns,
                       [&](const json& row, int64_t line) { add_row(all, row, fmt::format("{}:{}", file.string(), line)); });
  const auto said = [&](const std::string& id, const char* field) {
    const auto found = all.prompts.find({id, field});
    return found == all.prompts.end() ? std::string() : found->second.value;
  };
  for (RatedAnswer& answer : all.set.answers) {
    answer.category = said(answer.id, "category");
    answer.vector = said(answer.id, "vector");
    const std::string turns = said(answer.id, "turns");
    answer.turns = turns.empty() ? 0 : std::stoll(turns);
  }
  return std::move(all.set);
}

}  // namespace keel::annotation
