#include "rejection_sampling/config.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

namespace keel::rejection_sampling {

std::vector<std::string> problems_of(const RejectionConfig& config) {
  std::vector<std::string> problems;
  core::add_problems(problems, "sft.", policy::problems_of(config.sft));
  if (config.sft.batch.validate_every != 0)
    problems.emplace_back("sft.batch.validate_every: fine-tuning on the model's own answers has no held-out set; leave it out");
  if (!config.temperatures.empty() && config.samples % std::ssize(config.temperatures) != 0)
    problems.push_back(fmt::format("samples must be a multiple of the {} temperatures, each of which writes an equal part; got {}",
                                   config.temperatures.size(), config.samples));
  if (const policy::SamplingConfig unset; !config.temperatures.empty() && config.sampling.temperature != unset.temperature)
    problems.push_back(
        fmt::format("sampling.temperature: temperatures replaces it; leave it out, or at its default {}", unset.temperature));
  const auto& temperatures = config.temperatures;
  const int64_t each = config.samples / std::max<int64_t>(1, std::ssize(temperatures));
  const bool greedy =
      temperatures.empty() ? config.sampling.temperature == 0 : std::count(temperatures.begin(), temperatures.end(), 0.0) > 0;
  if (greedy && each > 1)
    problems.push_back(fmt::format("samples: {} answers at temperature 0 would all be equal; raise the temperature", each));
  const std::set<double> distinct(config.temperatures.begin(), config.temperatures.end());
  if (distinct.size() < config.temperatures.size()) problems.emplace_back("temperatures must differ: equal ones would draw equal answers");
  return problems;
}

}  // namespace keel::rejection_sampling
