#include "policy/language_model_training.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/sum.h>

#include <algorithm>
#include <numeric>

#include "policy/logprobs.h"
#include "policy/lora.h"
#include "policy/packed_model.h"
#include "runtime/dist/ranks.h"
#include "runtime/parallel.h"

namespace keel::policy {
namespace {

runtime::TargetBatch pack_rows(const std::vector<core::TokenSequence>& sequences, const RowPlan& rows, size_t begin, size_t end) {
  std::vector<std::vector<const core::TokenSequence*>> batch;
  for (size_t row = begin; row < end; ++row) {
    batch.emplace_back();
    for (const int64_t index : rows[row])
      batch.back().push_back(&sequences[static_cast<size_t>(index)]);
  }
  return runtime::pack(batch);
}

}  // namespace

std::vector<std::string> problems_without_held_out(const BatchConfig& batch) {
  if (batch.validate_every == 0) return {};
  return {"batch.validate_every: nothing reads it without held-out rows; give --validation FILE, or leave it out"};
}

double mean_loss(const Llama& model, const std::vector<core::TokenSequence>& sequences, const BatchConfig& config) {
  const at::NoGradGuard no_grad;
  const runtime::OneWorkerOn one(model.embedding.device());
  std::vector<int64_t> lengths;
  for (const auto& sequence : sequences)
    lengths.push_back(static_cast<int64_t>(sequence.ids.size()));
  const RowPlan rows = runtime::plan_rows(lengths, config.row_tokens);
  const auto micro_rows = static_cast<size_t>(config.micro_rows);
  const size_t pieces = (rows.size() + micro_rows - 1) / micro_rows;
  struct Sum {
    double loss = 0;
    int64_t targets = 0;
  };
  std::vector<Sum> sums(pieces);
  runtime::for_each_own_piece(std::ssize(sums), [&](int64_t piece) {
    const auto at = static_cast<size_t>(piece);
    const size_t begin = at * micro_rows;
    const at::Tensor logprobs = masked_logprobs(model, pack_rows(sequences, rows, begin, std::min(rows.size(), begin + micro_rows)));
    sums[at] = {.loss = -logprobs.sum(at::kDouble).item<double>(), .targets = logprobs.numel()};
  });
  runtime::dist::share(sums);
  Sum all;
  for (const Sum& sum : sums)
    all.loss += sum.loss, all.targets += sum.targets;
  TORCH_CHECK(all.targets > 0, "[policy.mean_loss] no target counts: every loss mask is false");
  return all.loss / static_cast<double>(all.targets);
}

runtime::TrainingResult train_language_model(const Llama& given, const LanguageModelJob& job, const std::filesystem::path& folder) {
  const Llama model = with_gradient_checkpointing(given, job.batch.gradient_checkpointing);
  const auto batch_rows = static_cast<size_t>(job.batch.batch_rows), micro_rows = static_cast<size_t>(job.batch.micro_rows);
  for (const auto* sequences : {&job.sequences, &job.validation})
    for (const auto& sequence : *sequences)
      check_ids(model, {sequence.ids});
  const runtime::Parameters adapters = lora_parameters(model), weights = adapters.empty() ? parameters(model) : adapters;
  const auto accumulate = [&](int64_t step) -> runtime::Measured {
    const size_t first = static_cast<size_t>(step) * batch_rows, last = std::min(job.rows.size(), first + batch_rows);
    std::vector<runtime::TargetBatch> parts;
    int64_t targets = 0;
    for (size_t begin = first; begin < last; begin += micro_rows) {
      parts.push_back(pack_rows(job.sequences, job.rows, begin, std::min(last, begin + micro_rows)));
      targets += parts.back().loss_mask.sum().item<int64_t>();
    }
    TORCH_CHECK(targets > 0, "[policy.", job.label, "] batch ", step, " has no target: every loss mask in it is false");
    const auto losses = runtime::accumulate_gradients<double>(weights, std::ssize(parts), [&](int64_t part, double& measured) {
      const at::Tensor loss = -masked_logprobs(model, parts[static_cast<size_t>(part)]).sum() / static_cast<double>(targets);
      measured = loss.item<double>();
      return loss;
    });
    const double loss = std::accumulate(losses.begin(), losses.end(), 0.0);
    return {.loss = loss, .metrics = {{"loss", loss}, {"tokens", static_cast<double>(targets)}}};
  };

  const runtime::OneWorker one(threads_share(model));
  runtime::TrainingJob training{.label = job.label,
                                .steps = static_cast<int64_t>((job.rows.size() + batch_rows - 1) / batch_rows),
                                .parameters = weights,
                                .optimizer = job.optimizer,
                                .schedule = job.schedule,
                                .accumulate = accumulate,
                                .validate = {},
                                .validate_every = job.batch.validate_every};
  if (!job.validation.empty())
    training.validate = [&]() -> runtime::Measured {
      const double loss = mean_loss(model, job.validation, job.batch);
      return {.loss = loss, .metrics = {{"eval_loss", loss}}};
    };
  return runtime::run_training(training, folder);
}

}  // namespace keel::policy
