#include "pipelines/forecast/work.h"

#include <algorithm>
#include <cmath>

namespace keel::pipelines::forecast {
namespace {

using recipe::SourceKind;

double prompt_tokens(const Run& run) {
  return run.facts.prompts.length();
}

double number(int64_t value) {
  return static_cast<double>(value);
}

// `answers` written, at most `rows` together, to prompts of which `read` are read before.
Work written(const Run& run, double answers, double tokens, int64_t rows, double read) {
  return {.read = read_flop(run.cost, read * prompt_tokens(run), prompt_tokens(run), read),
          .written = {{.tokens = answers * tokens,
                       .rows = std::max(1.0, std::min(number(rows), answers)),
                       .context = prompt_tokens(run) + tokens / 2}}};
}

// Scores of `answers` to `prompts` by one model; what the answers to a prompt share is read once.
double scored(const Run& run, double answers, double tokens, double prompts) {
  return read_flop(run.cost, prompts * prompt_tokens(run) + answers * tokens, prompt_tokens(run) + tokens);
}

double validations(const policy::BatchConfig& batch, double steps) {
  return 1 + (batch.validate_every > 0 ? std::floor(steps / number(batch.validate_every)) : 0);
}

// Training on `rows`, all of them `passes` times.
void train_(Work& work, const Run& run, const Rows& rows, double passes, const Trained& what) {
  (what.adapters ? work.adapted : work.trained) += passes * trained_flop(run.cost, rows.tokens, rows.length(), rows.targets, what);
}

Work tuned(const Run& run, const policy::SftConfig& config, const Rows& rows, const Rows& validation) {
  const double step_tokens = number(config.batch.row_tokens * config.batch.batch_rows);
  const double passes = config.steps > 0 && rows.tokens > 0 ? number(config.steps) * step_tokens / rows.tokens : number(config.epochs);
  Work work{.read = validations(config.batch, passes * rows.tokens / step_tokens) *
                    read_flop(run.cost, validation.tokens, validation.length(), validation.targets)};
  train_(work, run, rows, passes, {.adapters = config.lora.rank > 0, .again = config.batch.gradient_checkpointing});
  return work;
}

// Dialogues that are answered turn by turn; what is kept of earlier turns is not read again.
Work dialogues(const Run& run, double count, double turns, const recipe::AnswerConfig& answers) {
  const double tokens = run.facts.answer_tokens(answers.sampling.max_new_tokens), context = turns * (prompt_tokens(run) + tokens) / 2;
  return {.read = read_flop(run.cost, count * turns * prompt_tokens(run), 2 * context),
          .written = {{.tokens = count * turns * tokens, .rows = std::min(number(answers.batch_rows), count), .context = context}}};
}

double later_models(const Run& run) {  // all models of the run but the base
  return number(std::ranges::count_if(recipe::run_models(run.recipe), [](const auto& model) { return model.first != "base"; }));
}

const Rows& evaluated_prompts(const Run& run) {
  return run.recipe.evaluation.split == recipe::Split::test ? run.facts.prompts_test : run.facts.prompts_validation;
}

}  // namespace

double row_length(const Run& run) {
  return prompt_tokens(run) + run.facts.answer_tokens(answer_limit(run.recipe));
}

double reward_models(const Run& run) {
  return 2 + (recipe::gold_of(run.recipe) == recipe::Gold::models ? 2 : 0) + (recipe::has_general_reward(run.recipe) ? 1 : 0);
}

Work pretraining_work(const Run& run) {
  const policy::PretrainConfig& config = run.recipe.pretrain;
  const Rows& held_out = run.facts.pretraining_validation;
  const double tokens = number(config.tokens), steps = tokens / number(config.batch.row_tokens * config.batch.batch_rows);
  return {.trained = trained_flop(run.cost, tokens, held_out.length(), tokens, {.again = config.batch.gradient_checkpointing}),
          .read = validations(config.batch, steps) * read_flop(run.cost, held_out.tokens, held_out.length(), held_out.tokens)};
}

Work sft_work(const Run& run) {
  return tuned(run, run.recipe.sft, run.facts.demonstrations, run.facts.demonstrations_validation);
}

Work comparison_work(const Run& run, const recipe::Version& version) {
  const recipe::PreferenceConfig& config = run.recipe.preferences;
  const bool first = version.number == 1;
  const double pairs = first ? 2 * number(config.pairs) + number(config.public_pairs) : 2 * number(config.later_pairs);
  const double answers = 2 * pairs * (first ? 1 - config.grammar_share : 1);
  return written(run, answers, run.facts.answer_tokens(config.max_new_tokens), 64, answers);
}

PairRows pairs_until(const Run& run, const recipe::Version& version, SourceKind kind) {
  const recipe::PreferenceConfig& config = run.recipe.preferences;
  PairRows all;
  for (const std::string& batch : recipe::batches_until(run.versions, version)) {
    if (const auto given = run.facts.pairs.find(batch); given != run.facts.pairs.end()) {
      const auto of_kind = given->second.find(kind);
      if (of_kind == given->second.end()) continue;
      all.train += of_kind->second.train;
      all.test += of_kind->second.test;
      continue;
    }
    const bool first = batch == run.versions.front().preferences;
    if (kind == SourceKind::public_pairs && !first) continue;
    const double pairs = number(kind == SourceKind::public_pairs ? config.public_pairs : first ? config.pairs : config.later_pairs);
    const double tokens = prompt_tokens(run) + 2 * run.facts.answer_tokens(config.max_new_tokens);
    const double test = recipe::from_sandbox(run.recipe) ? config.held_out : run.recipe.data.held_out;
    all.train += {.count = (1 - test) * pairs, .tokens = (1 - test) * pairs * tokens};
    all.test += {.count = test * pairs, .tokens = test * pairs * tokens};
  }
  return all;
}

Work reward_work(const Run& run, const PairRows& own, const Rows& others, double rest_share, bool chooses) {
  const recipe::RewardSection& config = run.recipe.reward;
  Rows rows = own.train;
  if (const double most = number(run.recipe.mixture.own_pairs); most > 0 && most < rows.count)
    rows = {.count = most, .tokens = most * rows.length()};
  const double rest = std::min(others.count, rows.count * rest_share / (1 - rest_share));
  rows += {.count = rest, .tokens = rest * others.length()};
  Work work{.read = (chooses ? 1.5 : 1) * read_flop(run.cost, own.test.tokens, own.test.length())};  // half of them by both models
  train_(work, run, rows, number(config.epochs),
         {.share = 1 - number(config.frozen_layers) / run.cost.layers,
          .adapters = config.lora.rank > 0,
          .again = config.gradient_checkpointing});
  return work;
}

Work gatt_work(const Run& run) {
  return dialogues(run, run.facts.dialogues, run.facts.turns, run.recipe.gatt.answers);
}

// An answer with and one without the preprompt, both scored.
Work distillation_work(const Run& run) {
  const recipe::AnswerConfig& config = run.recipe.distill.answers;
  const double answers = 2 * run.facts.hazards, tokens = run.facts.answer_tokens(config.sampling.max_new_tokens);
  Work work = written(run, answers, tokens, config.batch_rows, answers);
  work.read += scored(run, answers, tokens, answers);
  return work;
}

Work rejection_work(const Run& run, const recipe::Version& version) {
  const recipe::RejectionSection& config = run.recipe.rejection;
  const double prompts = run.facts.prompts.count, answers = prompts * number(config.samples),
               tokens = run.facts.answer_tokens(config.sampling.max_new_tokens);
  Work work = written(run, answers, tokens, config.batch_rows, prompts);
  work.read += 2 * scored(run, answers, tokens, prompts);
  const double pooled = prompts * (version.number >= config.pool_from ? number(version.number) : 1);
  Rows rows{.count = pooled, .tokens = pooled * (prompt_tokens(run) + tokens), .targets = pooled * tokens};
  // Shares of the rows; a dialogue has many turns, of which the last answer is learned.
  const double gatt = version.gatt.empty() ? 0 : run.recipe.gatt.weight,
               distilled = version.distill.empty() ? 0 : run.recipe.distill.weight;
  const double with_others = pooled / (1 - gatt - distilled), of_gatt = std::min(gatt * with_others, run.facts.dialogues);
  const double dialogue = std::min(run.facts.turns * (prompt_tokens(run) + tokens), number(config.sft.batch.row_tokens));
  rows += {.count = of_gatt, .tokens = of_gatt * dialogue, .targets = of_gatt * tokens};
  const double of_distilled = std::min(distilled * with_others, run.facts.hazards);
  rows += {.count = of_distilled, .tokens = of_distilled * (prompt_tokens(run) + tokens), .targets = of_distilled * tokens};
  const Work fine_tuning = tuned(run, config.sft, rows, {});
  work.trained = fine_tuning.trained;
  work.adapted = fine_tuning.adapted;
  return work;
}

Work ppo_work(const Run& run) {
  const ppo::PpoConfig& config = run.recipe.ppo;
  const bool shared = config.critic == ppo::Critic::shared, exact = run.numbers.exact;
  const double iterations = number(config.iterations), answers = iterations * number(config.batch_answers),
               tokens = run.facts.answer_tokens(config.sampling.max_new_tokens), row = prompt_tokens(run) + tokens;
  const double logprobs = read_flop(run.cost, row, row, tokens), values = read_flop(run.cost, row, row);  // of an answer
  Work work = written(run, answers, tokens, std::min(config.batch_rows, config.batch_answers), answers);
  work.read += 2 * scored(run, answers, tokens, answers) + answers * (logprobs + values);  // rewards, reference, critic
  if (!exact) work.read += answers * (shared ? logprobs - values : logprobs);              // the policy's own
  const Rows rows{.count = answers, .tokens = answers * row, .targets = answers * tokens};
  const Trained what{.adapters = config.lora.rank > 0, .again = config.gradient_checkpointing};
  train_(work, run, rows, number(config.epochs), what);
  if (!shared) train_(work, run, {.count = answers, .tokens = answers * row}, number(config.epochs), what);
  if (config.ptx.weight > 0) {
    const double sequences = answers / number(config.minibatch_answers) * number(config.epochs) * number(config.ptx.batch_sequences);
    const Rows& text = run.facts.demonstrations;
    train_(work, run, {.count = sequences, .tokens = sequences * text.length(), .targets = sequences * text.length()}, 1, what);
  }
  const double held_out = (1 + std::ceil(iterations / number(config.validation.every))) * run.facts.prompts_validation.count;
  Work validation = written(run, held_out, tokens, config.batch_rows, held_out);
  work.read += validation.read + 2 * scored(run, held_out, tokens, held_out) + held_out * (exact ? 1 : 2) * logprobs;
  work.written.push_back(validation.written.front());
  return work;
}

Work evaluation_work(const Run& run) {
  const double models = number(std::ssize(recipe::run_models(run.recipe))), answers = models * evaluated_prompts(run).count,
               tokens = run.facts.answer_tokens(run.recipe.evaluation.max_new_tokens), row = prompt_tokens(run) + tokens;
  Work work = written(run, answers, tokens, run.recipe.evaluation.batch_rows, answers);
  work.read += reward_models(run) * scored(run, answers, tokens, answers) +
               (run.numbers.exact ? 1 : 2) * answers * read_flop(run.cost, row, row, row);  // log-probs of whole rows
  std::vector<SourceKind> kinds = {SourceKind::helpfulness, SourceKind::safety};
  if (recipe::has_general_reward(run.recipe)) kinds.push_back(SourceKind::public_pairs);
  for (const SourceKind kind : kinds) {  // every reward model on every kind's pairs
    const Rows held_out = pairs_until(run, run.versions.back(), kind).test;
    work.read += number(std::ssize(kinds)) * read_flop(run.cost, held_out.tokens, held_out.length());
  }
  return work;
}

Work best_of_work(const Run& run) {
  const recipe::BestOfConfig& config = run.recipe.best_of;
  const double asked = later_models(run) * std::min(number(config.prompts), evaluated_prompts(run).count) *
                       number(std::ssize(config.temperatures)),
               answers = asked * number(config.samples), tokens = run.facts.answer_tokens(run.recipe.evaluation.max_new_tokens);
  Work work = written(run, answers, tokens, run.recipe.evaluation.batch_rows, asked);
  work.read += 2 * scored(run, answers, tokens, asked);
  return work;
}

// Trained, unseen, combined and changed instructions.
Work retention_work(const Run& run) {
  const gatt::RetentionConfig& config = run.recipe.gatt.retention;
  const double turns = config.turns.empty() ? 0 : number(*std::ranges::max_element(config.turns));
  return dialogues(run, later_models(run) * 4 * number(config.dialogues), turns, run.recipe.gatt.answers);
}

}  // namespace keel::pipelines::forecast
