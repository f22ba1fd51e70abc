#include "pipelines/recipe/versions.h"

#include <fmt/format.h>

#include <algorithm>

namespace keel::pipelines::recipe {
namespace {

std::string numbered(const std::string& stage, int64_t version) {
  return version == 1 ? stage : fmt::format("{}{}", stage, version);
}

}  // namespace

std::vector<Method> methods_of(const Recipe& recipe) {
  std::vector<Method> methods;
  for (const std::string& name : recipe.versions)
    methods.push_back(core::named<Method>(name));
  return methods;
}

bool from_sandbox(const Recipe& recipe) {
  return recipe.data.source == DataSource::sandbox;
}

bool has_gatt(const Recipe& recipe) {
  return recipe.gatt.from_version > 0;
}

bool has_distillation(const Recipe& recipe) {
  return recipe.distill.from_version > 0;
}

bool gives_prompts(const Recipe& recipe, int64_t batch) {
  if (has_source(recipe.data, SourceKind::prompts, batch)) return true;
  for (int64_t earlier = 1; earlier < batch; ++earlier)
    if (has_source(recipe.data, SourceKind::prompts, earlier)) return false;
  return has_source(recipe.data, SourceKind::helpfulness, batch) || has_source(recipe.data, SourceKind::safety, batch);
}

bool begins_with(const Recipe& recipe, SourceKind kind) {
  if (!from_sandbox(recipe)) return has_source(recipe.data, kind, 1);
  return kind != SourceKind::public_pairs || recipe.preferences.public_pairs > 0;
}

Gold gold_of(const Recipe& recipe) {
  if (from_sandbox(recipe)) return Gold::sandbox;
  return recipe.data.gold_share > 0 ? Gold::models : Gold::none;
}

std::vector<Version> versions_of(const Recipe& recipe) {
  const bool sandbox = from_sandbox(recipe);
  std::vector<Version> versions;
  bool any_ppo = false;
  for (const Method method : methods_of(recipe)) {
    const int64_t n = std::ssize(versions) + 1;
    const bool collects = n == 1 ? sandbox : recipe.preferences.annotator != Annotator::none;
    const auto gives = [&](SourceKind kind) { return !sandbox && has_source(recipe.data, kind, n); };
    const auto has_pairs = [&](SourceKind kind) { return collects || gives(kind); };
    const bool gives_pairs = gives(SourceKind::helpfulness) || gives(SourceKind::safety) || gives(SourceKind::public_pairs);
    const auto reward_model = [&](SourceKind kind, std::string Version::*of_version) {
      return n == 1 || has_pairs(kind) ? numbered(fmt::format("reward_{}", core::name_of(kind)), n) : versions.back().*of_version;
    };
    Version version{
        .number = n,
        .prompts = n == 1 ? "data" : numbered("prompts", n),
        .data = n == 1 || gives_pairs || gives(SourceKind::prompts) ? numbered("data", n) : "",
        .gives_pairs = gives_pairs,
        .comparisons = collects ? numbered("comparisons", n) : "",
        .preferences = collects ? numbered("preferences", n) : "",
        .helpfulness = reward_model(SourceKind::helpfulness, &Version::helpfulness),
        .safety = reward_model(SourceKind::safety, &Version::safety),
        .gatt = has_gatt(recipe) && n >= recipe.gatt.from_version && method != Method::reward ? numbered("gatt", n) : "",
        .distill = has_distillation(recipe) && n >= recipe.distill.from_version && method != Method::reward ? numbered("distill", n) : "",
        .rejection = method == Method::reward ? "" : fmt::format("rs{}", n),
        .ppo = {},
        .newest = n == 1 ? "sft" : versions.back().model(),
        .before = n == 1   ? ""
                  : n == 2 ? "sft"
                           : versions[versions.size() - 2].model()};
    if (method == Method::ppo) version.ppo = any_ppo ? fmt::format("ppo{}", n) : "ppo";
    any_ppo = any_ppo || method == Method::ppo;
    versions.push_back(std::move(version));
  }
  return versions;
}

std::vector<std::string> batches_until(const std::vector<Version>& versions, const Version& version) {
  std::vector<std::string> batches;
  for (const auto& earlier : versions)
    if (earlier.number <= version.number) {
      if (earlier.gives_pairs) batches.push_back(earlier.data);
      if (!earlier.preferences.empty()) batches.push_back(earlier.preferences);
    }
  return batches;
}

std::string model_of_version_before(const std::vector<Version>& versions, const std::string& stage) {
  for (size_t i = 1; i < versions.size(); ++i)
    if (!stage.empty() && (stage == versions[i].rejection || stage == versions[i].ppo)) return versions[i - 1].model();
  return {};
}

bool has_general_reward(const Recipe& recipe) {
  return begins_with(recipe, SourceKind::public_pairs);
}

std::vector<std::pair<std::string, std::string>> run_models(const Recipe& recipe) {
  const std::string start = from_sandbox(recipe) ? "base" : "";
  std::vector<std::pair<std::string, std::string>> models = {{"base", start}, {"sft", "sft"}};
  if (!recipe.sft.enabled) models = {{"sft", start}};
  for (const auto& version : versions_of(recipe))
    for (const auto& stage : {version.rejection, version.ppo})
      if (!stage.empty()) models.emplace_back(stage, stage);
  return models;
}

std::vector<std::pair<std::string, std::string>> run_reward_models(const Recipe& recipe) {
  const Version newest = versions_of(recipe).back();
  std::vector<std::pair<std::string, std::string>> models = {{"helpfulness", newest.helpfulness}, {"safety", newest.safety}};
  if (has_general_reward(recipe)) models.emplace_back("general", kGeneralReward);
  return models;
}

}  // namespace keel::pipelines::recipe
