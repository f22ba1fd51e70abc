// A field of which no test asks what it changes is a mistake.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "core/config.h"

namespace keel::test {

// The fields of Config that have no setting ("kl.target=3") in the lists of a test and are not named in `elsewhere`, whose reasons the
// test gives beside them.
template <class Config>
std::vector<std::string> unasked_fields(const std::vector<std::string>& settings, const std::vector<std::string>& elsewhere) {
  std::set<std::string> asked(elsewhere.begin(), elsewhere.end());
  for (const std::string& setting : settings)
    asked.insert(setting.substr(0, setting.find('=')));
  Config config;
  const auto fields = core::fields_of(config);
  std::vector<std::string> unasked;
  for (const core::Field& field : fields.list())
    if (!asked.contains(field.name)) unasked.push_back(field.name);
  return unasked;
}

}  // namespace keel::test
