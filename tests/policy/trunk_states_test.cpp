#include "policy/trunk_states.h"
#include "policy/layers.h"

#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/autograd.h>

#include <functional>
#include <map>

#include "engine/forward.h"
#include "engine/pages.h"
#include "engine/reader.h"
#include "policy/attention_weights.h"
#include "policy/generate.h"
#include "policy/layers.h"
#include "policy/lively_model.h"
#include "policy/logprobs.h"
#include "policy/lora.h"
#include "policy/packed_model.h"

using keel::core::Ids;
using keel::core::TokenSequence;
using keel::policy::hidden_states;
using keel::policy::Llama;
using keel::policy::trunk_states;
using keel::runtime::TokenBatch;

namespace {

// The same batch under a mask of its own, which the engine does not take: hidden_states() by plain operators.
TokenBatch with_mask(TokenBatch batch) {
  const int64_t rows = batch.ids.size(0), width = batch.ids.size(1);
  batch.keep = batch.segments.defined() ? keel::policy::segment_mask(batch.segments) : at::ones({rows, 1, width, width}, at::kBool).tril();
  for (size_t row = 0; row < batch.forks.size(); ++row) {
    const auto [shared, second] = batch.forks[row];
    batch.keep[static_cast<int64_t>(row)][0].narrow(0, second, width - second).narrow(1, shared, second - shared).fill_(false);
  }
  return batch;
}

// Rows whose second half is another continuation of their beginning: shared for 0, 1, 40 and 130 tokens.
TokenBatch forked_batch() {
  TokenBatch batch = keel::runtime::pad_right(keel::test::some_rows({9, 5, 120, 150}));
  batch.forks = {{0, 4}, {1, 3}, {40, 90}, {130, 140}};
  batch.positions = batch.positions.clone();
  for (int64_t row = 0; row < 4; ++row) {
    const auto [shared, second] = batch.forks[static_cast<size_t>(row)];
    const at::Tensor later = batch.positions[row].narrow(0, second, 150 - second);
    later.copy_(at::arange(shared, shared + 150 - second, at::kLong));
  }
  return batch;
}

// 1.0 where there is a token, [B, T, 1].
at::Tensor real(const TokenBatch& batch) {
  if (batch.segments.defined()) return (batch.segments >= 0).to(at::kFloat).unsqueeze(-1);
  return (at::arange(batch.ids.size(1), at::kLong).unsqueeze(0) < batch.lengths.unsqueeze(1)).to(at::kFloat).unsqueeze(-1);
}

TokenBatch padded_batch() {
  return keel::runtime::pad_right(keel::test::some_rows({3, 1, 150, 64, 65, 17}));
}

TokenBatch packed_batch() {
  std::vector<TokenSequence> sequences;
  for (const Ids& ids : keel::test::some_rows({5, 70, 1, 33, 90, 16}))
    sequences.push_back({.ids = ids, .loss_mask = std::vector<bool>(ids.size(), true)});
  return keel::runtime::pack({{&sequences[0], &sequences[1], &sequences[2]}, {&sequences[3]}, {&sequences[4], &sequences[5]}}).tokens;
}

Llama long_model(int64_t key_heads) {
  auto shape = keel::test::lively_config();
  shape.num_key_value_heads = key_heads;
  shape.max_position_embeddings = 160;
  return keel::test::lively_llama(shape);
}

// States and gradients of the weights, which learn, are within `bound` those of plain operators, and the same on any number of threads, and
// with gradient checkpointing, to the bit.
void check_against_plain(const Llama& model, const TokenBatch& batch, const std::vector<at::Tensor>& weights, double bound) {
  const at::Tensor plain = hidden_states(model, with_mask(batch)) * real(batch);
  const at::Tensor direction = at::randn(plain.sizes(), at::kFloat).mul_(real(batch));
  const auto expected = torch::autograd::grad({(plain * direction).sum()}, weights);
  at::Tensor states;
  std::vector<at::Tensor> gradients;
  for (const int threads : {1, 2, 3}) {
    at::set_num_threads(threads);
    const at::Tensor found = trunk_states(model, batch);
    CHECK_CLOSE(found, plain, bound);
    const auto now = torch::autograd::grad({(found * direction).sum()}, weights);
    for (size_t i = 0; i < weights.size(); ++i) {
      const double unit = expected[i].abs().max().item<double>();
      CHECK_CLOSE(now[i] / unit, expected[i] / unit, bound);
      if (threads > 1) CHECK(now[i].equal(gradients[i]));
    }
    if (threads > 1) CHECK(found.equal(states));
    states = found;
    gradients = now;
    const Llama checkpointing = keel::policy::with_gradient_checkpointing(model, true);
    const at::Tensor again = trunk_states(checkpointing, batch), again_plain = hidden_states(checkpointing, with_mask(batch)) * real(batch);
    CHECK(again.equal(found));
    CHECK_CLOSE(again_plain, plain, bound);
    const auto of_again = torch::autograd::grad({(again * direction).sum()}, weights),
               of_again_plain = torch::autograd::grad({(again_plain * direction).sum()}, weights);
    for (size_t i = 0; i < weights.size(); ++i) {
      CHECK(of_again[i].equal(now[i]));
      const double unit = expected[i].abs().max().item<double>();
      CHECK_CLOSE(of_again_plain[i] / unit, expected[i] / unit, bound);
    }
  }
  at::set_num_threads(1);
}

}  // namespace

