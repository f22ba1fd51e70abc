#include "policy/logprobs.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/eye.h>

#include <cmath>
#include <functional>

#include "core/error.h"
#include "core/interrupt.h"
#include "policy/lively_model.h"

using Catch::Matchers::ContainsSubstring;
using keel::core::Ids;
using keel::core::TokenSequence;
using keel::policy::Llama;
using keel::policy::sequence_logprobs;
using keel::test::floats;
using keel::test::tensor;

namespace {

TokenSequence all_targets(const Ids& ids) {
  return {.ids = ids, .loss_mask = std::vector<bool>(ids.size(), true)};
}

// Log-probs of sequences packed into one row, one after another.
at::Tensor packed_logprobs(const Llama& model, const std::vector<Ids>& rows, bool with_segments = true) {
  std::vector<TokenSequence> sequences;
  for (const auto& row : rows)
    sequences.push_back(all_targets(row));
  std::vector<const TokenSequence*> row;
  for (const auto& sequence : sequences)
    row.push_back(&sequence);
  auto batch = keel::runtime::pack({row});
  if (!with_segments) batch.tokens.segments.fill_(0);
  return masked_logprobs(model, batch);
}

at::Tensor joined(const std::vector<std::vector<float>>& lists) {
  std::vector<at::Tensor> parts;
  for (const auto& list : lists)
    parts.push_back(floats(list));
  return at::cat(parts);
}

}  // namespace

TEST_CASE("logprobs: of given logits at a temperature, by hand", "[policy]") {
  const at::Tensor logits = tensor({{0, std::log(3.)}, {1, 1}});
  const at::Tensor targets = at::tensor(std::vector<int64_t>{1, 0});
  CHECK_CLOSE(keel::policy::target_logprobs(logits, targets), tensor({std::log(.75), std::log(.5)}), 1e-6);
  CHECK_CLOSE(keel::policy::target_logprobs(logits, targets, .5), tensor({std::log(.9), std::log(.5)}), 1e-6);  // 3^2 against 1
}

TEST_CASE("logprobs: the engine's values, entropies and gradients are those of plain operators, on any number of threads", "[policy]") {
  auto shape = keel::test::lively_config();
  shape.vocab_size = 2500;  // three blocks of sums, of which the last is not full
  Llama model = keel::test::lively_llama(shape);
  constexpr int64_t kPositions = 600;  // three chunks
  const at::Tensor states = (at::arange(kPositions * 16, at::kDouble) * .37).sin().to(at::kFloat).view({kPositions, 16});
  const at::Tensor targets = (at::arange(kPositions, at::kLong) * 997 + 3).remainder(2500);
  const at::Tensor weights = (at::arange(kPositions, at::kDouble) + .5).cos().to(at::kFloat);  // so that the gradients of positions differ
  for (const double temperature : {.7, 1.}) {
    const auto run = [&](const std::function<keel::policy::StateLogprobs(const at::Tensor& h)>& compute) {
      const at::Tensor h = states.clone().set_requires_grad(true);
      model.head = model.head.detach().clone().set_requires_grad(true);
      const auto [logprobs, entropies] = compute(h);
      CHECK_FALSE(entropies.requires_grad());
      (logprobs * weights).sum().backward();
      return std::vector{logprobs.detach(), entropies, h.grad(), model.head.grad()};
    };
    const auto expected = run([&](const at::Tensor& h) {
      const at::Tensor logits = logits_of(model, h), all = (logits.detach() / temperature).log_softmax(-1);
      return keel::policy::StateLogprobs{keel::policy::target_logprobs(logits, targets, temperature), -(all.exp() * all).sum(-1)};
    });
    std::vector<at::Tensor> first;
    for (const int threads : {1, 2, 3})
      for (const int64_t kept_chunks : {0, 1, 3}) {
        at::set_num_threads(threads);
        const auto found = run([&](const at::Tensor& h) {
          return keel::policy::state_logprobs_and_entropies(model, h, targets, temperature, kept_chunks * 256 * 2500 * 4);
        });
        for (size_t i = 0; i < found.size(); ++i)
          CHECK_CLOSE(found[i], expected[i], 1e-5);
        if (first.empty()) first = found;
        for (const size_t i : {0, 2, 3})  // sums of entropies are added in another order
          CHECK(found[i].equal(first[i]));
      }
    at::set_num_threads(1);
  }
}

