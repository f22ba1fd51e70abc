// A setting that nothing reads is a mistake; so is one of which no test asks what it changes.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "core/config.h"
#include "support/test_plain.h"

namespace keel::test {

// Every field of Config has a setting ("kl.target=3") in one of the lists of a test, or is named itself in `elsewhere`, whose reason the
// test gives beside it.
template <class Config>
void check_every_field_is_asked(const std::vector<std::string>& settings, const std::vector<std::string>& elsewhere) {
  std::set<std::string> asked(elsewhere.begin(), elsewhere.end());
  for (const std::string& setting : settings)
    asked.insert(setting.substr(0, setting.find('=')));
  Config config;
  const auto fields = core::fields_of(config);
  for (const core::Field& field : fields.list()) {
    INFO(field.name);
    CHECK(asked.contains(field.name));
  }
}

}  // namespace keel::test
