// What a recipe costs, against counts that are known or made by hand.
#include <catch2/catch_approx.hpp>
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>

#include <algorithm>

#include "core/error.h"
#include "pipelines/forecast/machine.h"

namespace keel::pipelines::forecast {
namespace {

using Catch::Approx;
using recipe::SourceKind;

// Llama 2 (its paper's table 1 and the released config.json files).
policy::LlamaConfig llama2(int64_t width, int64_t feed_forward, int64_t layers, int64_t heads, int64_t key_heads) {
  return {.vocab_size = 32000,
          .hidden_size = width,
          .intermediate_size = feed_forward,
          .num_hidden_layers = layers,
          .num_attention_heads = heads,
          .num_key_value_heads = key_heads};
}

policy::LlamaConfig smollm2() {
  policy::LlamaConfig shape = llama2(576, 1536, 30, 9, 3);
  shape.vocab_size = 49152;
  shape.tie_word_embeddings = true;
  return shape;
}

// Trunk 2 * (4 * 16 + 3 * 8) = 176, head 40, attention 4 * 2 * 4 = 32 a position.
policy::LlamaConfig tiny() {
  return {.vocab_size = 10,
          .hidden_size = 4,
          .intermediate_size = 2,
          .num_hidden_layers = 2,
          .num_attention_heads = 1,
          .num_key_value_heads = 1,
          .max_position_embeddings = 64};
}

const StageForecast& stage_of(const std::vector<StageForecast>& all, const std::string& name) {
  const auto found = std::find_if(all.begin(), all.end(), [&](const auto& one) { return one.stage == name; });
  REQUIRE(found != all.end());
  return *found;
}

recipe::Recipe own_recipe() {
  recipe::Recipe recipe;
  recipe.name = "own";
  recipe.versions = {"ppo"};
  recipe.data.source = recipe::DataSource::files;
  recipe.data.sources = {{.path = "h", .kind = SourceKind::helpfulness}, {.path = "s", .kind = SourceKind::safety}};
  recipe.preferences.annotator = recipe::Annotator::none;
  recipe.mixture = {.helpfulness_rest = 0, .safety_rest = 0};
  recipe.sft.epochs = 3;
  recipe.rejection.samples = 5;
  recipe.rejection.sampling.max_new_tokens = 10;
  recipe.rejection.sft.epochs = 1;
  recipe.evaluation.max_new_tokens = 10;
  recipe.ppo.iterations = 2;
  recipe.ppo.batch_answers = 8;
  recipe.ppo.epochs = 1;
  recipe.ppo.sampling.max_new_tokens = 10;
  recipe.ppo.validation.every = 2;
  return recipe;
}

Facts facts() {
  Facts facts;
  facts.demonstrations = {.count = 10, .tokens = 200, .targets = 60};
  facts.pairs["data"][SourceKind::helpfulness] = {.train = {.count = 10, .tokens = 300}, .test = {.count = 4, .tokens = 120}};
  facts.pairs["data"][SourceKind::safety] = {.train = {.count = 20, .tokens = 400}, .test = {.count = 5, .tokens = 100}};
  facts.prompts = {.count = 6, .tokens = 60};
  facts.prompts_validation = {.count = 3, .tokens = 30};
  facts.prompts_test = {.count = 4, .tokens = 40};
  facts.answers = {4, 10, 400};  // cut at 10: 8 on average
  return facts;
}

}  // namespace

TEST_CASE("cost: the parameters of released models", "[pipelines]") {
  CHECK(cost_of(llama2(4096, 11008, 32, 32, 32)).weights == 6'738'415'616);
  CHECK(cost_of(llama2(5120, 13824, 40, 40, 40)).weights == 13'015'864'320);
  CHECK(cost_of(llama2(8192, 28672, 80, 64, 8)).weights == 68'976'648'192);
  CHECK(cost_of(smollm2()).weights == 134'515'008);
}

TEST_CASE("cost: products and attention, counted by hand", "[pipelines]") {
  const Cost cost = cost_of(tiny());
  CHECK((cost.trunk == 176 && cost.head == 40 && cost.attention == 32 && cost.keys == 16));
  // 5 tokens in rows of 10, the head at 2: 5 * (352 + 32 * 5) + 2 * 80.
  CHECK(read_flop(cost, 5, 10, 2) == 5 * 512 + 160);
  // Every product has three passes: 3 * (5 * 512 + 160).
  CHECK(trained_flop(cost, 5, 10, 2) == 3 * (5 * 512 + 160));
  // Half of the layers frozen: the forward pass, and half of the other two.
  CHECK(trained_flop(cost, 5, 10, 0, {.share = 0.5}) == 2 * 5 * 512);
  // Adapters: no gradient of the frozen products, but attention as before.
  CHECK(trained_flop(cost, 5, 10, 0, {.adapters = true}) == 2 * 5 * 352 + 3 * 5 * 160);
  // Gradient checkpointing: the trunk once more, of half of the layers half of it.
  CHECK(trained_flop(cost, 5, 10, 2, {.again = true}) == 4 * 5 * 512 + 3 * 160);
  CHECK(trained_flop(cost, 5, 10, 0, {.share = 0.5, .again = true}) == 2.5 * 5 * 512);
  CHECK(written_flop(cost, 3, 7) == 3 * (2 * 216 + 32 * 7));
}

TEST_CASE("forecast: the work of each stage, counted by hand", "[pipelines]") {
  const recipe::Recipe recipe = own_recipe();
  const Cost cost = cost_of(tiny());
  const auto all = forecast(recipe, tiny(), facts(), {});
  CHECK(stage_of(all, "sft").work.trained == 3 * trained_flop(cost, 200, 20, 60));
  CHECK(stage_of(all, "reward_helpfulness").work.trained == trained_flop(cost, 300, 30, 0));
  CHECK(stage_of(all, "reward_safety").work.read == read_flop(cost, 100, 20));

  // 30 answers of 8 tokens to 6 prompts of 10, each prompt read once to write and once by each of two reward models.
  const Work& sampled = stage_of(all, "rs1").work;
  REQUIRE(sampled.written.size() == 1);
  CHECK((sampled.written[0].tokens == 240 && sampled.written[0].context == 14));
  CHECK(sampled.read == Approx(read_flop(cost, 60, 10, 6) + 2 * read_flop(cost, 60 + 240, 18)));
  CHECK(sampled.trained == Approx(trained_flop(cost, 6 * 18, 18, 48)));

  // 16 answers: rewards by two models, the reference's log-probs, the critic's values; policy and critic learn. Two validations, before the
  // first iteration and after the second: 6 answers more, which are read to be written, scored twice and compared with the reference.
  const Work& optimised = stage_of(all, "ppo").work;
  REQUIRE(optimised.written.size() == 2);
  CHECK((optimised.written[0].tokens == 128 && optimised.written[0].rows == 8 && optimised.written[1].tokens == 48));
  CHECK(optimised.trained == Approx(trained_flop(cost, 288, 18, 128) + trained_flop(cost, 288, 18, 0)));
  CHECK(optimised.read ==
        Approx(read_flop(cost, 160, 10, 16) + 2 * read_flop(cost, 288, 18) + read_flop(cost, 288, 18, 128) + read_flop(cost, 288, 18) +
               read_flop(cost, 60, 10, 6) + 2 * read_flop(cost, 108, 18) + read_flop(cost, 108, 18, 48)));

  recipe::Recipe other = recipe;
  other.ppo.critic = ppo::Critic::shared;
  CHECK(stage_of(forecast(other, tiny(), facts(), {}), "ppo").work.trained == Approx(trained_flop(cost, 288, 18, 128)));
  // With adapters they alone learn.
  other.ppo.critic = ppo::Critic::reward;
  other.ppo.lora.rank = 2;
  const Work adapted = stage_of(forecast(other, tiny(), facts(), {}), "ppo").work;
  CHECK((adapted.trained == 0 && adapted.adapted < optimised.trained));
  CHECK(adapted.read == Approx(optimised.read));

  // base, sft, rs1 and ppo answer 4 prompts each; two reward models and SFT's log-probs of whole rows; each reward model on both kinds of
  // held-out pairs, of 30 and 20 tokens.
  const Work& evaluated = stage_of(all, "evaluation").work;
  CHECK(evaluated.written[0].tokens == 128);
  CHECK(evaluated.read == Approx(read_flop(cost, 160, 10, 16) + 2 * read_flop(cost, 288, 18) + read_flop(cost, 288, 18, 288) +
                                 2 * (read_flop(cost, 120, 30) + read_flop(cost, 100, 20))));
}

TEST_CASE("forecast: mixtures, models of one's own, later versions", "[pipelines]") {
  const Cost cost = cost_of(tiny());
  recipe::Recipe recipe = own_recipe();
  recipe.mixture = {.helpfulness_rest = 0.5, .safety_rest = 0.5};
  // 10 of 20 safety pairs join 10 helpfulness pairs; but only 10 of these are there to join 20.
  auto all = forecast(recipe, tiny(), facts(), {});
  CHECK(stage_of(all, "reward_helpfulness").work.trained == Approx(trained_flop(cost, 300 + 200, 25, 0)));
  CHECK(stage_of(all, "reward_safety").work.trained == Approx(trained_flop(cost, 400 + 300, 700. / 30, 0)));

  recipe = own_recipe();
  recipe.versions = {"rejection", "rejection"};
  recipe.rejection.pool_from = 2;
  recipe.data.sources = {{.path = "h", .kind = SourceKind::helpfulness}, {.path = "h2", .kind = SourceKind::helpfulness, .batch = 2}};
  recipe.reward.first.safety = "own";
  Facts two = facts();
  two.pairs["data"].erase(SourceKind::safety);
  two.pairs["data2"][SourceKind::helpfulness] = {.train = {.count = 5, .tokens = 100}, .test = {.count = 2, .tokens = 40}};
  all = forecast(recipe, tiny(), two, {});
  CHECK((stage_of(all, "reward_safety").work.trained == 0 && stage_of(all, "reward_safety").work.read == 0));  // copied
  CHECK(stage_of(all, "reward_helpfulness2").work.trained == Approx(trained_flop(cost, 400, 400. / 15, 0)));
  CHECK(stage_of(all, "reward_helpfulness2").work.read == Approx(1.5 * read_flop(cost, 160, 160. / 6)));
  CHECK(std::ranges::none_of(all, [](const auto& stage) { return stage.stage == "reward_safety2"; }));
  CHECK(stage_of(all, "rs2").work.trained == Approx(2 * stage_of(all, "rs1").work.trained));  // its own answers and V1's

  recipe::Recipe sandbox;  // 2 x 100 and 50 comparisons of two answers, half of them the grammar's
  sandbox.versions = {"reward"};
  sandbox.preferences.pairs = 100;
  sandbox.preferences.public_pairs = 50;
  sandbox.preferences.grammar_share = 0.5;
  sandbox.preferences.max_new_tokens = 10;
  CHECK(stage_of(forecast(sandbox, tiny(), facts(), {}), "comparisons").work.written[0].tokens == 250 * 8);
}

TEST_CASE("forecast: memory grows with weights, workers and micro-batches", "[pipelines]") {
  recipe::Recipe recipe = own_recipe();
  recipe.sft.batch = {.batch_rows = 4, .row_tokens = 512, .micro_rows = 2};
  const double weights = 134'515'008;
  const auto sft = [&](const Numbers& numbers) { return stage_of(forecast(recipe, smollm2(), facts(), numbers), "sft").bytes - 0.25e9; };
  // Weights, gradients and two moments; 1,024 tokens of 30 layers that keep 4 * 576 + 2 * 192 + 2 * 1536 numbers; logits.
  const double one = 16 * weights + 1024 * 4.0 * 30 * (4 * 576 + 2 * 192 + 2 * 1536) + 4.0 * 1024 * 49152;
  CHECK(sft({}) == Approx(one));
  CHECK(sft({.weight = 4, .workers = 2, .trainers = 2}) == Approx(one + 4 * weights + (one - 16 * weights)));
  recipe.sft.batch.gradient_checkpointing = true;  // the inputs of 30 layers and one layer's numbers
  CHECK(sft({}) == Approx(16 * weights + 1024 * 4.0 * (30 * 576 + 4 * 576 + 2 * 192 + 2 * 1536) + 4.0 * 1024 * 49152));
  recipe.sft.batch.gradient_checkpointing = false;
  recipe.sft.lora.rank = 8;
  // Frozen weights; adapters of q (576 to 576) and v (576 to 192) in 30 layers, with gradient and moments; the matrices that they are
  // merged into; a token's 8 numbers of each.
  const double adapters = 30 * 8 * (576 + 576 + 576 + 192), kept = 4 * 576 + 2 * 192 + 2 * 1536 + 2 * 8, merged = 30 * 576 * (576 + 192);
  const double adapted = 4 * weights + 16 * adapters + 4 * merged + 1024 * 4.0 * 30 * kept + 4.0 * 1024 * 49152;
  CHECK(sft({}) == Approx(adapted));
  // Of a file in bf16 the matrices of layers take half.
  const double matrices = 30 * (2 * 576 * 576 + 2 * 576 * 192 + 3 * 576 * 1536);
  CHECK(sft({.bf16_base = true}) == Approx(adapted - 2 * matrices));
}

TEST_CASE("forecast: the worked examples of docs/performance.md, a model of 1.1 billion parameters and two workers", "[pipelines]") {
  const policy::LlamaConfig shape = llama2(2048, 5632, 22, 32, 4);
  const Numbers numbers{.weight = 4, .workers = 2};
  recipe::Recipe recipe = own_recipe();
  recipe.ppo.lora.rank = 8;
  recipe.ppo.micro_tokens = 512;
  recipe.ppo.micro_answers = 1000;
  recipe.ppo.batch_rows = 1;
  // 4.4 GB of policy and reference, 8.8 of two reward models and the critic on one of them, 1.8 GB of activations a worker, 0.4
  // of merged q and v of policy and critic each.
  CHECK(stage_of(forecast(recipe, shape, facts(), numbers), "ppo").bytes == Approx(13.2e9 + 2 * 1.8e9 + 2 * 0.4e9).epsilon(0.05));
  recipe.reward.frozen_layers = 14;
  recipe.reward.micro_tokens = 1024;
  CHECK(stage_of(forecast(recipe, shape, facts(), numbers), "reward_safety").bytes == Approx(9.7e9).epsilon(0.06));
}

TEST_CASE("forecast: where every stage trains adapters, models share what none of them changes", "[pipelines]") {
  recipe::Recipe recipe = own_recipe();
  for (policy::LoraConfig* lora : {&recipe.sft.lora, &recipe.reward.lora, &recipe.rejection.sft.lora, &recipe.ppo.lora})
    lora->rank = 8;
  const auto evaluation = [&](const Numbers& numbers) {  // base, sft, rs1 and ppo one after the other, SFT and two reward models beside
    return stage_of(forecast(recipe, llama2(4096, 11008, 32, 32, 32), facts(), numbers), "evaluation").bytes;
  };
  recipe.evaluation.batch_rows = 1;
  const double all = 6'738'415'616, layers = 32. * (4. * 4096 * 4096 + 3. * 4096 * 11008), adapted = 32. * 2 * 4096 * 4096;
  CHECK(evaluation({}) == Approx(4 * (all + 3 * adapted)).epsilon(0.01));
  CHECK(evaluation({.bf16_base = true}) == Approx(4 * (all + 3 * adapted) - 2 * (layers - adapted)).epsilon(0.01));
}

TEST_CASE("forecast: a step of writing is bound by memory or by arithmetic", "[pipelines]") {
  const Cost cost = cost_of(llama2(4096, 11008, 32, 32, 32));
  Machine machine = named_machine("h100");
  const Work one{.written = {{.tokens = 100, .rows = 1, .context = 1024}}};
  // 13.2 GB of products and 0.54 GB of keys and values for each token.
  CHECK(seconds(one, cost, machine) == Approx(100 * (2 * (cost.trunk + cost.head) + 2 * 1024 * cost.keys) / machine.bandwidth));
  machine.bandwidth = 1e18;
  CHECK(seconds(one, cost, machine) == Approx(written_flop(cost, 100, 1024) / machine.written));
  CHECK_THROWS_WITH(named_machine("h1000"), Catch::Matchers::ContainsSubstring("a100, h100, h200"));
}

}  // namespace keel::pipelines::forecast
