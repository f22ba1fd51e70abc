#include "pipelines/steps/step.h"

#include <algorithm>
#include <stdexcept>

#include "core/files.h"
#include "inference/model_folder.h"
#include "inference/remote_reward.h"

namespace keel::pipelines::steps {

Source output_of(std::string stage, fs::path file) {
  return {.stage = std::move(stage), .path = std::move(file), .outside = {}};
}

Source from_outside(std::string name, fs::path path) {
  return {.stage = {}, .path = std::move(path), .outside = std::move(name)};
}

bool has_role(const Inputs& inputs, const std::string& role) {
  return std::any_of(inputs.begin(), inputs.end(), [&](const Input& input) { return input.role == role; });
}

fs::path Context::at(const std::string& role) const {
  const auto found = all(role);
  if (found.size() != 1)
    throw std::out_of_range("[steps.Context] the role \"" + role + "\" has " + std::to_string(found.size()) + " inputs");
  return found.front();
}

fs::path Context::maybe(const std::string& role) const {
  return all(role).empty() ? fs::path() : at(role);
}

std::vector<fs::path> Context::all(const std::string& role) const {
  std::vector<fs::path> found;
  for (const auto& [name, path] : inputs_)
    if (name == role) found.push_back(path);
  return found;
}

run::Stage as_stage(const Step& step, const std::map<std::string, std::string>& digests) {
  run::Stage stage{.name = step.name,
                   .schema_version = step.schema_version,
                   .inputs = {},
                   .roles = {},
                   .config = step.settings,
                   .external = {},
                   .run = nullptr,
                   .together = step.together,
                   .scratch = {"ckpt"}};
  for (const auto& [role, source] : step.inputs) {
    if (source.stage.empty()) {
      const auto digest = digests.find(source.outside);
      if (digest == digests.end()) continue;
      stage.external.insert(*digest);
      stage.roles.push_back(role + ": " + source.outside);
    } else {
      if (std::find(stage.inputs.begin(), stage.inputs.end(), source.stage) == stage.inputs.end()) stage.inputs.push_back(source.stage);
      stage.roles.push_back(role + ": " + (fs::path(source.stage) / source.path).string());
    }
  }
  stage.run = [step](const run::StageContext& context) {
    std::vector<std::pair<std::string, fs::path>> inputs;
    for (const auto& [role, source] : step.inputs)
      inputs.emplace_back(role, source.stage.empty()  ? source.path
                                : source.path.empty() ? context.inputs.at(source.stage)
                                                      : context.inputs.at(source.stage) / source.path);
    step.run(Context(context.work, context.seed, std::move(inputs)));
  };
  return stage;
}

std::string digest_of(const fs::path& path, core::DigestCache& digests) {
  if (inference::is_remote(path)) return inference::RewardClient(path.string()).digest();
  return fs::is_directory(path) ? inference::model_digest(path, digests) : digests.sha256(path);
}

}  // namespace keel::pipelines::steps