TEST_CASE("logprobs: the entropy is 2 bits if uniform over four words, others as torch.distributions says, by both ways", "[policy]") {
  Llama model = keel::test::lively_llama();
  model.head = at::eye(4, 16);
  const at::Tensor logits = tensor({{7, 7, 7, 7}, {0, 1, 2, -99}, {3, -1, .5, -99}}), states = at::zeros({3, 16});
  states.narrow(1, 0, 4).copy_(logits);
  const at::Tensor expected = tensor({1.386294, .832395582, .348741297});
  for (const auto type : {at::kFloat, at::kBFloat16}) {  // all of these numbers are bf16 ones
    model.head = model.head.to(type);
    const auto found = keel::policy::state_logprobs_and_entropies(model, states.to(type), at::zeros({3}, at::kLong));
    CHECK_CLOSE(found.entropies, expected, 1e-6);
  }
}

TEST_CASE("logprobs: without the engine, chunks of positions give the values and gradients of all logits at once", "[policy]") {
  Llama model = keel::test::lively_llama();
  const at::Tensor states = (at::arange(11 * 16, at::kDouble) * .37).sin().to(at::kBFloat16).view({11, 16});
  const at::Tensor targets = at::tensor(std::vector<int64_t>{3, 0, 22, 7, 7, 1, 19, 4, 22, 0, 5});
  const at::Tensor weights = (at::arange(11, at::kDouble) + .5).cos().to(at::kFloat);
  const auto run = [&](int64_t most_bytes) {
    const at::Tensor h = states.clone().set_requires_grad(true);
    model.head = model.head.detach().to(at::kBFloat16).set_requires_grad(true);
    const auto [logprobs, entropies] = keel::policy::state_logprobs_and_entropies(model, h, targets, .7, most_bytes);
    (logprobs * weights).sum().backward();
    return std::vector{logprobs.detach(), entropies, h.grad().to(at::kFloat), model.head.grad().to(at::kFloat)};
  };
  const auto whole = run(keel::policy::kMostLogitsBytes);
  for (const int64_t positions : {1, 3, 4, 10}) {
    const auto chunked = run(positions * 23 * 4);
    for (size_t i = 0; i < whole.size(); ++i)
      CHECK_CLOSE(chunked[i], whole[i], .02);
  }
}

TEST_CASE("logprobs: chunks leave a frozen head, or frozen states, without gradient, and none is needed without grad mode", "[policy]") {
  const Llama model = keel::test::lively_llama();
  const at::Tensor states = (at::arange(5 * 16, at::kDouble) * .37).sin().to(at::kFloat).view({5, 16});
  const at::Tensor targets = at::tensor(std::vector<int64_t>{3, 0, 22, 7, 7});
  const at::Tensor learning = states.clone().set_requires_grad(true);
  keel::policy::state_logprobs(model, learning, targets, 1, 2 * 23 * 4).sum().backward();
  CHECK(learning.grad().defined());
  CHECK_FALSE(model.head.grad().defined());
  const at::NoGradGuard no_grad;
  CHECK_FALSE(keel::policy::state_logprobs(model, learning, targets, 1, 2 * 23 * 4).requires_grad());
}

TEST_CASE("logprobs: positions at once are as many as fit the bytes, one at least", "[policy]") {
  const Llama model = keel::test::lively_llama();
  CHECK(keel::policy::positions_at_once(model, 23 * 4 * 7) == 7);
  CHECK(keel::policy::positions_at_once(model, 23 * 4 * 7 + 91) == 7);
  CHECK(keel::policy::positions_at_once(model, 1) == 1);
  CHECK(keel::policy::positions_at_once(model) * 23 * 4 <= int64_t{1} << 30);
}

TEST_CASE("logprobs: batch mates and padding change nothing", "[policy]") {
  const Llama model = keel::test::lively_llama();
  const auto rows = keel::test::some_rows({7, 1, 2, 12, 5, 5, 3, 30});
  const auto together = sequence_logprobs(model, rows);
  const auto apart = sequence_logprobs(model, rows, 1, 1);
  const auto some = sequence_logprobs(model, rows, 1, 24);
  for (size_t i = 0; i < rows.size(); ++i) {
    CHECK(together[i].size() == rows[i].size() - 1);
    CHECK_CLOSE(floats(together[i]), floats(apart[i]), 1e-5);
    CHECK_CLOSE(floats(some[i]), floats(apart[i]), 1e-5);
    CHECK_CLOSE(floats(sequence_logprobs(model, {rows[i]})[0]), floats(apart[i]), 1e-5);
  }
}

