#include "pipelines/forecast/forecast.h"

#include <algorithm>
#include <cmath>

#include "pipelines/recipe/versions.h"

namespace keel::pipelines::forecast {
namespace {

using recipe::SourceKind;

constexpr double kProgram = 0.25e9;    // bytes of the program and its libraries
constexpr double kMostLogits = 268e6;  // bytes of logits that a worker keeps, docs/performance.md

// The stages of one run; each function is a stage.
class Forecast {
 public:
  Forecast(const recipe::Recipe& recipe, const policy::LlamaConfig& shape, const Facts& facts, const Numbers& numbers)
      : recipe_(recipe), cost_(cost_of(shape)), facts_(facts), numbers_(numbers), versions_(recipe::versions_of(recipe)) {}

  std::vector<StageForecast> all() {
    if (recipe::from_sandbox(recipe_)) add("base", base(), tuned_bytes(recipe_.pretrain.batch, 0));
    if (recipe_.sft.enabled)
      add("sft", tuned(recipe_.sft, facts_.demonstrations, facts_.demonstrations_validation), tuned_bytes(recipe_.sft));
    for (const recipe::Version& version : versions_)
      add_version(version);
    add("evaluation", evaluation(),
        scoring_bytes(reward_models()) + 2 * model_bytes() + cache_bytes(recipe_.evaluation.batch_rows, length()));
    if (recipe_.best_of.samples > 0) add("best_of", best_of(), scoring_bytes(2) + model_bytes() + cache_bytes(64, length()));
    if (recipe::has_gatt(recipe_))
      add("gatt_evaluation", retention(), model_bytes() + cache_bytes(recipe_.gatt.answers.batch_rows, 4 * length()));
    return std::move(stages_);
  }

 private:
  void add(const std::string& stage, Work work, double bytes) { stages_.push_back({stage, std::move(work), bytes + kProgram}); }

  void add_version(const recipe::Version& version) {
    if (!version.comparisons.empty()) add(version.comparisons, comparisons(version), model_bytes() + cache_bytes(64, length()));
    for (const auto& [kind, stage] : {std::pair{SourceKind::helpfulness, version.helpfulness}, {SourceKind::safety, version.safety}})
      if (is_new(stage)) add(stage, reward(pairs_until(version, kind), rest_share(kind), version.number > 1), reward_bytes());
    if (version.number == 1 && recipe::has_general_reward(recipe_))
      add(recipe::kGeneralReward, reward(pairs_until(version, SourceKind::public_pairs), 0, false), reward_bytes());
    if (version.number == 1)
      for (const auto& [kind, pairs] : facts_.gold)
        add(kind == SourceKind::safety ? recipe::kGoldSafety : recipe::kGoldHelpfulness, reward(pairs, 0, false), reward_bytes());
    if (!version.gatt.empty())
      add(version.gatt, ghost_attention(), model_bytes() + cache_bytes(recipe_.gatt.answers.batch_rows, 4 * length()));
    if (!version.distill.empty()) add(version.distill, distillation(), model_bytes() + scoring_bytes(1) + cache_bytes(64, length()));
    if (!version.rejection.empty())
      add(version.rejection, rejection(),
          model_bytes() + std::max(scoring_bytes(2) + cache_bytes(recipe_.rejection.batch_rows, length()),
                                   tuned_bytes(recipe_.rejection.sft) - numbers_.weight * cost_.weights));
    if (!version.ppo.empty()) add(version.ppo, ppo(), ppo_bytes());
  }

  bool is_new(const std::string& stage) const {
    return !stage.empty() && std::ranges::none_of(stages_, [&](const auto& known) { return known.stage == stage; });
  }

  // ---- work ----

  double prompt() const { return facts_.prompts.length(); }
  double length() const { return prompt() + facts_.answer_tokens(recipe_.rejection.sampling.max_new_tokens); }

  // `answers` written to prompts, of which `read` are read before.
  Work written(double answers, double answer_tokens, int64_t rows, double read_prompts) const {
    return {.read = read_flop(cost_, read_prompts * prompt(), prompt(), read_prompts),
            .written = {{.tokens = answers * answer_tokens, .rows = static_cast<double>(rows), .context = prompt() + answer_tokens / 2}}};
  }

