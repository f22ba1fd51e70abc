#include <torch/csrc/autograd/autograd.h>

#include <numeric>
#include <set>

#include "core/error.h"
#include "core/interrupt.h"
#include "policy/language_model_training.h"
#include "policy/lively_model.h"
#include "policy/lora.h"
#include "policy/packed_model.h"
#include "policy/pretrain.h"
#include "policy/sft.h"
#include "runtime/parallel.h"
#include "support/options.h"
#include "support/tiny_model.h"

using Catch::Matchers::ContainsSubstring;
using keel::core::TokenSequence;
using keel::policy::Llama;
using keel::policy::PretrainConfig;
using keel::policy::RowPlan;
using keel::policy::SftConfig;
using keel::policy::Source;
using keel::test::TemporaryFolder;

namespace {

// The sequences of tools/oracle/sft_losses.py.
std::vector<TokenSequence> twelve_sequences() {
  std::vector<TokenSequence> list(12);
  for (int64_t i = 0; i < 12; ++i) {
    auto& sequence = list[static_cast<size_t>(i)];
    for (int64_t t = 0; t < 3 + (5 * i) % 7; ++t) {
      sequence.ids.push_back(1 + (3 * i + 2 * t + t * t) % 10);
      sequence.loss_mask.push_back(t >= 1 + i % 3);
    }
  }
  return list;
}

SftConfig small_sft(int64_t steps, int64_t micro_rows = 8) {
  SftConfig config;
  config.steps = steps;
  config.batch = {.batch_rows = 8, .row_tokens = 16, .micro_rows = micro_rows};
  config.schedule = {.learning_rate = .01, .warmup_steps = 1};
  return config;
}

std::vector<double> logged(const std::filesystem::path& folder, const std::string& name) {
  std::vector<double> values;
  for (const auto& point : keel::core::read_metrics(folder / "metrics.jsonl"))
    for (const auto& [key, value] : point.values)
      if (key == name) values.push_back(value);
  return values;
}

// How often a plan names each sequence.
std::vector<int64_t> uses(const RowPlan& rows, size_t begin, size_t end, size_t sequences) {
  std::vector<int64_t> counts(sequences);
  for (size_t row = begin; row < end; ++row)
    for (const int64_t index : rows[row])
      ++counts[static_cast<size_t>(index)];
  return counts;
}

std::vector<TokenSequence> documents_of(const std::vector<size_t>& lengths) {
  std::vector<TokenSequence> list;
  for (const size_t length : lengths)
    list.push_back({.ids = keel::test::some_ids(list.size(), length), .loss_mask = std::vector<bool>(length, true)});
  return list;
}

std::vector<int64_t> flat(const RowPlan& rows) {
  std::vector<int64_t> order;
  for (const auto& row : rows)
    order.insert(order.end(), row.begin(), row.end());
  return order;
}

}  // namespace

