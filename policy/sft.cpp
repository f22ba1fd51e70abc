#include "policy/sft.h"

#include <fmt/format.h>

#include "core/error.h"
#include "core/rng.h"

namespace keel::policy {

std::vector<std::string> problems_of(const SftConfig& config) {
  std::vector<std::string> problems;
  if (const int64_t usual = SftConfig().epochs; config.steps > 0 && config.epochs != usual)
    problems.push_back(fmt::format(
        "epochs: with steps above 0 the data is gone through until they are done, nothing reads epochs; leave it out, or at its default {}",
        usual));
  core::add_problems(problems, "schedule.", runtime::problems_of(config.schedule));
  core::add_problems(problems, "lora.", problems_of(config.lora));
  return problems;
}

std::vector<std::string> problems_with(const SftConfig& config, const LlamaConfig& shape) {
  std::vector<std::string> problems;
  core::add_problems(problems, "lora.", problems_with(config.lora, shape));
  return problems;
}

RowPlan plan_epochs(const std::vector<core::TokenSequence>& sequences, const SftConfig& config, uint64_t seed) {
  TORCH_CHECK(!sequences.empty(), "[policy.sft] there is nothing to train on");
  const auto wanted = static_cast<size_t>(config.steps) * static_cast<size_t>(config.batch.batch_rows);
  RowPlan rows;
  for (int64_t epoch = 0; config.steps > 0 ? rows.size() < wanted : epoch < config.epochs; ++epoch) {
    const std::vector<int64_t> order =
        core::permutation(static_cast<int64_t>(sequences.size()), seed, "sft.order", static_cast<uint64_t>(epoch));
    std::vector<int64_t> lengths;
    for (const int64_t i : order)
      lengths.push_back(static_cast<int64_t>(sequences[static_cast<size_t>(i)].ids.size()));
    for (auto& row : runtime::plan_rows(lengths, config.batch.row_tokens)) {
      for (auto& place : row)
        place = order[static_cast<size_t>(place)];
      rows.push_back(std::move(row));
    }
    // The plan of the whole run is held in memory.
    constexpr double kMostRows = 1e7;
    const double planned = config.steps > 0 ? static_cast<double>(config.steps) * static_cast<double>(config.batch.batch_rows)
                                            : static_cast<double>(config.epochs) * static_cast<double>(rows.size());
    if (epoch == 0 && planned > kMostRows)
      throw core::ConfigError(
          {fmt::format("epochs or steps: {:.3g} rows in all are more than the {:.0e} that one run can plan", planned, kMostRows)});
  }
  if (config.steps > 0) rows.resize(wanted);
  return rows;
}

Llama sft_start(const Llama& model, const SftConfig& config, uint64_t seed, const std::string& label) {
  core::throw_if_any(problems_with(config, model.config));
  return config.lora.rank > 0 ? with_lora(model, config.lora, seed, label + ".lora") : model;
}

runtime::TrainingResult train_sft(const Llama& model, const std::vector<core::TokenSequence>& train,
                                  const std::vector<core::TokenSequence>& validation, const SftConfig& config, uint64_t seed,
                                  const std::filesystem::path& folder, const std::string& label) {
  TORCH_CHECK((config.lora.rank > 0) != lora_parameters(model).empty(),
              "[policy.sft] a model has adapters where lora.rank is above 0 alone");
  return train_language_model(model,
                              {.label = label,
                               .sequences = train,
                               .rows = plan_epochs(train, config, seed),
                               .validation = validation,
                               .batch = config.batch,
                               .optimizer = config.optimizer,
                               .schedule = config.schedule},
                              folder);
}

}  // namespace keel::policy