  // Scores of `answers` to `prompts`; what the answers to a prompt share is read once.
  double scored(double answers, double answer_tokens, double prompts) const {
    return read_flop(cost_, prompts * prompt() + answers * answer_tokens, prompt() + answer_tokens);
  }

  Work base() const {
    const policy::PretrainConfig& config = recipe_.pretrain;
    const auto tokens = static_cast<double>(config.tokens), row = static_cast<double>(config.batch.row_tokens);
    const double steps = tokens / (row * static_cast<double>(config.batch.batch_rows));
    const double validations =
        1 + (config.batch.validate_every > 0 ? std::floor(steps / static_cast<double>(config.batch.validate_every)) : 0);
    const Rows& held_out = facts_.pretraining_validation;
    return {.trained = trained_flop(cost_, tokens, held_out.length(), tokens),
            .read = validations * read_flop(cost_, held_out.tokens, held_out.length(), held_out.tokens),
            .written = {}};
  }

  Work tuned(const policy::SftConfig& config, const Rows& rows, const Rows& validation) const {
    const double row_tokens = static_cast<double>(config.batch.row_tokens * config.batch.batch_rows);
    const double passes = config.steps > 0 && rows.tokens > 0 ? static_cast<double>(config.steps) * row_tokens / rows.tokens
                                                              : static_cast<double>(config.epochs);
    const double steps = passes * rows.tokens / row_tokens;
    const double validations =
        1 + (config.batch.validate_every > 0 ? std::floor(steps / static_cast<double>(config.batch.validate_every)) : 0);
    return {.trained = passes * trained_flop(cost_, rows.tokens, rows.length(), rows.targets, 1, config.lora.rank > 0),
            .read = validations * read_flop(cost_, validation.tokens, validation.length(), validation.targets),
            .written = {}};
  }

  // Two answers to each prompt, by the newest model and, from V2 on, the one before.
  Work comparisons(const recipe::Version& version) const {
    const auto& config = recipe_.preferences;
    const double kinds = config.public_pairs > 0 && version.number == 1 ? 3 : 2;
    const auto pairs = static_cast<double>(version.number == 1 ? config.pairs : config.later_pairs);
    const double by_models = version.number == 1 ? 1 - config.grammar_share : 1, answers = 2 * kinds * pairs * by_models;
    return written(answers, facts_.answer_tokens(config.max_new_tokens), 64, answers);
  }

  // Pairs of a kind that a version's reward model learns from: those of all batches so far.
  PairRows pairs_until(const recipe::Version& version, SourceKind kind) const {
    PairRows all;
    for (const std::string& batch : recipe::batches_until(versions_, version)) {
      if (const auto given = facts_.pairs.find(batch); given != facts_.pairs.end()) {
        if (const auto of_kind = given->second.find(kind); of_kind != given->second.end())
          all.train += of_kind->second.train, all.test += of_kind->second.test;
        continue;
      }
      const auto& config = recipe_.preferences;  // a batch that is yet to be collected
      const bool first = batch == versions_.front().preferences;
      if (kind == SourceKind::public_pairs && !first) continue;
      const auto pairs = static_cast<double>(kind == SourceKind::public_pairs ? config.public_pairs
                                             : first                          ? config.pairs
                                                                              : config.later_pairs);
      const double tokens = prompt() + 2 * facts_.answer_tokens(config.max_new_tokens);
      const double test = recipe::from_sandbox(recipe_) ? config.held_out : recipe_.data.held_out;
      all.train += {.count = (1 - test) * pairs, .tokens = (1 - test) * pairs * tokens};
      all.test += {.count = test * pairs, .tokens = test * pairs * tokens};
    }
    return all;
  }

  double rest_share(SourceKind kind) const {
    return kind == SourceKind::helpfulness ? recipe_.mixture.helpfulness_rest : recipe_.mixture.safety_rest;
  }

  double trained_layers() const { return 1 - static_cast<double>(recipe_.reward.frozen_layers) / cost_.layers; }

  // `chooses`: the new model and the one before are compared.
  Work reward(PairRows pairs, double rest, bool chooses) const {
    if (const auto own = static_cast<double>(recipe_.mixture.own_pairs); own > 0 && own < pairs.train.count) {
      pairs.train.tokens *= own / pairs.train.count;
      pairs.train.count = own;
    }
    const double learned = pairs.train.tokens / (1 - rest) * static_cast<double>(recipe_.reward.epochs), pair = pairs.train.length();
    return {.trained = trained_flop(cost_, learned, pair, 0, trained_layers(), recipe_.reward.lora.rank > 0),
            .read = (chooses ? 1.5 : 1) * read_flop(cost_, pairs.test.tokens, pair),
            .written = {}};
  }

