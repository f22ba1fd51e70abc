#include "policy/pretrain.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "core/error.h"
#include "core/rng.h"

namespace keel::policy {

std::vector<std::string> problems_of(const PretrainConfig& config) {
  std::vector<std::string> problems;
  core::add_problems(problems, "schedule.", runtime::problems_of(config.schedule));
  return problems;
}

std::vector<core::TokenSequence> split_document(const core::Ids& ids, int64_t row_tokens) {
  std::vector<core::TokenSequence> parts;
  for (size_t begin = 0; begin < ids.size(); begin += static_cast<size_t>(row_tokens)) {
    const size_t end = std::min(ids.size(), begin + static_cast<size_t>(row_tokens));
    const core::Ids part(ids.begin() + static_cast<std::ptrdiff_t>(begin), ids.begin() + static_cast<std::ptrdiff_t>(end));
    parts.push_back({.ids = part, .loss_mask = std::vector<bool>(part.size(), true)});
  }
  return parts;
}

void weigh_sources(std::vector<Source>& sources, const std::vector<core::TokenSequence>& sequences,
                   const std::vector<std::string>& upsample) {
  for (Source& source : sources) {
    source.weight = 0;
    for (const int64_t i : source.sequences)
      source.weight += static_cast<double>(sequences[static_cast<size_t>(i)].ids.size());
  }
  std::vector<std::string> problems, names;
  for (const Source& source : sources)
    names.push_back(source.name);
  for (const std::string& entry : upsample) {
    const size_t equals = std::min(entry.rfind('='), entry.size());
    const auto source = std::find(names.begin(), names.end(), entry.substr(0, equals)) - names.begin();
    char* end = nullptr;
    const std::string text = entry.substr(std::min(equals + 1, entry.size()));
    const double factor = std::strtod(text.c_str(), &end);
    if (text.empty() || *end != 0 || !std::isfinite(factor) || factor < 0)
      problems.push_back(fmt::format("upsample: an entry must be \"source=factor\" with a factor of at least 0, got \"{}\"", entry));
    else if (source == std::ssize(names))
      problems.push_back(
          fmt::format("upsample: the corpus has no source \"{}\"; it has {}", entry.substr(0, equals), fmt::join(names, ", ")));
    else
      sources[static_cast<size_t>(source)].weight *= factor;
  }
  core::throw_if_any(std::move(problems));
}

RowPlan plan_mixture(const std::vector<core::TokenSequence>& sequences, const std::vector<Source>& sources, const PretrainConfig& config,
                     uint64_t seed) {
  struct Draw {
    const Source* source;
    std::vector<int64_t> order;
    size_t next = 0;
    uint64_t round = 0;
    double tokens = 0;
  };
  std::vector<Draw> draws;
  for (const auto& source : sources)
    if (source.weight > 0 && !source.sequences.empty()) draws.push_back({.source = &source, .order = {}});
  TORCH_CHECK(!draws.empty(), "[policy.pretrain] no source has both documents and a positive weight");

  // The plan is held in memory: 2e12 tokens would take terabytes.
  constexpr int64_t kMostTokens = 100'000'000'000;
  if (config.tokens > kMostTokens)
    throw core::ConfigError(
        {fmt::format("tokens must be at most {} on one machine, got {}; set the budget of this run", kMostTokens, config.tokens)});
  std::vector<int64_t> order, lengths;
  for (int64_t total = 0; total < config.tokens;) {
    auto& draw = *std::min_element(draws.begin(), draws.end(),
                                   [](const Draw& a, const Draw& b) { return a.tokens / a.source->weight < b.tokens / b.source->weight; });
    if (draw.next == draw.order.size()) {
      draw.order =
          core::permutation(static_cast<int64_t>(draw.source->sequences.size()), seed, "pretrain." + draw.source->name, draw.round++);
      draw.next = 0;
    }
    const int64_t index = draw.source->sequences[static_cast<size_t>(draw.order[draw.next++])];
    const auto length = static_cast<int64_t>(sequences[static_cast<size_t>(index)].ids.size());
    TORCH_CHECK(length > 0, "[policy.pretrain] document ", index, " of source ", draw.source->name, " holds no tokens; drop it");
    draw.tokens += static_cast<double>(length);
    total += length;
    order.push_back(index);
    lengths.push_back(length);
  }
  RowPlan rows = runtime::plan_rows(lengths, config.batch.row_tokens);
  for (auto& row : rows)
    for (auto& place : row)
      place = order[static_cast<size_t>(place)];
  return rows;
}

runtime::TrainingResult train_pretrain(const Llama& model, const std::vector<core::TokenSequence>& sequences,
                                       const std::vector<Source>& sources, const std::vector<core::TokenSequence>& validation,
                                       const PretrainConfig& config, uint64_t seed, const std::filesystem::path& folder) {
  return train_language_model(model,
                              {.label = "pretrain",
                               .sequences = sequences,
                               .rows = plan_mixture(sequences, sources, config, seed),
                               .validation = validation,
                               .batch = config.batch,
                               .optimizer = config.optimizer,
                               .schedule = config.schedule},
                              folder);
}

}  // namespace keel::policy
