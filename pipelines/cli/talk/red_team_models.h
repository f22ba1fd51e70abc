// The two kinds of models that a red team attacks, and the safety model, behind the functions of red_team/target.h.
#pragma once

#include <cstdint>
#include <string>

#include "annotation/annotation.h"
#include "inference/model_folder.h"
#include "policy/generate.h"
#include "red_team/target.h"

namespace keel::pipelines::cli::talk {

struct AnswerSettings {
  policy::SamplingConfig sampling;
  int64_t batch_rows = 64;
  uint64_t seed = 1;
};

// A model folder, loaded. `name` "" is the folder's own name. `limit` is the folder's own unless `given` overrides it.
red_team::Target folder_target(const std::string& folder, const std::string& chat, std::string name, const AnswerSettings& settings,
                               const std::function<inference::RenderPolicy(const inference::RenderPolicy&)>& limit);

// A server; its model's name is its version unless `name` is given, and its digest: another address is the same model. top_k is refused:
// OpenAI's interface has none.
red_team::Target server_target(const annotation::ChatServer& server, std::string name, const AnswerSettings& settings);

// The safety model of a folder. UsageError where its keel.json says that it was trained for helpfulness.
red_team::SafetyScore safety_score(const std::string& folder);

}  // namespace keel::pipelines::cli::talk