TEST_CASE("sft: twenty losses equal those of a PyTorch loop that packs nothing", "[policy]") {
  const TemporaryFolder folder;
  const Llama model = keel::test::tiny_llama();
  const auto sequences = twelve_sequences();
  std::vector<int64_t> order, lengths;
  for (int64_t j = 0; j < 1000; ++j) {
    order.push_back(7 * j % 12);
    lengths.push_back(std::ssize(sequences[static_cast<size_t>(order.back())].ids));
  }
  RowPlan rows = keel::runtime::plan_rows(lengths, 16);
  rows.resize(40);
  for (auto& row : rows)
    for (auto& place : row)
      place = order[static_cast<size_t>(place)];
  const std::vector<TokenSequence> no_validation;
  train_language_model(
      model,
      {.label = "sft",
       .sequences = sequences,
       .rows = rows,
       .validation = no_validation,
       .batch = {.batch_rows = 2, .row_tokens = 16, .micro_rows = 1},
       .optimizer = {},
       .schedule = {.learning_rate = .01, .schedule = keel::runtime::Schedule::cosine, .final_ratio = .1, .warmup_steps = 4}},
      folder.path());

  const double expected[] = {2.734128,  2.8706574, 2.4577141, 2.6125395, 2.4616294, 2.4369719, 2.3702791, 2.1926248, 2.2838118, 2.1503053,
                             2.3514514, 2.0838463, 2.124408,  2.1519673, 1.9939814, 2.3144467, 1.9343852, 2.089422,  2.0871336, 1.9336571};
  const auto losses = logged(folder.path(), "loss");
  REQUIRE(losses.size() == 20);
  for (size_t i = 0; i < 20; ++i)
    CHECK(losses[i] == Catch::Approx(expected[i]).epsilon(1e-4));
  const std::vector<double> targets = {18, 21, 15, 22, 20};
  for (size_t i = 0; i < 20; ++i)
    CHECK(logged(folder.path(), "tokens")[i] == targets[i % 5]);
  CHECK(mean_loss(model, sequences, {.row_tokens = 9, .micro_rows = 3}) == Catch::Approx(2.0464673).epsilon(1e-4));
}

TEST_CASE("sft (pitfall 3): the end of an answer counts though its id is the one that pads rows", "[policy]") {
  const Llama model = keel::test::lively_llama();
  const keel::policy::BatchConfig batch{.row_tokens = 16, .micro_rows = 2};
  const TokenSequence answer{.ids = {1, 2, 3, 0}, .loss_mask = {false, false, true, true}},
      longer{.ids = {4, 5, 6, 7, 8, 0}, .loss_mask = {false, true, true, true, true, true}};
  const auto of_answer = sequence_logprobs(model, {answer.ids})[0], of_longer = sequence_logprobs(model, {longer.ids})[0];
  CHECK(mean_loss(model, {answer}, batch) == Catch::Approx(-(of_answer[1] + of_answer[2]) / 2).epsilon(1e-5));
  double sum = of_answer[1] + of_answer[2];
  for (const double logprob : of_longer)
    sum += logprob;
  CHECK(mean_loss(model, {answer, longer}, batch) == Catch::Approx(-sum / 7).epsilon(1e-5));
}

TEST_CASE("sft: the loss counts masked targets only", "[policy]") {
  const Llama model = keel::test::lively_llama();
  const keel::policy::BatchConfig batch{.row_tokens = 32, .micro_rows = 4};
  const TokenSequence short_one{.ids = {1, 2, 3, 4}, .loss_mask = {false, false, true, true}};
  TokenSequence longer = short_one;  // more ids at the end, none of them a target
  for (const int64_t id : {9, 8, 7}) {
    longer.ids.push_back(id);
    longer.loss_mask.push_back(false);
  }
  const double loss = mean_loss(model, {short_one}, batch);
  const auto logprobs = sequence_logprobs(model, {short_one.ids})[0];
  CHECK(loss == Catch::Approx(-(logprobs[1] + logprobs[2]) / 2).epsilon(1e-5));
  CHECK(mean_loss(model, {longer}, batch) == Catch::Approx(loss).epsilon(1e-5));
  longer.loss_mask.back() = true;
  CHECK(mean_loss(model, {longer}, batch) != Catch::Approx(loss).epsilon(1e-3));
  CHECK_THROWS_WITH(mean_loss(model, {{.ids = {1, 2}, .loss_mask = {true, false}}}, batch), ContainsSubstring("no target counts"));
}