  Work rejection() const {
    const recipe::RejectionSection& config = recipe_.rejection;
    const double prompts = facts_.prompts.count, answers = prompts * static_cast<double>(config.samples),
                 tokens = facts_.answer_tokens(config.sampling.max_new_tokens);
    Work work = written(answers, tokens, config.batch_rows, prompts);
    work.read += 2 * scored(answers, tokens, prompts);
    const Rows kept{.count = prompts, .tokens = prompts * (prompt() + tokens), .targets = prompts * tokens};
    work.trained = tuned(config.sft, kept, {}).trained;
    return work;
  }

  Work ppo() const {
    const ppo::PpoConfig& config = recipe_.ppo;
    const auto iterations = static_cast<double>(config.iterations), rows = static_cast<double>(config.batch_answers);
    const double tokens = facts_.answer_tokens(config.sampling.max_new_tokens), row = prompt() + tokens, answers = iterations * rows;
    const bool own_critic = config.critic != ppo::Critic::shared, adapters = config.lora.rank > 0;
    Work work = written(answers, tokens, config.batch_rows, answers);
    work.read += 2 * scored(answers, tokens, answers) + read_flop(cost_, answers * row, row, answers * tokens) +
                 (own_critic ? read_flop(cost_, answers * row, row) : 0);
    const double passes = static_cast<double>(config.epochs);
    work.trained = passes * (trained_flop(cost_, answers * row, row, answers * tokens, 1, adapters) +
                             (own_critic ? trained_flop(cost_, answers * row, row, 0, 1, adapters) : 0));
    const double validations = 1 + std::ceil(iterations / static_cast<double>(config.validation.every)),
                 held_out = validations * facts_.prompts_validation.count;
    work.written.push_back({.tokens = held_out * tokens, .rows = static_cast<double>(config.batch_rows), .context = row - tokens / 2});
    work.read += 2 * scored(held_out, tokens, held_out);
    return work;
  }

  double reward_models() const {
    return recipe::gold_of(recipe_) == recipe::Gold::models ? 4 : recipe::has_general_reward(recipe_) ? 3 : 2;
  }

  Work evaluation() const {
    const auto models = static_cast<double>(recipe::run_models(recipe_).size());
    const double prompts = recipe_.evaluation.split == recipe::Split::test ? facts_.prompts_test.count : facts_.prompts_validation.count,
                 tokens = facts_.answer_tokens(recipe_.evaluation.max_new_tokens), answers = models * prompts, row = prompt() + tokens;
    Work work = written(answers, tokens, recipe_.evaluation.batch_rows, answers);
    work.read += reward_models() * scored(answers, tokens, answers) + read_flop(cost_, 2 * answers * row, row, 2 * answers * tokens);
    double held_out = 0;  // every reward model on every kind's pairs
    for (const SourceKind kind : {SourceKind::helpfulness, SourceKind::safety})
      held_out += pairs_until(versions_.back(), kind).test.tokens;
    work.read += 2 * read_flop(cost_, held_out, length());
    return work;
  }

  Work best_of() const {
    const auto& config = recipe_.best_of;
    const auto models = static_cast<double>(recipe::run_models(recipe_).size() - 1);
    const double prompts = std::min(static_cast<double>(config.prompts), facts_.prompts_test.count),
                 answers = models * prompts * static_cast<double>(config.samples) * static_cast<double>(config.temperatures.size()),
                 tokens = facts_.answer_tokens(recipe_.evaluation.max_new_tokens);
    Work work = written(answers, tokens, 64, models * prompts);
    work.read += 2 * scored(answers, tokens, models * prompts);
    return work;
  }

  // Dialogues answered turn by turn. `turns` of each; a turn is read once, on top of the kept ones.
  Work dialogues(double count, double turns, const recipe::AnswerConfig& answers) const {
    const double tokens = facts_.answer_tokens(answers.sampling.max_new_tokens), context = turns * (prompt() + tokens) / 2;
    return {.read = read_flop(cost_, count * turns * prompt(), 2 * context),
            .written = {{.tokens = count * turns * tokens, .rows = static_cast<double>(answers.batch_rows), .context = context}}};
  }

