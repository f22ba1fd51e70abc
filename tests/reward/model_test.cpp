#include "reward/model.h"

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>

#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/interrupt.h"
#include "core/json.h"
#include "engine/kernels.h"
#include "policy/lora.h"
#include "policy/model_directory.h"
#include "policy/packed_model.h"
#include "support/tiny_model.h"

using namespace keel::reward;
using keel::core::Ids;
using keel::test::tensor;

namespace {

RewardModel formula_reward_model() {
  RewardModel model = make_reward_model(keel::test::tiny_llama(), HeadStart::zeros, 0);
  keel::test::fill_by_formula(parameters(model));
  return model;
}

const std::vector<Ids> kRows = {{3, 1, 4, 1, 5}, {9, 2}, {6, 5, 3, 5, 8, 9, 7}};

}  // namespace

TEST_CASE("reward model: scores are those of transformers' LlamaForSequenceClassification", "[reward]") {
  const std::vector<double> scores = score_rows(formula_reward_model(), kRows);
  // tools/oracle/reward_model.py
  CHECK_CLOSE(at::tensor(scores, at::kDouble), tensor({.5123386, .5202786, -.7658251}), 2e-6);
}

TEST_CASE("reward model: an adapter on it scores as PEFT's does for sequence classification, and comes back from its folder", "[reward]") {
  RewardModel model = formula_reward_model();
  const keel::policy::LoraConfig lora = {
      .rank = 2, .alpha = 6, .target_modules = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}};
  model.backbone = keel::policy::with_lora(model.backbone, lora, 1, "test");
  const auto tensors = keel::policy::lora_parameters(model.backbone);
  for (size_t k = 0; k < tensors.size(); ++k) {
    const at::Tensor i = at::arange(tensors[k].tensor.numel(), at::kDouble);
    tensors[k].tensor.copy_((.2 * (.9 * i + static_cast<double>(k)).sin()).view(tensors[k].tensor.sizes()));
  }
  const std::vector<Ids> rows = {{3, 1, 4, 1, 5}, {9, 2, 6}, {5}, {3, 5, 8, 9, 7, 9, 3}};
  const at::Tensor expected = tensor({.728785, -.23327, .161224, .225925});  // tools/oracle/lora_reference.py --scores
  CHECK_CLOSE(at::tensor(score_rows(model, rows), at::kDouble), expected, 2e-6);
  const keel::test::TemporaryFolder folder;
  keel::policy::save_lora_classifier(folder.path(), {model.backbone, model.score}, lora);
  const auto loaded = keel::policy::load_lora_classifier(folder.path(), keel::test::tiny_llama());
  CHECK(score_rows({loaded.backbone, loaded.score}, rows) == score_rows(model, rows));
  CHECK(keel::policy::is_classifier_adapter(folder.path()));
}

TEST_CASE("reward model (pitfall 6): a row's score is the same alone, with longer mates and in any group size", "[reward]") {
  const RewardModel model = formula_reward_model();
  const std::vector<double> together = score_rows(model, kRows), apart = score_rows(model, kRows, 1);
  for (size_t i = 0; i < kRows.size(); ++i) {
    CHECK(together[i] == Catch::Approx(score_rows(model, {kRows[i]})[0]).margin(1e-5));
    CHECK(together[i] == Catch::Approx(apart[i]).margin(1e-5));
  }
  CHECK(score_rows(model, {}).empty());
}

namespace {

RewardModel small_model() {
  return make_reward_model(keel::policy::make_llama({.vocab_size = 97,
                                                     .hidden_size = 96,
                                                     .intermediate_size = 260,
                                                     .num_hidden_layers = 2,
                                                     .num_attention_heads = 4,
                                                     .num_key_value_heads = 2,
                                                     .max_position_embeddings = 256},
                                                    5),
                           HeadStart::normal, 5);
}

// 150 rows of 3 to 200 ids, enough to be dealt out to three threads; every third row begins as the one before it does.
std::vector<Ids> rows_of_all_lengths() {
  std::vector<Ids> rows;
  for (int64_t i = 0; i < 150; ++i) {
    Ids row;
    const int64_t length = 3 + i * 37 % 200, shared = i % 3 == 2 ? std::min(length, std::ssize(rows.back())) - 2 : 0;
    for (int64_t t = 0; t < length; ++t)
      row.push_back(t < shared ? rows.back()[static_cast<size_t>(t)] : (7 * i + 11 * t) % 97);
    rows.push_back(std::move(row));
  }
  return rows;
}

}  // namespace

