#include "policy/language_model_training.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/sum.h>

#include <algorithm>

#include "policy/logprobs.h"

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

double mean_loss(const Llama& model, const std::vector<core::TokenSequence>& sequences, const BatchConfig& config) {
  const at::NoGradGuard no_grad;
  std::vector<int64_t> lengths;
  for (const auto& sequence : sequences)
    lengths.push_back(static_cast<int64_t>(sequence.ids.size()));
  const RowPlan rows = runtime::plan_rows(lengths, config.row_tokens);
  double sum = 0;
  int64_t count = 0;
  for (size_t begin = 0; begin < rows.size(); begin += static_cast<size_t>(config.micro_rows)) {
    const size_t end = std::min(rows.size(), begin + static_cast<size_t>(config.micro_rows));
    const at::Tensor logprobs = masked_logprobs(model, pack_rows(sequences, rows, begin, end));
    sum -= logprobs.sum(at::kDouble).item<double>();
    count += logprobs.numel();
  }
  TORCH_CHECK(count > 0, "[policy.mean_loss] no target counts: every loss mask is false");
  return sum / static_cast<double>(count);
}

runtime::TrainingResult train_language_model(const Llama& model, const LanguageModelJob& job, const std::filesystem::path& folder) {
  const auto batch_rows = static_cast<size_t>(job.batch.batch_rows), micro_rows = static_cast<size_t>(job.batch.micro_rows);
  for (const auto* sequences : {&job.sequences, &job.validation})
    for (const auto& sequence : *sequences)
      check_ids(model, {sequence.ids});
  const auto accumulate = [&](int64_t step) -> core::MetricRow {
    const size_t first = static_cast<size_t>(step) * batch_rows, last = std::min(job.rows.size(), first + batch_rows);
    std::vector<runtime::TargetBatch> parts;
    int64_t targets = 0;
    for (size_t begin = first; begin < last; begin += micro_rows) {
      parts.push_back(pack_rows(job.sequences, job.rows, begin, std::min(last, begin + micro_rows)));
      targets += parts.back().loss_mask.sum().item<int64_t>();
    }
    TORCH_CHECK(targets > 0, "[policy.", job.label, "] batch ", step, " has no target: every loss mask in it is false");
    double loss = 0;
    for (const auto& part : parts) {
      const at::Tensor partial = -masked_logprobs(model, part).sum() / static_cast<double>(targets);
      partial.backward();
      loss += partial.item<double>();
    }
    return {{"loss", loss}, {"tokens", static_cast<double>(targets)}};
  };

  runtime::TrainingJob training{.label = job.label,
                                .steps = static_cast<int64_t>((job.rows.size() + batch_rows - 1) / batch_rows),
                                .parameters = parameters(model),
                                .optimizer = job.optimizer,
                                .schedule = job.schedule,
                                .accumulate = accumulate,
                                .validate = {},
                                .validate_every = job.batch.validate_every};
  if (!job.validation.empty())
    training.validate = [&]() -> core::MetricRow { return {{"eval_loss", mean_loss(model, job.validation, job.batch)}}; };
  return runtime::run_training(training, folder);
}

}  // namespace keel::policy
