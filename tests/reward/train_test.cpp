#include "reward/train.h"

#include <functional>
#include <nlohmann/json.hpp>
#include <tuple>

#include "core/error.h"
#include "core/interrupt.h"
#include "core/json.h"
#include "core/metrics.h"
#include "core/rng.h"
#include "reward/pair_scores.h"
#include "support/options.h"
#include "support/tiny_model.h"

using namespace keel::reward;
using keel::core::TokenPair;

namespace {

// The pairs of tools/oracle/reward_model.py.
std::vector<TokenPair> formula_pairs() {
  std::vector<TokenPair> pairs;
  for (int64_t p = 0; p < 8; ++p) {
    TokenPair pair;
    for (int64_t t = 0; t < 3 + p % 4; ++t)
      pair.chosen.push_back(1 + (3 * p + 2 * t) % 10);
    for (int64_t t = 0; t < 2 + p * 3 % 5; ++t)
      pair.rejected.push_back(1 + (5 * p + 3 * t + 1) % 10);
    pair.strength = static_cast<int>(p % 5);
    if (p % 3 != 0) pair.chosen_safe = true;
    if (p % 2 != 0) pair.rejected_safe = false;
    pairs.push_back(pair);
  }
  return pairs;
}

RewardModel trainable_model() {
  RewardModel model = make_reward_model(keel::test::tiny_llama(), HeadStart::zeros, 0);
  keel::test::fill_by_formula(parameters(model));
  return model;
}

RewardTrainConfig full_batch(int64_t steps) {
  RewardTrainConfig config;
  config.loss = {.margin = Margin::small, .centring = .01, .safety_weight = .5};
  config.epochs = steps;
  config.batch_pairs = 8;
  config.micro_pairs = 8;
  config.learning_rate = .01;
  return config;
}

void check_losses(const std::filesystem::path& metrics, const std::vector<double>& expected) {
  std::vector<double> losses;
  for (const auto& point : keel::core::read_metrics(metrics))
    for (const auto& [name, value] : point.values)
      if (name == "loss") losses.push_back(value);
  REQUIRE(losses.size() == expected.size());
  for (size_t i = 0; i < losses.size(); ++i)
    CHECK(losses[i] == Catch::Approx(expected[i]).epsilon(1e-4));
}

}  // namespace

TEST_CASE("reward training: twenty losses equal those of an independent PyTorch loop", "[reward]") {
  const keel::test::TemporaryFolder folder;
  train_reward_model(trainable_model(), formula_pairs(), full_batch(20), 1, folder.path());
  const std::vector<double> expected = {1.4565794, 1.3714609, 1.2315168, 1.0650455, .8905848, .7249527, .5942891,
                                        .4733222,  .3702767,  .2875699,  .2277149,  .1858432, .1563933, .1337307,
                                        .1157492,  .1023126,  .0930569,  .086988,   .0830279, .0803517};
  check_losses(folder / "metrics.jsonl", expected);
}

TEST_CASE("reward training: twenty losses equal those of TRL's RewardTrainer with margins and centring", "[reward]") {
  const keel::test::TemporaryFolder folder;
  RewardTrainConfig config = full_batch(20);
  config.loss = {.margin = Margin::small, .centring = .01, .safety_weight = 0};
  config.warmup_share = 0;
  config.warmup_min_steps = 0;
  train_reward_model(trainable_model(), formula_pairs(), config, 1, folder.path());
  const std::vector<double> expected = {
      1.0397959, 0.8346795, 0.6852212, 0.555688,  0.4421254, 0.3406465, 0.2502039, 0.1833468, 0.1378097, 0.1073757, 0.08752,
      0.0739869, 0.0637659, 0.0555572, 0.0490045, 0.0439567, 0.0401909, 0.0374282, 0.0353947, 0.0338538};  // tools/oracle/reward_trainer.py,
                                                                                                           // TRL 1.12.0
  check_losses(folder / "metrics.jsonl", expected);
}

