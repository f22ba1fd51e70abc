// What the service says of its models, and what it asks of a policy.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "core/types.h"
#include "serve/dialects/asked.h"
#include "serve/engine.h"
#include "serve/models.h"

namespace keel::serve {

// Of log-probabilities: ids, and true where one is asked for.
core::TokenSequence sequence_of(const ServedModel& model, const dialects::Item& item);

nlohmann::json models_json(const ModelSet& set);                          // OpenAI's list
nlohmann::json model_json(const ModelSet& set, const std::string& name);  // and one of it; a name that is served

// TEI's members, of one model, and keel's own.
nlohmann::json info_json(const ModelSet& set, const std::string& name, const EngineLimits& limits, int64_t most_texts, bool truncates);
nlohmann::json metadata_of(const std::vector<std::shared_ptr<const ServedModel>>& models);  // by name

}  // namespace keel::serve
