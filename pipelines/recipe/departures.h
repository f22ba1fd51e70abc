// Where a default of a recipe departs from the Llama 2 paper. docs/recipe.md explains every one; the report lists those that a run uses.
#pragma once

#include <string>
#include <vector>

#include "pipelines/recipe/recipe.h"

namespace keel::pipelines::recipe {

struct Departure {
  std::vector<std::string> fields;
  std::string value;  // the default, as JSON
  std::string why;    // what the paper has, with its place: the reason
};

const std::vector<Departure>& departing_defaults();

// Fields of departing_defaults() that a run of this recipe reads and leaves at their default.
std::vector<Departure> departures_of(const Recipe& recipe);

}  // namespace keel::pipelines::recipe