TEST_CASE("logprobs: packing changes nothing, because segments separate and positions start anew", "[policy]") {
  const Llama model = keel::test::lively_llama();
  const auto rows = keel::test::some_rows({7, 2, 12, 5, 3});
  const at::Tensor apart = joined(sequence_logprobs(model, rows));
  CHECK_CLOSE(packed_logprobs(model, rows), apart, 1e-5);
  CHECK(keel::test::largest_difference(packed_logprobs(model, rows, false), apart) > .1);  // this test can fail
  auto reversed = rows;
  std::reverse(reversed.begin(), reversed.end());
  CHECK_CLOSE(packed_logprobs(model, reversed), joined(sequence_logprobs(model, reversed)), 1e-5);
}

TEST_CASE("logprobs: a packed row may be longer than the context, its sequences may not", "[policy]") {
  const Llama model = keel::test::lively_llama();
  const auto rows = keel::test::some_rows({40, 40});
  CHECK_CLOSE(packed_logprobs(model, rows), joined(sequence_logprobs(model, rows)), 1e-5);
}

TEST_CASE("logprobs: the temperature divides the logits", "[policy]") {
  const Llama model = keel::test::lively_llama();
  const Ids ids = keel::test::some_ids(0, 6);
  const at::Tensor logits = logits_of(model, hidden_states(model, keel::runtime::pad_right({ids})))[0].narrow(0, 0, 5);
  for (const double temperature : {.7, 1.3}) {
    const at::Tensor expected = (logits / temperature).log_softmax(-1).gather(1, at::tensor(ids).narrow(0, 1, 5).unsqueeze(1)).squeeze(1);
    CHECK_CLOSE(floats(sequence_logprobs(model, {ids}, temperature)[0]), expected, 1e-5);
  }
}

TEST_CASE("logprobs: rows of one id or none have none", "[policy]") {
  const Llama model = keel::test::lively_llama();
  const auto lists = sequence_logprobs(model, {{4}, {}, {1, 2}});
  CHECK(lists[0].empty());
  CHECK(lists[1].empty());
  CHECK(lists[2].size() == 1);
  CHECK(sequence_logprobs(model, {}).empty());
  CHECK(sequence_logprobs(model, {{4}})[0].empty());
}

TEST_CASE("logprobs: ids outside the vocabulary and rows longer than the context are refused", "[policy]") {
  const Llama model = keel::test::lively_llama();
  CHECK_THROWS_WITH(sequence_logprobs(model, {{1, 2}, {3, 23}}), ContainsSubstring("id 23 lies outside the vocabulary 0..22"));
  CHECK_THROWS_WITH(sequence_logprobs(model, {{-1, 2}}), ContainsSubstring("id -1"));
  CHECK_THROWS_WITH(sequence_logprobs(model, {keel::test::some_ids(0, 41)}),
                    ContainsSubstring("41 tokens is longer than the model's context of 40"));
  CHECK(sequence_logprobs(model, {keel::test::some_ids(0, 40)})[0].size() == 39);
}

TEST_CASE("logprobs: only masked targets are asked for, and gradients flow through them", "[policy]") {
  const Llama model = keel::test::lively_llama();
  keel::runtime::set_trainable(parameters(model), true);
  const TokenSequence sequence{.ids = keel::test::some_ids(0, 6), .loss_mask = {true, false, false, true, false, true}};
  const at::Tensor kept = masked_logprobs(model, keel::runtime::pack({{&sequence}}));
  const auto all = sequence_logprobs(model, {sequence.ids})[0];
  CHECK_CLOSE(kept.detach(), floats({all[2], all[4]}), 1e-5);
  kept.sum().backward();
  for (const auto& [name, weights] : parameters(model)) {
    INFO(name);
    CHECK(weights.grad().abs().max().item<double>() > 0);
  }
}

TEST_CASE("logprobs: a signal stops them before the next batch", "[policy]") {
  const Llama model = keel::test::lively_llama(keel::test::lively_config());
  keel::core::request_interrupt();
  CHECK_THROWS_AS(sequence_logprobs(model, {{1, 2}}), keel::core::Interrupted);
  keel::core::clear_interrupt();
}