TEST_CASE("sft: each setting, changed, ends in other weights, or is refused where nothing reads it", "[policy]") {
  const auto trained = [](const std::vector<std::string>& settings) {
    const TemporaryFolder folder;
    SftConfig config = small_sft(0);
    config.batch.batch_rows = 2;
    const Llama model = keel::test::tiny_llama();
    config = keel::test::with_settings(config, settings);
    const Llama tuned = sft_start(model, config, 1);
    train_sft(tuned, twelve_sequences(), {}, config, 1, folder.path());
    return keel::runtime::digest(parameters(merged(tuned)));
  };
  const std::vector<std::string> changes = {"epochs=3",
                                            "steps=5",
                                            "batch.batch_rows=3",
                                            "batch.row_tokens=12",
                                            "optimizer.beta1=0.5",
                                            "optimizer.beta2=0.5",
                                            "optimizer.epsilon=0.1",
                                            "optimizer.weight_decay=0",
                                            "optimizer.clip_norm=0.01",
                                            "schedule.learning_rate=0.02",
                                            "schedule.schedule=constant",
                                            "schedule.final_ratio=1",
                                            "schedule.warmup_steps=0",
                                            "lora.rank=2"};
  keel::test::check_each_changes(trained, changes);
  const std::string adapters = "lora.rank=2", scale = "lora.alpha=4", modules = R"(lora.target_modules=["down_proj"])";
  CHECK(trained({adapters, scale}) != trained({adapters}));
  CHECK(trained({adapters, modules}) != trained({adapters}));
  // The others have their own tests: the same result, and the kept weights.
  keel::test::check_every_field_is_asked<SftConfig>(
      changes, {"batch.micro_rows", "batch.gradient_checkpointing", "batch.validate_every", "lora.alpha", "lora.target_modules"});
  SftConfig both;
  both.steps = 5;
  CHECK(problems_of(both).empty());
  both.epochs = 3;
  REQUIRE(problems_of(both).size() == 1);
  CHECK_THAT(problems_of(both)[0], ContainsSubstring("epochs") && ContainsSubstring("steps"));
}

TEST_CASE("sft: the size of the micro-batches changes neither losses nor weights, gradient checkpointing not even a bit", "[policy]") {
  const TemporaryFolder folder;
  const Llama whole = keel::test::tiny_llama();
  train_sft(whole, twelve_sequences(), {}, small_sft(3, 8), 1, folder / "8");
  SftConfig checkpointing = small_sft(3, 8);
  checkpointing.batch.gradient_checkpointing = true;
  const Llama again = keel::test::tiny_llama();
  train_sft(again, twelve_sequences(), {}, checkpointing, 1, folder / "again");
  CHECK(logged(folder / "again", "loss") == logged(folder / "8", "loss"));
  for (size_t i = 0; i < parameters(whole).size(); ++i)
    CHECK(parameters(again)[i].tensor.equal(parameters(whole)[i].tensor));
  for (const int64_t micro_rows : {1, 2, 5}) {
    const Llama parts = keel::test::tiny_llama();
    const auto path = folder / std::to_string(micro_rows);
    train_sft(parts, twelve_sequences(), {}, small_sft(3, micro_rows), 1, path);
    for (size_t i = 0; i < 3; ++i)
      CHECK(logged(path, "loss")[i] == Catch::Approx(logged(folder / "8", "loss")[i]).epsilon(1e-6));
    const auto expected = parameters(whole), actual = parameters(parts);
    for (size_t i = 0; i < expected.size(); ++i)
      CHECK_CLOSE(actual[i].tensor, expected[i].tensor, 1e-6);
  }
}

