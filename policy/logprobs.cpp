#include "policy/logprobs.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/nonzero.h>

#include <algorithm>
#include <memory>

#include "core/interrupt.h"
#include "engine/sampling.h"
#include "policy/packed_model.h"
#include "policy/row_reader.h"
#include "runtime/dist/ranks.h"
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

namespace {

// log p(id_t+1) after each position of a row, from its logits.
class PackedLogprobs {
 public:
  PackedLogprobs(const Llama& model, double temperature)
      : reader_(model, model.head), vocabulary_(model.config.vocab_size), scale_(static_cast<float>(1 / temperature)) {}

  std::vector<std::vector<float>> of(const std::vector<core::Ids>& rows) const {
    std::vector<std::vector<float>> result(rows.size());
    std::vector<core::Ids> read;  // rows with something to predict, without their last id, after which nothing comes
    std::vector<size_t> index;
    for (size_t i = 0; i < rows.size(); ++i) {
      if (rows[i].size() < 2) continue;
      read.emplace_back(rows[i].begin(), rows[i].end() - 1);
      index.push_back(i);
      result[i].resize(rows[i].size() - 1);
    }
    reader_.read(read, std::vector<int64_t>(read.size(), 0), "computing log-probabilities",
                 [&](engine::Forward& forward, std::span<const engine::Place> places) {
                   constexpr int64_t kLogitRows = 64;
                   engine::Sampler sampler(vocabulary_);
                   for (int64_t begin = 0; begin < std::ssize(places); begin += kLogitRows) {
                     const int64_t end = std::min(std::ssize(places), begin + kLogitRows);
                     const float* logits = forward.logits(begin, end);
                     for (int64_t i = begin; i < end; ++i, logits += vocabulary_) {
                       const auto [row, position] = places[static_cast<size_t>(i)];
                       const auto next = static_cast<size_t>(position) + 1;
                       result[index[row]][next - 1] = sampler.logprob(logits, scale_, rows[index[row]][next]);
                     }
                   }
                 });
    return result;
  }

 private:
  RowReader reader_;
  int64_t vocabulary_;
  float scale_;
};

std::vector<std::vector<float>> plain_logprobs(const Llama& model, const std::vector<core::Ids>& rows, double temperature,
                                               int64_t batch_tokens) {
  const at::NoGradGuard no_grad;
  const runtime::OneWorkerOn one(model.embedding.device());
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

// `compute` for rows that the ranks share out.
std::vector<std::vector<float>> by_ranks(const std::vector<core::Ids>& rows, const RowLogprobs& compute) {
  if (runtime::dist::size() == 1) return compute(rows);
  const std::vector<float> all = runtime::dist::by_parts<float>(rows, [&](const std::vector<core::Ids>& part) {
    std::vector<float> values;
    for (const auto& row : compute(part))
      values.insert(values.end(), row.begin(), row.end());
    return values;
  });
  std::vector<std::vector<float>> result;
  for (auto at = all.begin(); const core::Ids& row : rows) {
    const auto count = std::max<std::ptrdiff_t>(std::ssize(row) - 1, 0);
    result.emplace_back(at, at + count);
    at += count;
  }
  return result;
}

}  // namespace

std::vector<std::vector<float>> sequence_logprobs(const Llama& model, const std::vector<core::Ids>& rows, double temperature,
                                                  int64_t batch_tokens) {
  check_ids(model, rows);
  return by_ranks(rows, [&](const std::vector<core::Ids>& part) {
    return engine_takes(model) ? PackedLogprobs(model, temperature).of(part) : plain_logprobs(model, part, temperature, batch_tokens);
  });
}

RowLogprobs logprobs_by(const Llama& model, double temperature) {
  if (!engine_takes(model))
    return [model, temperature](const std::vector<core::Ids>& rows) { return sequence_logprobs(model, rows, temperature); };
  return [model, packed = std::make_shared<const PackedLogprobs>(model, temperature)](const std::vector<core::Ids>& rows) {
    check_ids(model, rows);
    return by_ranks(rows, [&](const std::vector<core::Ids>& part) { return packed->of(part); });
  };
}

at::Tensor masked_logprobs(const Llama& model, const runtime::TargetBatch& batch, double temperature) {
  const at::Tensor hidden = hidden_states(model, batch.tokens);
  const at::Tensor places = at::nonzero(batch.loss_mask.reshape({-1})).squeeze(-1);
  const at::Tensor kept = hidden.reshape({-1, hidden.size(-1)}).index_select(0, places.to(hidden.device()));
  return state_logprobs(model, kept, batch.targets.reshape({-1}).index_select(0, places), temperature);
}

}  // namespace keel::policy