  Work ghost_attention() const { return dialogues(facts_.dialogues, facts_.turns, recipe_.gatt.answers); }

  Work retention() const {
    const auto& config = recipe_.gatt.retention;
    const auto turns = static_cast<double>(config.turns.empty() ? 0 : *std::ranges::max_element(config.turns));
    const auto models = static_cast<double>(recipe::run_models(recipe_).size() - 1);
    return dialogues(models * 4 * static_cast<double>(config.dialogues), turns, recipe_.gatt.answers);
  }

  // An answer with and one without the preprompt, both scored.
  Work distillation() const {
    const double prompts = facts_.prompts.count / 2, tokens = facts_.answer_tokens(recipe_.distill.answers.sampling.max_new_tokens);
    Work work = written(2 * prompts, tokens, recipe_.distill.answers.batch_rows, 2 * prompts);
    work.read += scored(2 * prompts, tokens, 2 * prompts);
    return work;
  }

  // ---- memory, in bytes ----

  double held_bytes() const { return numbers_.weight * cost_.weights; }

  // A model that answers or scores.
  double model_bytes() const { return held_bytes() * (held_bytes() <= numbers_.packed_limit ? 2 : 1); }
  double scoring_bytes(double models) const { return models * model_bytes(); }

  double cache_bytes(int64_t rows, double tokens) const {
    return numbers_.workers * static_cast<double>(rows) * tokens * numbers_.weight * cost_.keys;
  }

  // Weights, gradients and moments, of the `trained` share of the weights, and gradients of further workers.
  double state_bytes(double trained, const policy::LoraConfig& lora) const {
    if (lora.rank > 0) return held_bytes();  // adapters are small
    return 4 * cost_.weights + trained * cost_.weights * (12 + 4 * (numbers_.workers - 1));
  }

  double activation_bytes(double tokens, double layers, const policy::LoraConfig& lora) const {
    return numbers_.workers * tokens * 4 * layers * (lora.rank > 0 ? cost_.kept_by_ops : cost_.kept);
  }

  double tuned_bytes(const policy::SftConfig& config) const { return state_bytes(1, config.lora) + micro_bytes(config.batch, config.lora); }
  double tuned_bytes(const policy::BatchConfig& batch, int64_t rank) const {
    return state_bytes(1, {.rank = rank}) + micro_bytes(batch, {.rank = rank});
  }
  double micro_bytes(const policy::BatchConfig& batch, const policy::LoraConfig& lora) const {
    const auto tokens = static_cast<double>(batch.micro_rows * batch.row_tokens);
    return activation_bytes(tokens, cost_.layers, lora) + numbers_.workers * std::min(kMostLogits, 4 * tokens * cost_.vocabulary);
  }

  double reward_bytes() const {
    const reward::RewardTrainConfig& config = recipe_.reward;
    return state_bytes(trained_layers(), config.lora) +
           activation_bytes(static_cast<double>(config.micro_tokens), cost_.layers * trained_layers(), config.lora);
  }

  double ppo_bytes() const {
    const ppo::PpoConfig& config = recipe_.ppo;
    const double row = prompt() + static_cast<double>(config.sampling.max_new_tokens);
    const double tokens = std::min(static_cast<double>(config.micro_tokens), row * static_cast<double>(config.micro_answers));
    const double trained = config.critic == ppo::Critic::shared ? 1 : 2, packed = model_bytes() - held_bytes();
    return trained * state_bytes(1, config.lora) + packed + held_bytes() + scoring_bytes(2) +
           activation_bytes(tokens, cost_.layers, config.lora) + numbers_.workers * std::min(kMostLogits, 4 * tokens * cost_.vocabulary);
  }

  const recipe::Recipe& recipe_;
  Cost cost_;
  const Facts& facts_;
  Numbers numbers_;
  std::vector<recipe::Version> versions_;
  std::vector<StageForecast> stages_;
};

}  // namespace

std::vector<StageForecast> forecast(const recipe::Recipe& recipe, const policy::LlamaConfig& shape, const Facts& facts,
                                    const Numbers& numbers) {
  return Forecast(recipe, shape, facts, numbers).all();
}

}  // namespace keel::pipelines::forecast