TEST_CASE("training: gradients of micro-batches that are added in place are those of the summed loss, tied and with adapters", "[policy]") {
  auto shape = keel::test::lively_config();
  shape.hidden_size = 200, shape.intermediate_size = 264, shape.vocab_size = 1100, shape.max_position_embeddings = 200;
  shape.tie_word_embeddings = GENERATE(false, true);
  Llama model = keel::policy::make_llama(shape, 7);
  const bool adapters = GENERATE(false, true);
  if (adapters) {
    model = keel::policy::with_lora(model, {.rank = 3, .target_modules = {"q_proj", "v_proj", "down_proj"}}, 1, "test");
    at::manual_seed(1);
    keel::policy::visit_adapters(model,
                                 [](const std::string&, keel::policy::LowRank& adapter) { adapter.b = at::randn_like(adapter.b) * .2; });
  }
  const auto weights = adapters ? keel::policy::lora_parameters(model) : parameters(model);
  keel::runtime::set_trainable(weights, true);
  std::vector<keel::runtime::TargetBatch> parts;
  std::vector<TokenSequence> sequences;
  for (const auto& ids : keel::test::some_rows({40, 190, 17}))
    sequences.push_back({.ids = ids, .loss_mask = std::vector<bool>(ids.size(), true)});
  for (const TokenSequence& sequence : sequences)
    parts.push_back(keel::runtime::pack({{&sequence}}));
  const auto loss = [&](int64_t part) {
    return masked_logprobs(model, parts[static_cast<size_t>(part)]).sum() * (0.1 * static_cast<double>(part + 1));
  };
  at::set_num_threads(1);
  const auto expected = torch::autograd::grad({loss(0) + loss(1) + loss(2)}, keel::runtime::tensors_of(weights));
  std::vector<at::Tensor> together;
  for (const int threads : {1, 2, 3})
    for (const bool share : {false, true}) {
      INFO(threads << " threads, together: " << share);
      at::set_num_threads(threads);
      const keel::runtime::OneWorker one(share);
      keel::runtime::clear_gradients(weights);
      keel::runtime::accumulate_gradients(weights, 3, loss);
      std::vector<at::Tensor> found;
      for (size_t i = 0; i < weights.size(); ++i) {
        found.push_back(weights[i].tensor.grad().clone());
        const double unit = expected[i].abs().max().item<double>();
        CHECK_CLOSE(found[i] / unit, expected[i] / unit, 2e-5);
        if (share && !together.empty()) CHECK(found[i].equal(together[i]));
      }
      if (share) together = found;
    }
  at::set_num_threads(1);
}

TEST_CASE("training: of a model above four million weights no number depends on the threads", "[policy]") {
  auto shape = keel::test::lively_config();
  shape.hidden_size = 128, shape.intermediate_size = 128, shape.vocab_size = 32'000, shape.num_hidden_layers = 1;
  const TemporaryFolder folder;
  std::vector<Llama> trained;
  for (const int threads : {1, 2, 3}) {
    trained.push_back(keel::policy::make_llama(shape, 7));
    REQUIRE(keel::policy::threads_share(trained.back()));
    at::set_num_threads(threads);
    train_sft(trained.back(), twelve_sequences(), {}, small_sft(2, 1), 1, folder / std::to_string(threads));
    for (size_t i = 0; i < parameters(trained[0]).size(); ++i)
      CHECK(parameters(trained.back())[i].tensor.equal(parameters(trained[0])[i].tensor));
  }
  at::set_num_threads(1);
  CHECK_FALSE(keel::policy::threads_share(keel::test::tiny_llama()));
}

TEST_CASE("sft: stopped and started again it ends bit for bit as if never stopped", "[policy]") {
  const TemporaryFolder folder;
  SftConfig config = small_sft(5, 3);
  config.batch.validate_every = 2;
  const std::vector<TokenSequence> all = twelve_sequences(), held_out(all.begin(), all.begin() + 4);
  const Llama straight = keel::test::tiny_llama();
  train_sft(straight, all, held_out, config, 3, folder / "straight");
  for (int stop = 0; stop < 3; ++stop) {
    keel::core::request_interrupt();
    CHECK_THROWS_AS(train_sft(keel::test::tiny_llama(), all, held_out, config, 3, folder / "stopped"), keel::core::Interrupted);
    keel::core::clear_interrupt();
  }
  const Llama again = keel::test::tiny_llama();
  train_sft(again, all, held_out, config, 3, folder / "stopped");
  CHECK(keel::runtime::digest(parameters(again)) == keel::runtime::digest(parameters(straight)));
  CHECK(keel::test::read_text(folder / "stopped/metrics.jsonl") == keel::test::read_text(folder / "straight/metrics.jsonl"));
  CHECK(logged(folder / "straight", "eval_loss").size() == 3);
  // Work after training may be interrupted too: no step is repeated, else this request would stop it.
  keel::core::request_interrupt();
  CHECK_NOTHROW(train_sft(keel::test::tiny_llama(), all, held_out, config, 3, folder / "stopped"));
  keel::core::clear_interrupt();
}

