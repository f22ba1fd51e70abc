#include "pipelines/cli/common/options.h"

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <algorithm>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/json.h"
#include "core/log.h"
#include "pipelines/run/manifest.h"
#include "policy/base_model.h"
#include "policy/lora.h"

namespace keel::pipelines::cli::common {
namespace {

// A command of CLI11 has no place for them.
std::map<const CLI::App*, std::vector<std::string>>& settings_by_command() {
  static std::map<const CLI::App*, std::vector<std::string>> settings;
  return settings;
}

}  // namespace

void add_common_options(CLI::App& command, Invocation& invocation) {
  command.add_option("--config", invocation.config, "JSON file (comments allowed) with fields of this command")->type_name("FILE");
  command.add_option("--set", invocation.set, "one field, e.g. --set schedule.learning_rate=1e-3; repeats")
      ->type_name("KEY=VALUE")
      ->expected(1)
      ->take_all()
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  command.add_option("--device", invocation.device, "cpu, cuda or cuda:N")->capture_default_str()->each([&invocation](const std::string&) {
    invocation.device_given = true;
  });
  command.add_option("--precision", invocation.precision, "products in fp32 or bf16, which not every CPU has")
      ->capture_default_str()
      ->each([&invocation](const std::string&) { invocation.precision_given = true; });
  command.add_option("--threads", invocation.threads, "compute threads; 0 = all cores")
      ->check(CLI::Range(0, 1024))
      ->each([&invocation](const std::string&) { invocation.threads_given = true; });
  command.add_option("--seed", invocation.seed, "seed of every random draw")
      ->capture_default_str()
      ->check(CLI::Range(uint64_t{0}, uint64_t{INT64_MAX}))  // the range of a recipe's "seed"
      ->each([&invocation](const std::string&) { invocation.seed_given = true; });
  if (CLI::Option* out = command.get_option_no_throw("--out"); out != nullptr)
    out->check([](const std::string& name) {
      return name.empty() ? std::string("the name is empty; name a place, or leave the option out") : "";
    });
  command.add_option("--log-level", invocation.log_level, "debug, info, warn, error or off")->capture_default_str();
}

void configure(const core::Fields& fields, const Invocation& invocation) {
  std::vector<std::string> problems;
  if (!invocation.config.empty()) core::assign_file(fields, invocation.config, problems);
  for (const auto& setting : invocation.set)
    core::assign_setting(fields, setting, problems);
  core::throw_if_any(std::move(problems));
}

void add_base(CLI::App& command, Invocation& invocation) {
  command
      .add_option("--base", invocation.base,
                  "base model of the PEFT adapters among the model folders; the one that adapter_config.json names when left out")
      ->type_name("DIR");
}

void use_base(const Invocation& invocation, const std::vector<std::string>& folders) {
  if (!invocation.base.empty() && std::ranges::none_of(folders, policy::is_adapter))
    throw core::UsageError("--base: no model folder given is a PEFT adapter (adapter_config.json), so nothing reads it; leave it out");
  policy::use_base(invocation.base);
}

void check_output(const std::string& out, const std::vector<std::string>& inputs) {
  if (out.empty()) return;
  for (const auto& input : inputs)
    if (std::error_code none; std::filesystem::equivalent(out, input, none) && !none)
      throw core::UsageError(fmt::format("--out {} is a file that this command reads; name another", out));
  run::check_outside_results(out);
}

void add_render_policy(CLI::App& command, inference::RenderPolicy& policy, const std::string& fate) {
  command
      .add_option("--max-tokens", policy.max_tokens,
                  fmt::format("longest dialogue, the answer included; {}; 0 = the model's context. Left out: the model folder's own", fate))
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 40));
  command.add_flag("--drop-oldest-turns,!--keep-turns", policy.drop_oldest_turns,
                   "shorten longer prompts by their oldest turns, or do not. Left out: as the model folder says");
  command.add_flag("--allow-tags", policy.allow_tags, "keep chat-format tags in messages as plain text instead of refusing them");
}

inference::RenderPolicy overridden(const CLI::App& command, const inference::RenderPolicy& given, inference::RenderPolicy limit) {
  if (command.count("--max-tokens") > 0) limit.max_tokens = given.max_tokens;
  if (command.count("--drop-oldest-turns") > 0) limit.drop_oldest_turns = given.drop_oldest_turns;
  limit.allow_tags = given.allow_tags;
  return limit;
}

policy::SamplingConfig sampling_within(policy::SamplingConfig sampling, int64_t max_tokens) {
  const bool chosen = sampling.max_new_tokens != policy::SamplingConfig{}.max_new_tokens;
  if (chosen || max_tokens < 2 || sampling.max_new_tokens < max_tokens) return sampling;
  sampling.max_new_tokens = max_tokens / 2;
  core::log_info(fmt::format("answers have at most {} tokens, half of the {} that prompt and answer may have together (--max-new-tokens)",
                             sampling.max_new_tokens, max_tokens));
  return sampling;
}

void add_sampling_options(CLI::App& command, policy::SamplingConfig& sampling, std::vector<std::string>& settings) {
  const auto setting = [&settings](const std::string& key) {
    return [&settings, key](const std::string& value) { settings.push_back(key + "=" + value); };
  };
  command.add_option("--temperature", sampling.temperature, "divides the logits; 0 = greedy")
      ->capture_default_str()
      ->each(setting("temperature"));
  command.add_option("--top-p", sampling.top_p, "nucleus mass; 1 = off")->capture_default_str()->each(setting("top_p"));
  command.add_option("--max-new-tokens", sampling.max_new_tokens, "longest answer in tokens")
      ->capture_default_str()
      ->each(setting("max_new_tokens"));
}

void describe_fields(CLI::App& command, const core::Fields& fields, const std::string& heading) {
  command.footer(heading + ":\n" + core::help_text(fields));
  std::vector<std::string>& names = settings_by_command()[&command];
  for (const core::Field& field : fields.list())
    names.push_back(field.name);
}

std::vector<std::string> setting_names(const CLI::App& command) {
  const auto& known = settings_by_command();
  const auto found = known.find(&command);
  return found == known.end() ? std::vector<std::string>{} : found->second;
}

}  // namespace keel::pipelines::cli::common
