// Checks that every setting has an effect and that a test covers it.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "core/config.h"
#include "support/asked_fields.h"
#include "support/test.h"

namespace keel::test {

// `config` with each setting in turn ("kl.target=3"); throws core::ConfigError for an invalid one.
template <class Config>
Config with_settings(Config config, const std::vector<std::string>& settings) {
  std::vector<std::string> problems;
  for (const std::string& setting : settings)
    core::assign_setting(core::fields_of(config), setting, problems);
  core::throw_if_any(problems);
  return config;
}

// `outcome`: digest of the result of settings. Each of `changes` alone must change it; without changes it must repeat.
inline void check_each_changes(const std::function<std::string(const std::vector<std::string>&)>& outcome,
                               const std::vector<std::string>& changes) {
  const std::string plain = outcome({});
  for (const std::string& setting : changes) {
    INFO(setting);
    CHECK(outcome({setting}) != plain);
  }
  CHECK(outcome({}) == plain);
}

template <class Config>
void check_every_field_is_asked(const std::vector<std::string>& settings, const std::vector<std::string>& elsewhere) {
  CHECK(unasked_fields<Config>(settings, elsewhere) == std::vector<std::string>{});
}

}  // namespace keel::test