TEST_CASE("sft with adapters: they alone are trained, and stopped and started again they end bit for bit as if never stopped", "[policy]") {
  const TemporaryFolder folder;
  SftConfig config = small_sft(5, 3);
  config.batch.validate_every = 2;
  config.lora = {.rank = 2, .alpha = 8};
  const std::vector<TokenSequence> all = twelve_sequences(), held_out(all.begin(), all.begin() + 4);
  const Llama base = keel::test::tiny_llama();
  const std::string before = keel::runtime::digest(parameters(base));
  const Llama straight = sft_start(base, config, 3);
  CHECK(straight.layers[0].q.data_ptr() == base.layers[0].q.data_ptr());
  train_sft(straight, all, held_out, config, 3, folder / "straight");
  CHECK(keel::runtime::digest(parameters(base)) == before);
  for (const auto& weight : parameters(base))
    CHECK_FALSE(weight.tensor.requires_grad());
  const auto losses = logged(folder / "straight", "loss");
  CHECK(losses.back() < losses.front());
  for (int stop = 0; stop < 3; ++stop) {
    keel::core::request_interrupt();
    CHECK_THROWS_AS(train_sft(sft_start(base, config, 3), all, held_out, config, 3, folder / "stopped"), keel::core::Interrupted);
    keel::core::clear_interrupt();
  }
  const Llama again = sft_start(base, config, 3);
  train_sft(again, all, held_out, config, 3, folder / "stopped");
  CHECK(keel::runtime::digest(lora_parameters(again)) == keel::runtime::digest(lora_parameters(straight)));
  CHECK(keel::runtime::digest(lora_parameters(again)) != keel::runtime::digest(lora_parameters(sft_start(base, config, 3))));
  CHECK(keel::test::read_text(folder / "stopped/metrics.jsonl") == keel::test::read_text(folder / "straight/metrics.jsonl"));
  CHECK(mean_loss(merged(again), held_out, config.batch) == Catch::Approx(mean_loss(again, held_out, config.batch)).epsilon(1e-6));
  config.lora.rank = 9;
  CHECK_THROWS_WITH(sft_start(base, config, 3), ContainsSubstring("lora.rank must be at most"));
  config.lora = {.alpha = 3};
  CHECK_THAT(problems_of(config).at(0), ContainsSubstring("lora.alpha"));
}

TEST_CASE("sft: the weights that are kept have the lowest held-out loss", "[policy]") {
  const TemporaryFolder folder;
  SftConfig config = small_sft(12);
  config.batch.validate_every = 1;
  config.schedule.learning_rate = .1;  // too high: some steps make it worse
  const std::vector<TokenSequence> all = twelve_sequences(), train(all.begin(), all.begin() + 6), held_out(all.begin() + 6, all.end());
  const Llama model = keel::test::tiny_llama();
  const auto result = train_sft(model, train, held_out, config, 1, folder.path());
  const auto losses = logged(folder.path(), "eval_loss");
  CHECK(result.best == *std::min_element(losses.begin(), losses.end()));
  CHECK(result.best < losses.back());
  CHECK(mean_loss(model, held_out, config.batch) == result.best);
}