TEST_CASE("reward training: shuffled mini-batches over two epochs end in the losses and weights of an independent program", "[reward]") {
  std::vector<int64_t> order;
  for (const uint64_t epoch : {0, 1})
    for (const int64_t pair : keel::core::permutation(8, 1, "reward.order", epoch))
      order.push_back(pair);
  CHECK(order == std::vector<int64_t>{7, 1, 2, 0, 6, 4, 5, 3, 5, 0, 1, 6, 3, 7, 4, 2});  // what the oracle is given
  const auto expected = keel::core::read_json_file(std::string(KEEL_SOURCE_DIR) + "/tests/reward/batches.json");
  for (const int64_t micro_pairs : {2, 8}) {
    const keel::test::TemporaryFolder folder;
    const RewardModel model = trainable_model();
    RewardTrainConfig config = full_batch(2);
    config.batch_pairs = 3;  // 6 steps: the third holds pairs of both epochs, the last one alone
    config.micro_pairs = micro_pairs;
    train_reward_model(model, formula_pairs(), config, 1, folder.path());
    check_losses(folder / "metrics.jsonl", expected.at("losses").get<std::vector<double>>());  // tools/oracle/reward_batches.py
    for (const auto& [name, tensor] : parameters(model)) {
      INFO(name);
      CHECK_CLOSE(tensor.flatten(), at::tensor(expected.at(name).get<std::vector<double>>()), 1e-4);
    }
  }
}

TEST_CASE("reward training: one micro-batch of eight pairs, two of four, three of three and eight of one end in the same weights",
          "[reward]") {
  const auto trained = [](int64_t micro_pairs) {
    const keel::test::TemporaryFolder folder;
    const RewardModel model = trainable_model();
    RewardTrainConfig config = full_batch(1);
    config.loss = {.margin = Margin::large, .centring = .01, .safety_weight = .5};
    config.micro_pairs = micro_pairs;
    train_reward_model(model, formula_pairs(), config, 1, folder.path());
    return parameters(model);
  };
  const auto whole = trained(8), before = parameters(trainable_model());
  CHECK(keel::test::largest_difference(whole.front().tensor, before.front().tensor) > 1e-4);
  for (const int64_t micro_pairs : {4, 3, 1}) {
    const auto parts = trained(micro_pairs);
    for (size_t i = 0; i < whole.size(); ++i)
      CHECK_CLOSE(parts[i].tensor, whole[i].tensor, 3e-6);
  }
}

TEST_CASE("reward training: micro-batches are bounded by pairs and by tokens of both padded sides, and change no weight", "[reward]") {
  std::vector<TokenPair> pairs(4);
  for (const auto& [i, chosen, rejected] : {std::tuple{0, 3, 2}, {1, 2, 3}, {2, 1, 5}, {3, 9, 1}}) {
    pairs[static_cast<size_t>(i)].chosen.resize(static_cast<size_t>(chosen));
    pairs[static_cast<size_t>(i)].rejected.resize(static_cast<size_t>(rejected));
  }
  using Ranges = std::vector<keel::runtime::RowRange>;
  const auto cut = [&](int64_t most_pairs, int64_t tokens) {
    RewardTrainConfig config;
    config.micro_pairs = most_pairs;
    config.micro_tokens = tokens;
    return micro_batches(pairs, config);
  };
  CHECK((cut(8, 72) == Ranges{{0, 4}}));  // 4 x 2 x 9
  CHECK((cut(8, 71) == Ranges{{0, 3}, {3, 4}}));
  CHECK((cut(8, 29) == Ranges{{0, 2}, {2, 3}, {3, 4}}));  // 3 x 2 x 5 is 30
  CHECK(cut(1, 72).size() == 4);
  CHECK(cut(8, 1).size() == 4);

  const auto trained = [](int64_t most_pairs, int64_t tokens) {
    const keel::test::TemporaryFolder folder;
    const RewardModel model = trainable_model();
    RewardTrainConfig config = full_batch(1);
    config.micro_pairs = most_pairs;
    config.micro_tokens = tokens;
    train_reward_model(model, formula_pairs(), config, 1, folder.path());
    return parameters(model);
  };
  const auto whole = trained(8, 1024), parts = trained(8, 20);
  for (size_t i = 0; i < whole.size(); ++i)
    CHECK_CLOSE(parts[i].tensor, whole[i].tensor, 1e-6);
  // A limit of one token gives exactly the bits of one pair a pass, which differ from those of eight: the limit is respected.
  CHECK(keel::runtime::digest(trained(8, 1)) == keel::runtime::digest(trained(1, 1024)));
  CHECK(keel::runtime::digest(trained(8, 1)) != keel::runtime::digest(whole));
}