TEST_CASE("trunk: states and gradients are those of plain operators, padded, packed and forked, on any number of threads", "[policy]") {
  const Llama model = long_model(GENERATE(1, 2, 4));
  const int layout = GENERATE(0, 1, 2);
  const TokenBatch batch = layout == 0 ? padded_batch() : layout == 1 ? packed_batch() : forked_batch();
  const auto weights = keel::runtime::tensors_of(keel::policy::parameters(keel::policy::backbone_of(model)));
  for (const at::Tensor& weight : weights)
    weight.requires_grad_(true);
  check_against_plain(model, batch, weights, 2e-5);
}

TEST_CASE("trunk: adapters' states and gradients are those of plain operators, and what generation and log-probs compute", "[policy]") {
  // Adapters of one projection alone, of some and of all, wider than a register and than one panel (rank 40), and base weights that learn.
  const auto [targets, rank, base_learns] = GENERATE(table<std::vector<std::string>, int64_t, bool>(
      {{{"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}, 3, false},
       {{"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}, 5, true},
       {{"v_proj"}, 2, false},
       {{"down_proj"}, 7, false},
       {{"q_proj", "up_proj"}, 8, false}}));
  at::manual_seed(1);
  const Llama base = long_model(2);
  Llama model = keel::policy::with_lora(base, {.rank = rank, .alpha = 5, .target_modules = targets}, 1, "test");
  keel::policy::visit_adapters(model,
                               [](const std::string&, keel::policy::LowRank& adapter) { adapter.b = at::randn_like(adapter.b) * .2; });
  REQUIRE(keel::policy::engine_takes(model));
  const int layout = GENERATE(0, 1, 2);
  const TokenBatch batch = layout == 0 ? padded_batch() : layout == 1 ? packed_batch() : forked_batch();
  auto weights = keel::runtime::tensors_of(keel::policy::lora_parameters(model));
  if (base_learns)
    for (const at::Tensor& weight : keel::runtime::tensors_of(keel::policy::parameters(keel::policy::backbone_of(model))))
      weights.push_back(weight);
  for (const at::Tensor& weight : weights)
    weight.requires_grad_(true);
  CHECK(keel::test::largest_difference(hidden_states(model, batch) * real(batch), hidden_states(base, batch) * real(batch)) > .1);
  check_against_plain(model, batch, weights, 5e-5);
  for (const at::Tensor& weight : weights)
    weight.requires_grad_(false);
  if (layout > 0) return;
  const keel::policy::GenerationJob job{
      .prompts = keel::test::some_rows({3, 40}), .samples = 3, .sampling = {.max_new_tokens = 12}, .stop_ids = {}, .seed = 4};
  for (const auto& sample : keel::policy::generate(model, job)) {
    const Ids row = keel::core::joined(job.prompts[static_cast<size_t>(sample.prompt)], sample.ids);
    const auto logprobs = keel::policy::sequence_logprobs(model, {row})[0];
    CHECK(std::vector<float>(logprobs.end() - std::ssize(sample.ids), logprobs.end()) == sample.logprobs);
  }
}

TEST_CASE("trunk: only the gradients that are wanted are made, and they do not depend on the others", "[policy]") {
  const Llama model = long_model(2);
  const TokenBatch batch = padded_batch();
  const auto weights = keel::runtime::tensors_of(keel::policy::parameters(keel::policy::backbone_of(model)));
  const auto loss = [&] { return trunk_states(model, batch).square().sum(); };
  for (const at::Tensor& weight : weights)
    weight.requires_grad_(true);
  const auto all = torch::autograd::grad({loss()}, weights);
  for (const at::Tensor& weight : weights)
    weight.requires_grad_(false);
  std::vector<at::Tensor> some;
  for (const at::Tensor& weight : {model.layers[1].v, model.layers[1].post_norm, model.norm}) {
    weight.requires_grad_(true);
    some.push_back(weight);
  }
  const auto found = torch::autograd::grad({loss()}, some);
  for (size_t i = 0; i < some.size(); ++i)
    for (size_t j = 0; j < weights.size(); ++j)
      if (weights[j].is_same(some[i])) CHECK(found[i].equal(all[j]));
  for (const at::Tensor& weight : some)
    weight.requires_grad_(false);
  CHECK_FALSE(loss().requires_grad());
}

TEST_CASE("trunk: weights that change between forward and backward pass are an error", "[policy]") {
  const Llama model = long_model(2);
  model.layers[0].q.requires_grad_(true);
  const at::Tensor loss = trunk_states(model, padded_batch()).sum();
  {
    const at::NoGradGuard no_grad;
    model.layers[0].q.mul_(2);
  }
  CHECK_THROWS_WITH(torch::autograd::grad({loss}, {model.layers[0].q}),
                    Catch::Matchers::ContainsSubstring("modified by an inplace operation"));
}

TEST_CASE("trunk: a token's state is the same to the bit in every batch, and padding has none", "[policy]") {
  const at::NoGradGuard no_grad;
  const Llama model = long_model(2);
  const auto rows = keel::test::some_rows({3, 1, 150, 64, 65, 17});
  const at::Tensor together = hidden_states(model, keel::runtime::pad_right(rows));
  for (size_t i = 0; i < rows.size(); ++i) {
    const at::Tensor row = together[static_cast<int64_t>(i)];
    CHECK(hidden_states(model, keel::runtime::pad_right({rows[i]}))[0].equal(row.narrow(0, 0, std::ssize(rows[i]))));
    CHECK(row.narrow(0, std::ssize(rows[i]), 150 - std::ssize(rows[i])).abs().sum().item<double>() == 0);
  }
}

TEST_CASE("trunk: frozen matrices in bf16 give what the same numbers in fp32 give, to the bit", "[policy]") {
  Llama narrow = keel::policy::frozen_copy(long_model(2));
  keel::policy::visit_weights(narrow, [](const std::string& name, at::Tensor& weight) {
    if (keel::policy::may_be_bf16(name)) weight = weight.to(at::kBFloat16);
  });
  const Llama wide = keel::policy::frozen_copy(narrow);
  CHECK(narrow.layers[0].gate.scalar_type() == at::kBFloat16);
  CHECK(narrow.layers[0].post_norm.scalar_type() == at::kFloat);
  CHECK(wide.layers[0].gate.scalar_type() == at::kFloat);
  REQUIRE(keel::policy::engine_takes(narrow));
  const auto rows = keel::test::some_rows({3, 40, 90});
  CHECK(keel::policy::sequence_logprobs(narrow, rows) == keel::policy::sequence_logprobs(wide, rows));
  const keel::policy::GenerationJob job{.prompts = rows, .samples = 2, .sampling = {.max_new_tokens = 20}, .stop_ids = {}, .seed = 4};
  const auto answers = keel::policy::generate(narrow, job), of_wide = keel::policy::generate(wide, job);
  for (size_t i = 0; i < answers.size(); ++i)
    CHECK((answers[i].ids == of_wide[i].ids && answers[i].logprobs == of_wide[i].logprobs));
  const auto seen = keel::policy::attention_weights(narrow, rows[1], 5), seen_by_wide = keel::policy::attention_weights(wide, rows[1], 5);
  for (size_t i = 0; i < seen.size(); ++i)
    CHECK(seen[i].equal(seen_by_wide[i]));
  // Plain operators widen them, too.
  CHECK(hidden_states(narrow, with_mask(padded_batch())).equal(hidden_states(wide, with_mask(padded_batch()))));
  // Adapters on top learn the same.
  std::vector<at::Tensor> gradients;
  for (const Llama& base : {narrow, wide}) {
    const Llama model = keel::policy::with_lora(base, {.rank = 3, .target_modules = {"q_proj", "down_proj"}}, 1, "test");
    const auto adapters = keel::runtime::tensors_of(keel::policy::lora_parameters(model));
    for (const at::Tensor& adapter : adapters)
      adapter.requires_grad_(true);
    for (const at::Tensor& gradient : torch::autograd::grad({trunk_states(model, padded_batch()).square().sum()}, adapters))
      gradients.push_back(gradient);
  }
  for (size_t i = 0; i < gradients.size() / 2; ++i)
    CHECK(gradients[i].equal(gradients[i + gradients.size() / 2]));
}

TEST_CASE("trunk: weights that are read as they lie give what packed ones give, to the bit", "[policy]") {
  Llama base = keel::policy::frozen_copy(long_model(2));
  base.layers[0].q = base.layers[0].q.to(at::kBFloat16);  // of the product of q, k and v one matrix alone
  const Llama model = keel::policy::with_lora(base, {.rank = 3, .target_modules = {"k_proj", "up_proj"}}, 1, "test");
  const auto rows = keel::test::some_rows({30, 45, 90});
  const auto logits = [&](keel::engine::Layout layout, int threads) {
    keel::engine::Team team(threads);
    const auto packed = keel::policy::packed_model(model, model.head, layout, team);
    std::vector<float> found;
    keel::engine::Reader reader(packed, threads);
    std::vector<const Ids*> places;
    for (const Ids& row : rows)
      places.push_back(&row);
    reader.read(places, std::vector<int64_t>{20, 44, 0}, [&](keel::engine::Forward& forward, std::span<const keel::engine::Place> wanted) {
      const float* const begin = forward.logits(0, std::ssize(wanted));
      found.insert(found.end(), begin, begin + std::ssize(wanted) * model.config.vocab_size);
    });
    return found;
  };
  const auto packed = logits(keel::engine::Layout::panels, 1);
  REQUIRE(std::ssize(packed) == (10 + 1 + 90) * model.config.vocab_size);
  CHECK(logits(keel::engine::Layout::as_they_lie, 1) == packed);
  CHECK(logits(keel::engine::Layout::as_they_lie, 3) == packed);
  // 165 rows are many for two threads, which take rows of them, and columns of the last layer's 101.
  CHECK(logits(keel::engine::Layout::panels, 2) == packed);
  CHECK(logits(keel::engine::Layout::as_they_lie, 2) == packed);
}

TEST_CASE("trunk: a token gets the same in a pass with its whole sequence, token by token, and between any wanted rows", "[policy]") {
  using keel::engine::Row;
  const Llama model = keel::policy::frozen_copy(long_model(2));
  const auto ids = keel::test::some_rows({60, 75});
  using Logits = std::map<std::pair<size_t, int64_t>, std::vector<float>>;  // of a sequence's positions
  // `together` positions of each sequence a pass.
  const auto compute = [&](int64_t together, int threads, const std::function<bool(int64_t position)>& wants) {
    keel::engine::Team team(threads);
    const auto packed = keel::policy::packed_model(model, model.head, keel::engine::Layout::panels, team);
    keel::engine::PagePool pages(packed.shape, std::ssize(packed.layers));
    keel::engine::Forward forward(packed, pages, team);
    std::vector<keel::engine::Sequence> sequences(ids.size());
    Logits found;
    for (int64_t begin = 0; begin < 75; begin += together) {
      std::vector<Row> rows;
      std::vector<int64_t> wanted;
      std::vector<std::pair<size_t, int64_t>> places;
      for (size_t i = 0; i < ids.size(); ++i)
        for (int64_t position = begin; position < std::min(begin + together, std::ssize(ids[i])); ++position) {
          pages.extend(sequences[i], position + 1);
          if (wants(position)) {
            wanted.push_back(std::ssize(rows));
            places.emplace_back(i, position);
          }
          rows.push_back({&sequences[i], ids[i][static_cast<size_t>(position)], position});
        }
      forward.run(rows, wanted);
      const float* next = forward.logits(0, std::ssize(wanted));
      for (const auto& place : places)
        found[place] = {next, next + model.config.vocab_size}, next += model.config.vocab_size;
    }
    return found;
  };
  const auto all = [](int64_t) { return true; };
  const Logits alone = compute(1, 1, all);
  REQUIRE(alone.size() == 60 + 75);
  for (const int threads : {1, 2, 5})
    for (const int64_t together : {24, 33, 75})
      CHECK(compute(together, threads, all) == alone);
  const Logits some = compute(75, 2, [](int64_t position) { return position % 7 != 3 && position != 40 && position != 41; });
  CHECK(some.size() < alone.size());
  for (const auto& [place, logits] : some)
    CHECK(logits == alone.at(place));
}

TEST_CASE("trunk: other types are left to plain operators", "[policy]") {
  const Llama model = long_model(2);
  CHECK(keel::policy::engine_takes(model));
  Llama narrow = keel::policy::with_lora(model, {.rank = 2}, 1, "test");
  narrow.layers[1].adapters.v.b = narrow.layers[1].adapters.v.b.to(at::kBFloat16);
  CHECK_FALSE(keel::policy::engine_takes(narrow));
  Llama half = keel::policy::frozen_copy(model);
  keel::policy::visit_weights(half, [](const std::string&, at::Tensor& weight) { weight = weight.to(at::kBFloat16); });
  CHECK_FALSE(keel::policy::engine_takes(half));
}