TEST_CASE("sft: sequences that the model cannot take, and batches without a target, are refused", "[policy]") {
  const TemporaryFolder folder;
  SftConfig config = small_sft(1);
  const auto with = [&](const TokenSequence& sequence) { train_sft(keel::test::tiny_llama(), {sequence}, {}, config, 1, folder.path()); };
  CHECK_THROWS_WITH(with({.ids = {1, 11}, .loss_mask = {true, true}}), ContainsSubstring("id 11 lies outside the vocabulary"));
  CHECK_THROWS_WITH(with({.ids = {1, 2}, .loss_mask = {true, false}}), ContainsSubstring("no target"));
  CHECK_THROWS_WITH(with({.ids = keel::core::Ids(17, 1), .loss_mask = std::vector<bool>(17, true)}), ContainsSubstring("17 tokens"));
  config.batch.row_tokens = 64;
  CHECK_THROWS_WITH(with({.ids = keel::core::Ids(33, 1), .loss_mask = std::vector<bool>(33, true)}), ContainsSubstring("context of 32"));
  CHECK_THROWS_WITH(train_sft(keel::test::tiny_llama(), {}, {}, small_sft(1), 1, folder.path()), ContainsSubstring("nothing to train on"));
}

TEST_CASE("sft: every epoch holds every sequence once, in an order of its own", "[policy]") {
  const auto sequences = twelve_sequences();
  SftConfig config;
  config.epochs = 1;
  config.batch.row_tokens = 16;
  const RowPlan one = plan_epochs(sequences, config, 5);
  config.epochs = 3;
  const RowPlan three = plan_epochs(sequences, config, 5);
  CHECK(uses(one, 0, one.size(), 12) == std::vector<int64_t>(12, 1));
  CHECK(uses(three, 0, three.size(), 12) == std::vector<int64_t>(12, 3));
  CHECK(RowPlan(three.begin(), three.begin() + std::ssize(one)) == one);
  const auto order = flat(three);
  CHECK(std::set<int64_t>(order.begin() + 12, order.begin() + 24).size() == 12);
  CHECK_FALSE(std::equal(order.begin(), order.begin() + 12, order.begin() + 12));
  CHECK(plan_epochs(sequences, config, 5) == three);
  CHECK(plan_epochs(sequences, config, 6) != three);
  for (const auto& row : three) {
    size_t tokens = 0;
    for (const int64_t index : row)
      tokens += sequences[static_cast<size_t>(index)].ids.size();
    CHECK(tokens <= 16);
  }
}

TEST_CASE("sft: a number of steps instead of epochs gives exactly that many full batches", "[policy]") {
  for (const int64_t steps : {1, 7}) {
    const SftConfig config = small_sft(steps);
    CHECK(std::ssize(plan_epochs(twelve_sequences(), config, 5)) == steps * 8);
  }
}

TEST_CASE("pretrain: documents are split into parts that lose nothing", "[policy]") {
  const auto parts = keel::policy::split_document({1, 2, 3, 4, 5}, 2);
  REQUIRE(parts.size() == 3);
  CHECK(parts[0].ids == keel::core::Ids{1, 2});
  CHECK(parts[2].ids == keel::core::Ids{5});
  CHECK(parts[1].loss_mask == std::vector<bool>{true, true});
  CHECK(keel::policy::split_document({1, 2}, 2).size() == 1);
  CHECK(keel::policy::split_document({}, 2).empty());
}

