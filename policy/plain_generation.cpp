// Generation with ATen's operators: for models that the packed engine does not take, and what its tests and benchmarks compare with.
#include "policy/plain_generation.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <mutex>

#include "core/interrupt.h"
#include "policy/block.h"
#include "policy/live_answer.h"
#include "policy/logprobs.h"
#include "policy/sampling.h"
#include "runtime/parallel.h"

namespace keel::policy {
namespace {

// Keys and values of the rows still alive; slot = position, so a row's new tokens overwrite the padding after its prompt.
struct Cache {
  std::vector<at::Tensor> keys, values;  // one per layer, [B, G, S, h]
  at::Tensor lengths;                    // [B] int64, tokens stored
  int64_t longest = 0;                   // no less than any of them, known without waiting for a device
};

// Runs the prompts and returns the logits after each row's last token, [B, V] on the host.
at::Tensor prefill(const Llama& model, const runtime::TokenBatch& given, int64_t slots, Cache& cache) {
  const runtime::TokenBatch batch = runtime::moved(given, model.embedding.device());
  const int64_t rows = batch.ids.size(0), width = batch.ids.size(1);
  const Rotary turns = rotary(model.config, batch.positions);
  at::Tensor x = at::embedding(model.embedding, batch.ids);
  for (const auto& layer : model.layers)
    x = block(layer, model.config, x, turns, [&](const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
      for (auto [list, fresh] : {std::pair(&cache.keys, k), std::pair(&cache.values, v)}) {
        list->push_back(at::zeros({rows, k.size(1), slots, k.size(3)}, k.options()));
        list->back().narrow(2, 0, width).copy_(fresh);
      }
      return attention(q, k, v, {});
    });
  cache.lengths = batch.lengths.clone();
  cache.longest = width;
  const at::Tensor last = x.index({at::arange(rows, batch.lengths.options()), batch.lengths - 1});
  return logits_of(model, rms_norm(last, model.norm, model.config.rms_norm_eps)).cpu();
}

// Appends one token to every row; logits after it, [B, V] on the host, which samples: as many draws, sorts and sums as there are words are
// cheap beside a step of a model, and the same everywhere.
at::Tensor decode(const Llama& model, const at::Tensor& ids, Cache& cache) {
  const at::Tensor positions = cache.lengths.unsqueeze(-1);  // [B, 1]
  const Rotary turns = rotary(model.config, positions);
  const int64_t used = ++cache.longest;
  const at::Tensor keep = (at::arange(used, positions.options()).unsqueeze(0) <= positions).unsqueeze(1).unsqueeze(1);  // [B, 1, 1, used]
  at::Tensor x = at::embedding(model.embedding, ids.unsqueeze(-1).to(positions.device()));
  size_t index = 0;
  for (const auto& layer : model.layers) {
    at::Tensor& keys = cache.keys[index];
    at::Tensor& values = cache.values[index++];
    x = block(layer, model.config, x, turns, [&](const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
      const at::Tensor slot = positions.unsqueeze(-1).unsqueeze(-1).expand(k.sizes());
      keys.scatter_(2, slot, k);
      values.scatter_(2, slot, v);
      return attention(q, keys.narrow(2, 0, used), values.narrow(2, 0, used), keep);
    });
  }
  cache.lengths += 1;
  return logits_of(model, rms_norm(x.squeeze(1), model.norm, model.config.rms_norm_eps)).cpu();
}

void keep_rows(Cache& cache, const at::Tensor& on_host) {
  const at::Tensor rows = on_host.to(cache.lengths.device());
  for (auto* list : {&cache.keys, &cache.values})
    for (auto& tensor : *list)
      tensor = tensor.index_select(0, rows);
  cache.lengths = cache.lengths.index_select(0, rows);
}

void generate_batch(const Llama& model, const std::vector<core::Ids>& prompts, std::vector<LiveAnswer> rows, const GenerationJob& job) {
  const SamplingConfig& config = job.sampling;
  const runtime::TokenBatch batch = runtime::pad_right(prompts);
  int64_t longest = 0;
  for (const auto& row : rows)
    longest = std::max(longest, row.limit);
  Cache cache;
  at::Tensor logits = prefill(model, batch, batch.ids.size(1) + longest, cache);
  for (;;) {
    core::stop_if_interrupted("generating answers");
    const at::Tensor logprobs = at::log_softmax(config.temperature > 0 ? logits / config.temperature : logits, -1);
    std::vector<double> draws;
    for (auto& row : rows)
      draws.push_back(row.alive ? row.stream.uniform() : 0.0);
    const at::Tensor ids = choose(logprobs, at::tensor(draws, at::kDouble), config);
    const at::Tensor chosen = logprobs.gather(-1, ids.unsqueeze(-1)).squeeze(-1).contiguous();
    std::vector<int64_t> alive;
    for (size_t b = 0; b < rows.size(); ++b) {
      if (!rows[b].alive) continue;
      const int64_t id = ids.const_data_ptr<int64_t>()[b];
      rows[b].alive = append(rows[b], id, chosen.const_data_ptr<float>()[b], job);
      if (rows[b].alive) alive.push_back(static_cast<int64_t>(b));
    }
    if (alive.empty()) return;
    // Finished rows leave the batch once they are a quarter of it, because shrinking the cache copies it.
    if (4 * alive.size() <= 3 * rows.size()) {
      const at::Tensor kept = at::tensor(alive, at::kLong);
      keep_rows(cache, kept);
      std::vector<LiveAnswer> remaining;
      for (const int64_t b : alive)
        remaining.push_back(rows[static_cast<size_t>(b)]);
      rows = std::move(remaining);
      logits = decode(model, ids.index_select(0, kept), cache);
    } else {
      logits = decode(model, ids, cache);
    }
  }
}

// Few answers are split among the threads instead of decoded in one batch, as long as each batch uses a weight that it reads from memory
// more than once.
int64_t rows_together(int64_t count, int64_t batch_rows) {
  constexpr int64_t kLeastRows = 16;
  const int64_t workers = runtime::worker_count(count);
  return std::min(batch_rows, std::max(kLeastRows, (count + workers - 1) / workers));
}

}  // namespace

void generate_plainly(const Llama& model, const GenerationJob& job, std::vector<core::Sample>& answers) {
  const at::NoGradGuard no_grad;
  const runtime::OneWorkerOn one(model.embedding.device());
  const auto count = std::ssize(answers);
  const int64_t batch_rows = std::min(rows_together(count, job.batch_rows), positions_at_once(model));
  std::mutex reporting;
  int64_t finished = 0;
  runtime::for_each_piece((count + batch_rows - 1) / batch_rows, [&](int64_t piece) {
    const int64_t begin = piece * batch_rows, end = std::min(count, begin + batch_rows);
    std::vector<core::Ids> batch;
    std::vector<LiveAnswer> rows;
    for (int64_t i = begin; i < end; ++i) {
      core::Sample& answer = answers[static_cast<size_t>(i)];
      batch.push_back(job.prompts[static_cast<size_t>(answer.prompt)]);
      rows.push_back(start_answer(model, job, answer));
    }
    generate_batch(model, batch, std::move(rows), job);
    const std::lock_guard lock(reporting);
    finished += end - begin;
    if (job.done) job.done(finished);
  });
}

}  // namespace keel::policy