TEST_CASE("reward model: a row's score has the same bits whatever rows are beside it, on any number of threads", "[reward]") {
  const RewardModel model = small_model();
  const std::vector<Ids> rows = rows_of_all_lengths();
  const int before = at::get_num_threads();
  const std::vector<double> together = score_rows(model, rows);
  std::vector<Ids> backwards(rows.rbegin(), rows.rend());
  for (const int threads : {1, 2, 3}) {
    at::set_num_threads(threads);
    CHECK(scorer_of(model)(rows) == together);
    CHECK(score_rows(model, backwards) == std::vector<double>(together.rbegin(), together.rend()));
    for (size_t i = 0; i < rows.size(); i += 25)
      CHECK(score_rows(model, {rows[i]}) == std::vector{together[i]});
  }
  at::set_num_threads(before);
  const at::NoGradGuard no_grad;
  for (size_t i = 0; i < rows.size(); ++i)
    CHECK(together[i] == Catch::Approx(last_token_scores(model, keel::runtime::pad_right({rows[i]})).item<double>()).margin(1e-6));
  CHECK(scorer_of(model)({}).empty());
}

TEST_CASE("reward model: one in bf16 throughout, which the engine does not take, scores within its rounding", "[reward]") {
  RewardModel model = small_model();
  keel::policy::visit_weights(model.backbone, [](const std::string&, at::Tensor& weight) { weight = weight.to(at::kBFloat16); });
  model.score = model.score.to(at::kBFloat16);
  REQUIRE_FALSE(keel::policy::engine_takes(model.backbone));
  const std::vector<Ids> rows = rows_of_all_lengths();
  const std::vector<double> found = score_rows(model, rows), expected = score_rows(small_model(), rows);
  for (size_t i = 0; i < rows.size(); ++i)
    CHECK(found[i] == Catch::Approx(expected[i]).margin(1e-2));
}

TEST_CASE("reward model: in bf16, too, a row's score is that of training, whose scalar product is exact", "[reward]") {
  if (!keel::engine::set_arithmetic(keel::engine::Arithmetic::bf16)) SKIP("this processor has no products in bf16");
  const struct Reset {
    ~Reset() { keel::engine::set_arithmetic(keel::engine::Arithmetic::fp32); }
  } reset;
  const RewardModel model = formula_reward_model();
  const auto scores = score_rows(model, kRows);
  const at::Tensor trained = last_token_scores(model, keel::runtime::pad_right(kRows));
  for (int64_t i = 0; i < 3; ++i)
    CHECK(std::abs(scores[static_cast<size_t>(i)] - trained[i].item<double>()) < 1e-6 * (1 + std::abs(trained[i].item<double>())));
}

TEST_CASE("reward model (pitfall 3): a row that ends with, or holds, the id that pads shorter rows has the score that it has alone",
          "[reward]") {
  const RewardModel model = formula_reward_model();
  const std::vector<Ids> rows = {{3, 4, 0}, {0, 0, 5}, {1, 2, 3, 4, 5, 6, 7, 0}, {2, 0}};
  const auto together = score_rows(model, rows, 4);
  for (size_t i = 0; i < rows.size(); ++i)
    CHECK(together[i] == Catch::Approx(score_rows(model, {rows[i]})[0]).margin(1e-5));
  CHECK(std::abs(together[0] - score_rows(model, {{3, 4}})[0]) > 1e-4);  // the id counts
}