TEST_CASE("reward training: stopped and started again it ends bit for bit as if never stopped", "[reward]") {
  const keel::test::TemporaryFolder folder;
  RewardTrainConfig config = full_batch(3);
  config.batch_pairs = 3;  // 24 pairs in 8 steps across epochs
  const RewardModel straight = trainable_model();
  train_reward_model(straight, formula_pairs(), config, 5, folder / "straight");

  const int stops = 3;
  for (int stop = 0; stop <= stops; ++stop) {
    const RewardModel again = trainable_model();
    if (stop < stops) keel::core::request_interrupt();
    if (stop < stops) {
      CHECK_THROWS_AS(train_reward_model(again, formula_pairs(), config, 5, folder / "stopped"), keel::core::Interrupted);
      keel::core::clear_interrupt();
    } else {
      train_reward_model(again, formula_pairs(), config, 5, folder / "stopped");
      CHECK(keel::runtime::digest(parameters(again)) == keel::runtime::digest(parameters(straight)));
    }
  }
  CHECK(keel::test::read_text(folder / "stopped/metrics.jsonl") == keel::test::read_text(folder / "straight/metrics.jsonl"));
}

TEST_CASE("reward training: the reloaded model ranks and scores as the trained one", "[reward]") {
  const keel::test::TemporaryFolder folder;
  const RewardModel model = trainable_model();
  train_reward_model(model, formula_pairs(), full_batch(10), 1, folder / "run");
  const PairScores trained = score_pairs(model, formula_pairs());
  REQUIRE(trained.chosen.size() == 8);
  for (size_t i = 0; i < 8; ++i)
    CHECK(trained.chosen[i] > trained.rejected[i]);
  save_reward_model(model, folder / "rm", 0);
  const PairScores reloaded = score_pairs(load_reward_model(folder / "rm"), formula_pairs());
  CHECK(reloaded.chosen == trained.chosen);
  CHECK(reloaded.rejected == trained.rejected);
}

TEST_CASE("reward training: the defaults pass their own checks and come back from JSON", "[reward]") {
  RewardTrainConfig config, read;
  std::vector<std::string> problems;
  config.loss.margin = Margin::large;
  config.learning_rate = 5e-6;
  const auto json = keel::core::to_json(keel::core::fields_of(config));
  keel::core::assign(keel::core::fields_of(read), json, "test", problems);
  CHECK(problems.empty());
  CHECK(read.loss.margin == Margin::large);
  CHECK(keel::core::to_json(keel::core::fields_of(read)) == json);
  keel::core::assign(keel::core::fields_of(read), {{"loss", {{"margin", "huge"}}}, {"batch_pairs", 0}}, "test", problems);
  CHECK(problems.size() == 2);
}

TEST_CASE("reward training: warm-up is 3 %, at least 5 steps, at most a fifth", "[reward]") {
  const RewardTrainConfig config;
  CHECK(warmup_steps(config, 1000) == 30);
  CHECK(warmup_steps(config, 1001) == 31);
  CHECK(warmup_steps(config, 100) == 5);
  CHECK(warmup_steps(config, 25) == 5);
  CHECK(warmup_steps(config, 20) == 4);
  CHECK(warmup_steps(config, 4) == 0);
}

TEST_CASE("reward training: each setting, changed, ends in other weights", "[reward]") {
  const auto trained = [](const std::vector<std::string>& settings) {
    const keel::test::TemporaryFolder folder;
    const RewardTrainConfig config = keel::test::with_settings(full_batch(10), settings);
    const RewardModel model = reward_start(keel::test::tiny_llama(), config, 3);
    train_reward_model(model, formula_pairs(), config, 1, folder.path());
    return keel::runtime::digest(parameters({keel::policy::merged(model.backbone), model.score}));
  };
  const std::string own = "loss.margin=own";
  const std::vector<std::string> changes = {"loss.margin=none",
                                            "loss.margin=large",
                                            "loss.centring=0.1",
                                            "loss.safety_weight=0",
                                            "head=zeros",
                                            "epochs=11",
                                            "batch_pairs=4",
                                            "learning_rate=0.02",
                                            "final_ratio=1",
                                            "warmup_min_steps=0",
                                            "frozen_layers=1",
                                            "optimizer.beta1=0.5",
                                            "optimizer.beta2=0.5",
                                            "optimizer.epsilon=0.1",
                                            "optimizer.weight_decay=0",
                                            "optimizer.clip_norm=0.01",
                                            "lora.rank=2"};
  keel::test::check_each_changes(trained, changes);
  const std::string adapters = "lora.rank=2", scale = "lora.alpha=4", modules = R"(lora.target_modules=["down_proj"])";
  CHECK(trained({adapters, scale}) != trained({adapters}));
  CHECK(trained({adapters, modules}) != trained({adapters}));
  const std::string share = "warmup_share=0.15",
                    no_least = "warmup_min_steps=0";  // the share matters only above the minimum
  CHECK(trained({no_least, share}) != trained({no_least}));
  CHECK(trained({own, "loss.margin_table=[3,2,1,0.5]"}) != trained({"loss.margin=large"}));
  CHECK(trained({own, "loss.margin_table=[3,2,1,0]"}) == trained({"loss.margin=large"}));
  CHECK(trained({"gradient_checkpointing=true"}) == trained({}));
  keel::test::check_every_field_is_asked<RewardTrainConfig>(changes, {"loss.margin_table", "warmup_share", "micro_pairs", "micro_tokens",
                                                                      "gradient_checkpointing", "lora.alpha", "lora.target_modules"});
}