TEST_CASE("pretrain: sources are drawn by their share of tokens, each in rounds without repetition", "[policy]") {
  const auto documents = documents_of({5, 9, 2, 7, 4, 8, 3, 6, 6, 1});
  const std::vector<Source> sources = {{"facts", 3, {0, 1, 2}}, {"web", 1, {3, 4, 5, 6, 7, 8}}, {"never", 0, {9}}, {"empty", 5, {}}};
  PretrainConfig config;
  config.tokens = 4000;
  config.batch.row_tokens = 20;
  const RowPlan rows = plan_mixture(documents, sources, config, 8);
  double facts = 0, web = 0;
  std::vector<int64_t> of_web;
  for (const int64_t index : flat(rows)) {
    const auto tokens = static_cast<double>(documents[static_cast<size_t>(index)].ids.size());
    (index < 3 ? facts : web) += tokens;
    if (index >= 3) of_web.push_back(index);
  }
  CHECK(facts + web >= 4000);
  CHECK(facts + web < 4000 + 9);
  CHECK(std::abs(facts / 3 - web) <= 9);  // never further apart than one document
  CHECK(uses(rows, 0, rows.size(), 10)[9] == 0);
  for (size_t begin = 0; begin + 6 <= of_web.size(); begin += 6)
    CHECK(std::set<int64_t>(&of_web[begin], &of_web[begin] + 6).size() == 6);
  CHECK_FALSE(std::equal(of_web.begin(), of_web.begin() + 6, of_web.begin() + 6));
  CHECK(plan_mixture(documents, sources, config, 8) == rows);
  CHECK(plan_mixture(documents, sources, config, 9) != rows);
}

TEST_CASE("pretrain: sources weigh their tokens times their factor, and what names no source is refused", "[policy]") {
  const auto documents = documents_of({4, 6, 5, 5});
  std::vector<Source> sources = {{"facts", 1, {0, 1}}, {"web", 1, {2, 3}}};
  weigh_sources(sources, documents, {});
  CHECK(sources[0].weight == 10);
  CHECK(sources[1].weight == 10);
  weigh_sources(sources, documents, {"facts=2.5", "web=0"});
  CHECK(sources[0].weight == 25);
  CHECK(sources[1].weight == 0);
  for (const char* wrong : {"facts", "facts=", "facts=x", "facts=-1", "facts=nan", "books=2", ""})
    CHECK_THROWS_AS(weigh_sources(sources, documents, {wrong}), keel::core::ConfigError);
  CHECK_THROWS_WITH(weigh_sources(sources, documents, {"books=2"}), ContainsSubstring("it has facts, web"));
}

TEST_CASE("pretrain: a budget whose plan no memory holds is refused at once", "[policy]") {
  const auto documents = documents_of({4});
  PretrainConfig config;
  CHECK_THROWS_WITH(plan_mixture(documents, {{"a", 1, {0}}}, config, 1), ContainsSubstring("tokens must be at most"));
}

TEST_CASE("pretrain: a mixture of nothing, or of empty documents, is refused", "[policy]") {
  const auto documents = documents_of({0, 3});
  PretrainConfig config;
  config.tokens = 10;
  CHECK_THROWS_WITH(plan_mixture(documents, {{"a", 0, {1}}, {"b", 1, {}}}, config, 1), ContainsSubstring("positive weight"));
  CHECK_THROWS_WITH(plan_mixture(documents, {{"a", 1, {0}}}, config, 1), ContainsSubstring("document 0 of source a holds no tokens"));
}

TEST_CASE("pretrain: the loss of text that repeats falls", "[policy]") {
  const TemporaryFolder folder;
  const Llama model = keel::test::tiny_llama();
  keel::core::Ids text;
  for (int64_t i = 0; i < 200; ++i)
    text.push_back(1 + i % 5);
  const auto parts = keel::policy::split_document(text, 20);
  PretrainConfig config;
  config.tokens = 20 * 2 * 30;
  config.batch = {.batch_rows = 2, .row_tokens = 20, .micro_rows = 2};
  config.schedule = {.learning_rate = .05, .warmup_steps = 2};
  std::vector<int64_t> all(parts.size());
  std::iota(all.begin(), all.end(), 0);
  train_pretrain(model, parts, {{"text", 1, all}}, {}, config, 1, folder.path());
  const auto losses = logged(folder.path(), "loss");
  CHECK(losses.size() == 30);
  CHECK(losses.front() > 2);
  CHECK(losses.back() < .5);
}
