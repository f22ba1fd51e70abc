// Every default of a recipe beside the Llama 2 paper's value. A new field fails the last test until one of the tables has it.
#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "pipelines/recipe/departures.h"
#include "pipelines/recipe/recipe.h"
#include "support/test_plain.h"

namespace keel::pipelines::recipe {
namespace {

using Catch::Matchers::ContainsSubstring;

// Fields with a common default, as JSON, and its source: the place in the paper, or the reason.
using Defaults = Departure;

// Values that the paper states; `why` is its section or table.
const std::vector<Defaults>& stated_defaults() {
  static const std::vector<Defaults> table = {
      {{"llama.vocab_size"}, "32000", "2.2, tokenizer"},
      {{"llama.max_position_embeddings"}, "4096", "table 1"},
      {{"pretrain.tokens"}, "2000000000000", "table 1"},
      {{"pretrain.schedule.learning_rate"}, "3e-4", "table 1, 7B and 13B"},
      {{"pretrain.batch.row_tokens"}, "4096", "table 1, context"},
      {{"pretrain.batch.batch_rows"}, "1024", "table 1: 4M tokens a batch"},
      {{"pretrain.schedule.schedule"}, "\"cosine\"", "2.2"},
      {{"pretrain.schedule.warmup_steps"}, "2000", "2.2"},
      {{"pretrain.schedule.final_ratio"}, "0.1", "2.2"},
      // The reward models are trained as the base model was (3.2.2); 3.2.3 repeats the numbers for PPO.
      {{"pretrain.optimizer.beta1", "reward.optimizer.beta1", "ppo.optimizer.beta1"}, "0.9", "2.2, 3.2.2, 3.2.3"},
      {{"pretrain.optimizer.beta2", "reward.optimizer.beta2", "ppo.optimizer.beta2"}, "0.95", "2.2, 3.2.2, 3.2.3"},
      {{"pretrain.optimizer.epsilon", "reward.optimizer.epsilon", "ppo.optimizer.epsilon"}, "1e-5", "2.2, 3.2.2, 3.2.3"},
      {{"pretrain.optimizer.weight_decay", "reward.optimizer.weight_decay", "ppo.optimizer.weight_decay"}, "0.1", "2.2, 3.2.2, 3.2.3"},
      {{"pretrain.optimizer.clip_norm", "reward.optimizer.clip_norm", "ppo.optimizer.clip_norm"}, "1", "2.2, 3.2.2, 3.2.3"},
      // Training on kept answers uses the settings of SFT (3.2.3).
      {{"sft.epochs", "rejection.sft.epochs"}, "2", "3.1, 3.2.3"},
      {{"sft.batch.batch_rows", "rejection.sft.batch.batch_rows"}, "64", "3.1, 3.2.3"},
      {{"sft.batch.row_tokens", "rejection.sft.batch.row_tokens"}, "4096", "3.1, 3.2.3"},
      {{"sft.schedule.learning_rate", "rejection.sft.schedule.learning_rate"}, "2e-5", "3.1, 3.2.3"},
      {{"sft.schedule.schedule", "rejection.sft.schedule.schedule"}, "\"cosine\"", "3.1, 3.2.3"},
      {{"sft.optimizer.weight_decay", "rejection.sft.optimizer.weight_decay"}, "0.1", "3.1, 3.2.3"},
      {{"mixture.helpfulness_rest"}, "0.5", "3.2.2: an equal part of the rest"},
      {{"mixture.safety_rest"}, "0.1", "3.2.2: 90/10"},
      {{"reward.epochs"}, "1", "3.2.2"},
      {{"reward.batch_pairs"}, "512", "3.2.2"},
      {{"reward.learning_rate"}, "1e-5", "3.2.2; 5e-6 for 70B"},
      {{"reward.final_ratio"}, "0.1", "3.2.2"},
      {{"reward.warmup_share"}, "0.03", "3.2.2"},
      {{"reward.warmup_min_steps"}, "5", "3.2.2"},
      {{"versions"}, R"(["rejection", "rejection", "rejection", "rejection", "ppo"])", "3.2.3: V1 to V5, PPO after V4"},
      {{"rejection.pool_from"}, "4", "3.2.3: up to V3 the previous iteration's samples alone"},
      {{"combination.gate_threshold"}, "0.15", "3.2.3"},
      {{"reward.start"}, "\"sft\"", "3.2.2: from a chat model"},
      {{"gatt.data.shortened"}, "0.5", "A.3.5: half of the time"},
      {{"distill.data.keep"}, "\"better\"", "4.2.4: where the safety model scores the answer above the original one"},
      {{"ppo.iterations"}, "200", "3.2.3: 200 to 400"},
      {{"ppo.batch_answers"}, "512", "3.2.3"},
      {{"ppo.minibatch_answers"}, "64", "3.2.3"},
      {{"ppo.epochs"}, "1", "3.2.3: one gradient step a minibatch"},
      {{"ppo.schedule.learning_rate"}, "1e-6", "3.2.3"},
      {{"ppo.schedule.schedule"}, "\"constant\"", "3.2.3"},
      {{"ppo.loss.policy_clip"}, "0.2", "3.2.3"},
      {{"ppo.kl.coefficient"}, "0.01", "3.2.3, 7B and 13B; 0.005 for 34B and 70B"},
      {{"ppo.kl.controller"}, "\"fixed\"", "3.2.3: beta is a constant"},
      {{"ppo.kl.placement"}, "\"reward\"", "3.2.3, equation 4"},
      {{"ppo.score.whiten"}, "true", "3.2.3"},
  };
  return table;
}

constexpr const char* kAsPretraining = "not stated for fine-tuning; as in pretraining";
constexpr const char* kSpeed = "execution alone, same result";
constexpr const char* kOff = "not in the paper: off";
constexpr const char* kCustom = "not in the paper: the field's custom";
constexpr const char* kShape = "not in the paper: the released 7B model";
constexpr const char* kSandbox = "the sandbox is not the paper's";
constexpr const char* kUser = "the user's own to give";
constexpr const char* kLength = "not in the paper: small machines";

// Settings that the paper leaves open or keel adds. docs/recipe.md gives the full reasons.
const std::vector<Defaults>& open_defaults() {
  static const std::vector<Defaults> table = {
      {{"name", "model", "base", "data.helpful", "data.harmless", "reward.first.helpfulness", "reward.first.safety", "preferences.people",
        "preferences.judge.model", "gatt.judge.model"},
       "\"\"",
       kUser},
      {{"data.sources"}, "[]", kUser},
      {{"data.gold_share"}, "0", kOff},
      {{"sft.enabled"}, "true", "3.1"},
      {{"preferences.judge.url", "gatt.judge.url"}, "\"http://127.0.0.1:8000\"", kUser},
      {{"preferences.judge.parallel", "gatt.judge.parallel"}, "4", kSpeed},
      {{"preferences.judge.timeout_seconds", "gatt.judge.timeout_seconds"}, "120", kSpeed},
      {{"preferences.judge.retries", "gatt.judge.retries"}, "3", kSpeed},
      {{"preferences.judge.guidelines", "preferences.judge.verdict"}, "\"\"", kUser},
      {{"preferences.judge.temperature", "gatt.judge.temperature"}, "0", "not in the paper: people judged there"},
      {{"preferences.judge.max_tokens", "gatt.judge.max_tokens"}, "200", "not in the paper: people judged there"},
      {{"preferences.judge.budget", "gatt.judge.budget"}, "0", kOff},
      {{"preferences.judge.votes"}, "1", "not in the paper: people judged there"},
      {{"seed"}, "1", "not in the paper"},
      {{"threads"}, "0", kSpeed},
      {{"chat_format"}, "\"\"", "not in the paper: the checkpoint's own, and in the sandbox llama2, the released code's"},
      {{"llama.hidden_size"}, "4096", kShape},
      {{"llama.intermediate_size"}, "11008", kShape},
      {{"llama.num_hidden_layers", "llama.num_attention_heads", "llama.num_key_value_heads"}, "32", kShape},
      {{"llama.head_dim"}, "0", kShape},
      {{"llama.rms_norm_eps"}, "1e-5", kShape},
      {{"llama.rope_theta"}, "10000", kShape},
      {{"llama.tie_word_embeddings"}, "false", kShape},
      {{"pretrain.upsample"}, "[]", "2.2 up-samples the most factual sources and does not say by how much"},
      {{"pretrain.batch.gradient_checkpointing", "sft.batch.gradient_checkpointing", "rejection.sft.batch.gradient_checkpointing",
        "reward.gradient_checkpointing", "ppo.gradient_checkpointing"},
       "false",
       kSpeed},
      {{"pretrain.batch.micro_rows", "sft.batch.micro_rows", "rejection.sft.batch.micro_rows"}, "1", kSpeed},
      {{"pretrain.batch.validate_every", "sft.batch.validate_every", "rejection.sft.batch.validate_every"}, "0", "not in the paper"},
      {{"sft.optimizer.beta1", "rejection.sft.optimizer.beta1"}, "0.9", kAsPretraining},
      {{"sft.optimizer.beta2", "rejection.sft.optimizer.beta2"}, "0.95", kAsPretraining},
      {{"sft.optimizer.epsilon", "rejection.sft.optimizer.epsilon"}, "1e-5", kAsPretraining},
      {{"sft.optimizer.clip_norm", "rejection.sft.optimizer.clip_norm"}, "1", kAsPretraining},
      {{"sft.schedule.final_ratio", "rejection.sft.schedule.final_ratio"}, "0.1", kAsPretraining},
      {{"sft.schedule.warmup_steps", "rejection.sft.schedule.warmup_steps"}, "0", "none is stated"},
      {{"sft.steps", "rejection.sft.steps"}, "0", "3.2.3: the same number in every iteration, not stated which; 0 = by epochs"},

      {{"data.source"}, "\"sandbox\"", kSandbox},
      {{"data.drop_oldest_turns"}, "true", "not in the paper: keeps a long dialogue's last turns"},
      {{"data.allow_tags"}, "false", "not in the paper: a tag in a text is refused"},
      {{"data.max_pairs"}, "0", "all, as the paper"},
      {{"sandbox.corpus.documents"}, "60000", kSandbox},
      {{"sandbox.corpus.conversation", "sandbox.corpus.facts"}, "0.36", kSandbox},
      {{"sandbox.corpus.hazard"}, "0.08", kSandbox},
      {{"sandbox.corpus.instruction"}, "0.04", kSandbox},
      {{"sandbox.corpus.lookalike"}, "0.06", kSandbox},
      {{"sandbox.corpus.repetition"}, "0.1", kSandbox},
      {{"sandbox.demonstrations.hazards", "sandbox.demonstrations.lookalikes"}, "0.1", kSandbox},
      {{"sandbox.corpus.preprompt", "sandbox.corpus.control", "sandbox.demonstrations.instructed"}, "0", kSandbox},
      {{"sandbox.demonstrations.safety_used", "data.safety_used"}, "1", "all, as the paper's last model of 4.2.3"},
      {{"sandbox.dialogues.train"}, "600", kSandbox},
      {{"sandbox.dialogues.test"}, "40", kSandbox},
      {{"sandbox.dialogues.turns"}, "20", kSandbox},
      {{"sandbox.helpful_prompts"}, "1200", kSandbox},
      {{"sandbox.hazard_prompts"}, "400", kSandbox},
      {{"sandbox.lookalike_prompts", "sandbox.test_helpful"}, "240", kSandbox},
      {{"sandbox.test_hazard"}, "220", kSandbox},
      {{"sandbox.test_lookalike"}, "200", kSandbox},
      {{"sandbox.absent_skill"}, "\"\"", kSandbox},
      {{"preferences.grammar_share"}, "0.5", kSandbox},
      {{"preferences.public_pairs"}, "0", kOff},
      {{"preferences.temperatures"}, "[0.7, 1, 1.3]", "3.2.1: varied, not stated how"},
      {{"preferences.max_new_tokens", "rejection.sampling.max_new_tokens", "ppo.sampling.max_new_tokens",
        "gatt.answers.sampling.max_new_tokens", "distill.answers.sampling.max_new_tokens"},
       "256",
       kLength},

      {{"mixture.own_pairs"}, "0", "all, as the paper"},
      {{"mixture.drop_duplicates", "mixture.drop_shared_prompts"}, "false", kOff},
      {{"reward.head"}, "\"normal\"", kCustom},
      {{"reward.loss.margin"}, "\"small\"", "not stated for the final model: the best mean of table 28"},
      {{"reward.loss.margin_table"}, "[]", kOff},
      {{"reward.loss.safety_weight"}, "1", "A.3.4 states no weight"},
      {{"reward.loss.centring"}, "0", kOff},
      {{"reward.frozen_layers"}, "0", kOff},
      {{"reward.micro_pairs"}, "32", kSpeed},
      {{"reward.micro_tokens"}, "1024", kSpeed},

      {{"rejection.samples"}, "10", "K is not stated; the figures use 1 to 100"},
      {{"rejection.temperatures"}, "[]", kOff},
      {{"rejection.score"}, "\"combined\"", "3.2.3: the best reward model, not stated which"},
      {{"rejection.selection.finished_only"}, "true", "not in the paper: an answer that was cut would teach not to stop"},
      {{"rejection.sampling.temperature", "ppo.sampling.temperature", "gatt.answers.sampling.temperature",
        "distill.answers.sampling.temperature"},
       "1",
       "not in the paper"},
      {{"rejection.sampling.top_p", "ppo.sampling.top_p", "gatt.answers.sampling.top_p", "distill.answers.sampling.top_p"}, "1", kOff},
      {{"rejection.sampling.top_k", "ppo.sampling.top_k", "gatt.answers.sampling.top_k", "distill.answers.sampling.top_k"}, "0", kOff},
      {{"rejection.batch_rows", "ppo.batch_rows", "evaluation.batch_rows", "gatt.answers.batch_rows", "distill.answers.batch_rows"},
       "64",
       kSpeed},

      {{"ppo.micro_answers"}, "16", kSpeed},
      {{"ppo.micro_tokens"}, "512", kSpeed},
      {{"ppo.critic"}, "\"reward\"", kCustom},
      {{"ppo.critic_schedule.learning_rate"}, "1e-6", "the paper names one rate alone"},
      {{"ppo.critic_schedule.schedule"}, "\"constant\"", "as the policy's"},
      {{"ppo.schedule.final_ratio", "ppo.critic_schedule.final_ratio"}, "0.1", "of no use to a constant rate"},
      {{"ppo.schedule.warmup_steps", "ppo.critic_schedule.warmup_steps"}, "0", "none is stated"},
      {{"ppo.whiten_advantages"}, "true", kCustom},
      {{"ppo.ema_decay", "ppo.ptx.weight"}, "0", kOff},
      {{"sft.lora.rank", "rejection.sft.lora.rank", "reward.lora.rank", "ppo.lora.rank"}, "0", kOff},
      {{"ppo.ptx.batch_sequences"}, "64", "as many as a minibatch has answers"},
      {{"sft.lora.alpha", "rejection.sft.lora.alpha", "reward.lora.alpha", "ppo.lora.alpha"}, "16", kCustom},
      {{"sft.lora.target_modules", "rejection.sft.lora.target_modules", "reward.lora.target_modules", "ppo.lora.target_modules"},
       R"(["q_proj", "v_proj"])",
       kCustom},
      {{"ppo.kl.estimator"}, "\"k1\"", "not stated: the log-ratio of equation 4"},
      {{"ppo.kl.target"}, "6", "not in the paper: Ziegler et al. 2019"},
      {{"ppo.kl.horizon"}, "10000", "not in the paper: Ziegler et al. 2019"},
      {{"ppo.score.whiten_scope"}, "\"batch\"", "not stated: the plain reading"},
      {{"ppo.score.epsilon"}, "1e-8", kCustom},
      {{"ppo.score.logit_clamp"}, "1e-6", "not stated: keeps logit(0) and logit(1) finite"},
      {{"ppo.reward.missing_eos_penalty"}, "0", kOff},
      {{"ppo.gae.gamma"}, "1", kCustom},
      {{"ppo.gae.lambda"}, "0.95", kCustom},
      {{"ppo.loss.value_clip"}, "0.2", kCustom},
      {{"ppo.loss.value_weight"}, "0.5", kCustom},
      {{"ppo.validation.every"}, "10", "3.2.3 stops early by held-out prompts, not stated how"},
      {{"ppo.validation.kl_budget", "ppo.validation.patience"}, "0", "3.2.3 stops early by held-out prompts, not stated how"},

      {{"gatt.dialogues", "gatt.test_dialogues", "gatt.instructions", "distill.preprompts"}, "\"\"", kUser},
      {{"gatt.weight"}, "0.2", "3.3 fine-tunes on such dialogues and does not say on how many"},
      {{"gatt.data.most_combined"}, "3", "A.3.5: combined at random"},
      {{"gatt.data.form", "gatt.retention.form"}, "\"user\"", "3.3 joins the instruction to user turns, and speaks of system messages too"},
      {{"gatt.data.finished_only", "distill.data.finished_only"},
       "true",
       "not in the paper: an answer that was cut would teach not to stop"},
      {{"gatt.data.obeyed_only"}, "false", "not in the paper: its samples are not checked"},
      {{"gatt.retention.turns"}, "[2, 4, 6, 8, 10, 12, 14, 16, 18, 20]", "table 30 shows 2, 4, 6 and 20"},
      {{"gatt.listed.kinds"}, "[]", "A.3.5: the model lists hobbies and figures; off, because it must be one that can"},
      {{"gatt.listed.count"}, "50", "not in the paper"},
      {{"gatt.retention.dialogues"}, "100", "not in the paper"},
      {{"gatt.retention.most_combined"}, "2", "not in the paper"},
      {{"gatt.retention.change_at"}, "11", "not in the paper"},
      {{"distill.from_version"}, "0", "4.2.4 names no version: off"},
      {{"distill.weight"}, "0.1", "4.2.4 does not say on how many answers"},
      {{"distill.data.form"}, "\"system\"", "4.2.4: \"prefix\""},
      {{"evaluation.split"}, "\"test\"", "not in the paper"},
      {{"evaluation.replicates"}, "10000", "not in the paper"},
      {{"evaluation.shown_dialogues"}, "12", "not in the paper"},
      {{"best_of.samples"}, "0", "figures 7 and 8 are a study: off"},
      {{"best_of.temperatures"}, "[0.6, 0.8, 1, 1.2, 1.4]", "figure 8 does not state its grid in numbers"},
      {{"best_of.prompts"}, "100", kLength},
  };
  return table;
}

std::vector<const std::vector<Defaults>*> all_tables() {
  return {&stated_defaults(), &departing_defaults(), &open_defaults()};
}

}  // namespace

TEST_CASE("defaults: every field of a recipe has the value that a table says, and stands in one table once", "[pipelines]") {
  Recipe defaults;
  const core::Fields fields = core::fields_of(defaults);
  const nlohmann::json values = core::to_json(fields);
  std::map<std::string, int> placed;
  for (const auto* table : all_tables()) {
    for (const auto& [names, value, why] : *table) {
      CHECK_FALSE(why.empty());
      for (const std::string& name : names) {
        INFO(name << ": " << why);
        ++placed[name];
        std::string path = "/" + name;
        std::replace(path.begin(), path.end(), '.', '/');
        const nlohmann::json::json_pointer pointer(path);
        REQUIRE(values.contains(pointer));  // a removed field must leave the table too
        CHECK(values.at(pointer) == nlohmann::json::parse(value));
      }
    }
  }
  for (const core::Field& field : fields.list()) {
    INFO(field.name << " is a field of a recipe: place it in a table of this file, and in docs/recipe.md");
    CHECK(placed[field.name] == 1);
  }
}

TEST_CASE("defaults: docs/recipe.md names every default that departs from the paper", "[pipelines]") {
  const std::string page = test::read_text(std::filesystem::path(KEEL_SOURCE_DIR) / "docs/recipe.md");
  const size_t begin = page.find("## Where a default departs from the paper");
  REQUIRE(begin != std::string::npos);
  const std::string section = page.substr(begin, page.find("\n## ", begin + 1) - begin);
  for (const auto& entry : departing_defaults())
    for (const std::string& name : entry.fields)
      CHECK_THAT(section, ContainsSubstring("`" + name + "`"));
}

}  // namespace keel::pipelines::recipe