TEST_CASE("reward training: frozen layers stay bit for bit as they are, the rest learns", "[reward]") {
  const RewardModel start = trainable_model(), model = trainable_model();
  RewardTrainConfig config = full_batch(3);
  config.frozen_layers = 1;
  const keel::test::TemporaryFolder folder;
  train_reward_model(model, formula_pairs(), config, 1, folder.path());
  const auto before = parameters(start), after = parameters(model);
  for (size_t i = 0; i < before.size(); ++i) {
    INFO(before[i].name);
    const bool frozen = before[i].name.starts_with("model.embed_tokens.") || before[i].name.starts_with("model.layers.0.");
    CHECK(before[i].tensor.equal(after[i].tensor) == frozen);
  }
  config.frozen_layers = start.backbone.config.num_hidden_layers + 1;
  CHECK_THROWS_AS(train_reward_model(model, formula_pairs(), config, 1, folder / "deeper"), keel::core::ConfigError);
}

TEST_CASE("reward training with adapters: they and the head alone are trained, and an interruption changes no bit", "[reward]") {
  const keel::test::TemporaryFolder folder;
  const keel::policy::Llama base = keel::test::tiny_llama();
  const std::string before = keel::runtime::digest(keel::policy::parameters(base));
  RewardTrainConfig config = full_batch(6);
  config.lora = {.rank = 2, .alpha = 8};
  const RewardModel straight = reward_start(base, config, 3);
  CHECK(straight.backbone.layers[0].q.data_ptr() == base.layers[0].q.data_ptr());
  train_reward_model(straight, formula_pairs(), config, 1, folder / "straight");
  CHECK(keel::runtime::digest(keel::policy::parameters(base)) == before);
  CHECK(trained_parameters(straight, 0).size() == 9);  // q and v of two layers, each A and B, and the head
  CHECK_FALSE(straight.score.equal(reward_start(base, config, 3).score));
  for (int stop = 0; stop < 2; ++stop) {
    keel::core::request_interrupt();
    CHECK_THROWS_AS(train_reward_model(reward_start(base, config, 3), formula_pairs(), config, 1, folder / "stopped"),
                    keel::core::Interrupted);
    keel::core::clear_interrupt();
  }
  const RewardModel again = reward_start(base, config, 3);
  train_reward_model(again, formula_pairs(), config, 1, folder / "stopped");
  CHECK(keel::runtime::digest(trained_parameters(again, 0)) == keel::runtime::digest(trained_parameters(straight, 0)));
  config.frozen_layers = 1;
  CHECK_THAT(problems_of(config).at(0), Catch::Matchers::ContainsSubstring("frozen_layers"));
}

TEST_CASE("reward training: rules between the settings are checked before anything is read", "[reward]") {
  const keel::test::TemporaryFolder folder;
  RewardTrainConfig config = full_batch(1);
  config.loss.margin = Margin::own;
  CHECK_THROWS_AS(train_reward_model(trainable_model(), formula_pairs(), config, 1, folder.path()), keel::core::ConfigError);
}

TEST_CASE("reward training: no pairs and foreign ids are refused", "[reward]") {
  const keel::test::TemporaryFolder folder;
  CHECK_THROWS_AS(train_reward_model(trainable_model(), {}, full_batch(1), 1, folder.path()), c10::Error);
  std::vector<TokenPair> foreign = formula_pairs();
  foreign[3].chosen.push_back(99);
  CHECK_THROWS_AS(train_reward_model(trainable_model(), foreign, full_batch(1), 1, folder.path()), c10::Error);
}
