#include "annotation/raters.h"

#include <fmt/format.h>

#include <stdexcept>

#include "data/text.h"

namespace keel::annotation {

std::string rater_name(const std::string& given) {
  return std::string(data::strip(given));
}

void Raters::add(const std::string& name, const std::string& place) {
  std::string lower = name;
  for (char& c : lower)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  const auto [known, is_new] = first_.try_emplace(lower, name, place);
  const auto& [first_name, first_place] = known->second;
  if (first_name != name)
    throw std::invalid_argument(
        fmt::format("\"person\" is \"{}\" here and \"{}\" at {}: write one person's name in one way", name, first_name, first_place));
}

}  // namespace keel::annotation
