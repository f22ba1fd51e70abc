#include "policy/logprobs.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/nonzero.h>

#include "core/interrupt.h"
#include "runtime/parallel.h"

namespace keel::policy {

void check_ids(const Llama& model, const std::vector<core::Ids>& rows) {
  for (const auto& row : rows) {
    TORCH_CHECK(static_cast<int64_t>(row.size()) <= model.config.max_position_embeddings, "[policy] a sequence of ", row.size(),
                " tokens is longer than the model's context of ", model.config.max_position_embeddings);
    for (const int64_t id : row)
      TORCH_CHECK(id >= 0 && id < model.config.vocab_size, "[policy] id ", id, " lies outside the vocabulary 0..",
                  model.config.vocab_size - 1, "; was the text encoded with another tokenizer?");
  }
}

std::vector<std::vector<float>> sequence_logprobs(const Llama& model, const std::vector<core::Ids>& rows, double temperature,
                                                  int64_t batch_tokens) {
  const at::NoGradGuard no_grad;
  check_ids(model, rows);
  std::vector<std::vector<float>> result(rows.size());
  const auto batches = runtime::batches_by_length(rows, batch_tokens);
  runtime::for_each_piece(std::ssize(batches), [&](int64_t piece) {
    std::vector<size_t> batch = batches[static_cast<size_t>(piece)];
    std::erase_if(batch, [&](size_t row) { return rows[row].size() < 2; });  // no id is predicted
    if (batch.empty()) return;
    core::stop_if_interrupted("computing log-probabilities");
    std::vector<core::Ids> group;
    for (const size_t row : batch)
      group.push_back(rows[row]);
    const runtime::TokenBatch tokens = runtime::pad_right(group);
    const at::Tensor hidden = hidden_states(model, tokens);
    for (size_t b = 0; b < batch.size(); ++b) {
      const auto length = static_cast<int64_t>(group[b].size());
      const auto row = static_cast<int64_t>(b);
      const at::Tensor states = hidden.select(0, row).narrow(0, 0, length - 1);
      const at::Tensor logprobs =
          state_logprobs(model, states, tokens.ids.select(0, row).narrow(0, 1, length - 1), temperature).contiguous();
      result[batch[b]].assign(logprobs.const_data_ptr<float>(), logprobs.const_data_ptr<float>() + logprobs.numel());
    }
  });
  return result;
}

at::Tensor masked_logprobs(const Llama& model, const runtime::TargetBatch& batch, double temperature) {
  const at::Tensor hidden = hidden_states(model, batch.tokens);
  const at::Tensor places = at::nonzero(batch.loss_mask.reshape({-1})).squeeze(-1);
  const at::Tensor kept = hidden.reshape({-1, hidden.size(-1)}).index_select(0, places);
  return state_logprobs(model, kept, batch.targets.reshape({-1}).index_select(0, places), temperature);
}

}  // namespace keel::policy