TEST_CASE("reward model: the score is the value at the last token, and values before it do not see it", "[reward]") {
  const RewardModel model = formula_reward_model();
  const at::NoGradGuard no_grad;
  const at::Tensor values = token_values(model, keel::runtime::pad_right(kRows));
  CHECK_CLOSE(values[0][4], at::scalar_tensor(score_rows(model, kRows)[0]), 1e-6);
  CHECK_CLOSE(values[1][1], at::scalar_tensor(score_rows(model, kRows)[1]), 1e-6);
  const at::Tensor changed = token_values(model, keel::runtime::pad_right({{3, 1, 4, 1, 9}}));
  CHECK_CLOSE(changed.slice(1, 0, 4)[0], values[0].slice(0, 0, 4), 1e-6);
  CHECK(keel::test::largest_difference(changed[0][4], values[0][4]) > 1e-3);
}

TEST_CASE("reward model (pitfall 8): two forward passes are equal bit for bit", "[reward]") {
  const RewardModel model = formula_reward_model();
  CHECK(score_rows(model, kRows) == score_rows(model, kRows));
}

TEST_CASE("reward model: made from a chat model it shares no storage, and its head starts as asked", "[reward]") {
  const keel::policy::Llama chat = keel::test::tiny_llama();
  const RewardModel zeros = make_reward_model(chat, HeadStart::zeros, 1), normal = make_reward_model(chat, HeadStart::normal, 1);
  CHECK(zeros.score.abs().max().item<double>() == 0);
  CHECK(normal.score.abs().max().item<double>() > 0);
  CHECK(normal.score.abs().max().item<double>() < 5. / 9);  // five standard deviations of 1 / (8 + 1)
  CHECK(normal.score.equal(make_reward_model(chat, HeadStart::normal, 1).score));
  CHECK_FALSE(normal.score.equal(make_reward_model(chat, HeadStart::normal, 2).score));
  CHECK(zeros.backbone.embedding.equal(chat.embedding));
  CHECK(zeros.backbone.embedding.data_ptr() != chat.embedding.data_ptr());
  CHECK_FALSE(zeros.backbone.head.defined());
}

TEST_CASE("reward model (pitfall 10): saved and loaded it scores the same, and config.json says what transformers needs", "[reward]") {
  const keel::test::TemporaryFolder folder;
  const RewardModel model = formula_reward_model();
  save_reward_model(model, folder / "rm", 0);
  CHECK(score_rows(load_reward_model(folder / "rm"), kRows) == score_rows(model, kRows));
  const nlohmann::json config = keel::core::read_json_file(folder / "rm" / "config.json");
  CHECK(config.at("architectures") == nlohmann::json{"LlamaForSequenceClassification"});
  CHECK(config.at("num_labels") == 1);
  CHECK(config.at("problem_type") == "regression");
  CHECK(config.at("pad_token_id") == 0);
  CHECK_THROWS_AS(save_reward_model(model, folder / "bad", 11), c10::Error);
  CHECK_THROWS_AS(save_reward_model(model, folder / "bad", -1), c10::Error);
}

TEST_CASE("reward model (pitfall 10): a folder without the head does not load", "[reward]") {
  const keel::test::TemporaryFolder folder;
  const RewardModel model = formula_reward_model();
  save_reward_model(model, folder / "rm", 0);
  auto weights = parameters(model);
  weights.pop_back();
  keel::policy::save_weights(folder / "rm", model.backbone.config, weights, {{"architectures", {"LlamaForSequenceClassification"}}});
  CHECK_THROWS_AS(load_reward_model(folder / "rm"), keel::core::DataError);
}

TEST_CASE("reward model: empty rows, foreign ids and rows beyond the context are refused", "[reward]") {
  const RewardModel model = formula_reward_model();
  CHECK_THROWS_AS(score_rows(model, {{1}, {}}), c10::Error);
  CHECK_THROWS_AS(score_rows(model, {{1, 11}}), c10::Error);
  CHECK_THROWS_AS(score_rows(model, {{-1}}), c10::Error);
  CHECK_THROWS_AS(score_rows(model, {Ids(33, 1)}), c10::Error);
}

TEST_CASE("reward model: a signal stops scoring before the next batch", "[reward]") {
  const RewardModel model = formula_reward_model();
  keel::core::request_interrupt();
  CHECK_THROWS_AS(score_rows(model, kRows), keel::core::Interrupted);
  keel::core::clear_interrupt();
}
