// Every setting of a recipe outside SFT, reward models and PPO (which have their own such tests): changing it changes a stage's output, not
// only its key.
#include <fmt/format.h>

#include <map>

#include "core/log.h"
#include "pipelines/cli/keel_binary.h"
#include "pipelines/run/stage_runner.h"
#include "pipelines/stages/graph.h"
#include "pipelines/stages/outside.h"
#include "runtime/device.h"
#include "support/asked_fields.h"

namespace keel::pipelines::cli {
namespace {

using Settings = std::vector<std::string>;

struct Change {
  Settings context;  // settings needed for this one to have an effect
  std::string setting;
  std::string file;  // STAGE/FILE that it changes; holds no record of the settings
};

// A run folder in which recipes with different settings are computed, each as far as needed.
class Runs {
 public:
  Runs(std::string recipe, const std::filesystem::path& folder) : recipe_(std::move(recipe)), run_(folder) {
    run_.begin({.recipe = "options", .version = "test"});
  }

  std::string text(const Settings& settings, const std::string& file) {
    recipe::Recipe recipe = recipe::read_recipe(recipe_, {}, settings);
    core::DigestCache digests;
    const std::string stage = file.substr(0, file.find('/'));
    const auto stages = stages::build_stages(recipe, stages::external_digests(recipe, digests));
    run::RunOptions options;
    options.seed = 1;
    options.until = stage;
    execute(run_, stages, options);
    return test::read_text(*run_.current(stage) / file.substr(stage.size() + 1));
  }
  std::string digest(const Settings& settings, const std::string& file) { return core::sha256(text(settings, file)); }

 private:
  std::string recipe_;
  run::RunDirectory run_;
};

// The requested settings.
Settings check_changes(Runs& runs, const std::vector<Change>& changes) {
  std::map<std::pair<Settings, std::string>, std::string> before;
  Settings asked;
  for (const auto& [context, setting, file] : changes) {
    INFO(setting);
    auto& plain = before[{context, file}];
    if (plain.empty()) plain = runs.digest(context, file);
    Settings changed = context;
    changed.push_back(setting);
    CHECK(runs.digest(changed, file) != plain);
    asked.push_back(setting);
  }
  return asked;
}

const Settings kTwoVersions = {"versions=[\"rejection\",\"rejection\"]"};

const Settings kGatt = {"gatt.from_version=1",        "gatt.data.finished_only=false", "gatt.answers.sampling.max_new_tokens=4",
                        "sandbox.dialogues.train=6",  "sandbox.dialogues.test=2",      "sandbox.dialogues.turns=3",
                        "gatt.retention.turns=[1,3]", "gatt.retention.dialogues=2",    "gatt.retention.change_at=2"};
const Settings kDistill = {"distill.from_version=1", "distill.data.finished_only=false", "distill.data.keep=always",
                           "distill.answers.sampling.max_new_tokens=4"};

const std::vector<Change> kSandboxChanges = {
    {{}, "sandbox.vocab_size=520", "corpus/tokenizer.model"},
    {{}, "sandbox.corpus.documents=900", "corpus/corpus.jsonl"},
    {{}, "sandbox.corpus.facts=0.1", "corpus/corpus.jsonl"},
    {{}, "sandbox.corpus.repetition=0.3", "corpus/corpus.jsonl"},
    {{}, "sandbox.corpus.conversation=0.1", "corpus/corpus.jsonl"},
    {{}, "sandbox.corpus.hazard=0.2", "corpus/corpus.jsonl"},
    {{}, "sandbox.corpus.lookalike=0.2", "corpus/corpus.jsonl"},
    {{}, "sandbox.corpus.instruction=0.2", "corpus/corpus.jsonl"},
    {{}, "sandbox.corpus.preprompt=0.2", "corpus/corpus.jsonl"},
    {{}, "sandbox.corpus.control=0.2", "corpus/corpus.jsonl"},
    {{}, "sandbox.demonstrations.count=61", "data/demonstrations.jsonl"},
    {{}, "sandbox.demonstrations.instructed=0.3", "data/demonstrations.jsonl"},
    {{}, "sandbox.demonstrations.safety_used=0.5", "data/demonstrations.jsonl"},
    {{}, "sandbox.demonstrations.hazards=0.3", "data/demonstrations.jsonl"},
    {{}, "sandbox.demonstrations.lookalikes=0.3", "data/demonstrations.jsonl"},
    {{}, "sandbox.helpful_prompts=60", "data/prompts_train.jsonl"},
    {{}, "sandbox.hazard_prompts=20", "data/prompts_train.jsonl"},
    {{}, "sandbox.lookalike_prompts=20", "data/prompts_train.jsonl"},
    {{}, "sandbox.test_helpful=13", "data/prompts_test.jsonl"},
    {{}, "sandbox.test_hazard=7", "data/prompts_test.jsonl"},
    {{}, "sandbox.test_lookalike=7", "data/prompts_test.jsonl"},
    {kTwoVersions, "sandbox.absent_skill=rhyme", "prompts2/prompts_train.jsonl"},
    {{"sandbox.corpus.instruction=0"}, "chat_format=hh", "sft/model.safetensors"},
    {{}, "llama.hidden_size=32", "base/model.safetensors"},
    {{}, "llama.intermediate_size=32", "base/model.safetensors"},
    {{}, "llama.num_hidden_layers=2", "base/model.safetensors"},
    {{}, "llama.num_attention_heads=4", "base/model.safetensors"},
    {{}, "llama.num_key_value_heads=2", "base/model.safetensors"},
    {{}, "llama.head_dim=4", "base/model.safetensors"},
    {{}, "llama.max_position_embeddings=100", "base/model.safetensors"},  // the longest row
    {{}, "llama.rms_norm_eps=0.01", "base/model.safetensors"},
    {{}, "llama.rope_theta=100", "base/model.safetensors"},
    {{}, "llama.tie_word_embeddings=false", "base/model.safetensors"},
    {{}, "pretrain.tokens=4000", "base/model.safetensors"},
    {{}, "pretrain.upsample=[\"facts=3\"]", "base/model.safetensors"},
    {{}, "pretrain.batch.batch_rows=8", "base/model.safetensors"},
    {{}, "pretrain.batch.row_tokens=64", "base/model.safetensors"},
    {{}, "pretrain.batch.validate_every=1", "base/metrics.jsonl"},
    {{}, "pretrain.optimizer.beta1=0.5", "base/model.safetensors"},
    {{}, "pretrain.optimizer.beta2=0.5", "base/model.safetensors"},
    {{}, "pretrain.optimizer.epsilon=0.1", "base/model.safetensors"},
    {{}, "pretrain.optimizer.weight_decay=0", "base/model.safetensors"},
    {{}, "pretrain.optimizer.clip_norm=0.01", "base/model.safetensors"},
    {{}, "pretrain.schedule.learning_rate=1e-3", "base/model.safetensors"},
    {{"pretrain.schedule.warmup_steps=0"}, "pretrain.schedule.schedule=constant", "base/model.safetensors"},
    {{"pretrain.schedule.warmup_steps=0"}, "pretrain.schedule.final_ratio=0.5", "base/model.safetensors"},
    {{}, "pretrain.schedule.warmup_steps=1", "base/model.safetensors"},
    {{}, "preferences.pairs=44", "comparisons/comparisons.jsonl.gz"},
    {{}, "preferences.public_pairs=40", "comparisons/comparisons.jsonl.gz"},
    {{}, "preferences.grammar_share=0.2", "comparisons/comparisons.jsonl.gz"},
    {{}, "preferences.temperatures=[0.5]", "comparisons/comparisons.jsonl.gz"},
    {{}, "preferences.max_new_tokens=6", "comparisons/comparisons.jsonl.gz"},
    {kTwoVersions, "preferences.later_pairs=30", "comparisons2/comparisons.jsonl.gz"},
    {{}, "preferences.annotator=strict", "preferences/safety_train.jsonl"},
    {{}, "preferences.held_out=0.4", "preferences/safety_train.jsonl"},
    {{}, "mixture.helpfulness_rest=0", "reward_helpfulness/model.safetensors"},
    {{}, "mixture.safety_rest=0.5", "reward_safety/model.safetensors"},
    {{}, "mixture.own_pairs=9", "reward_safety/model.safetensors"},
    {{}, "reward.start=base", "reward_safety/model.safetensors"},
    {{}, "combination.gate_threshold=0.9", "rs1/samples.jsonl.gz"},
    {{}, "rejection.samples=3", "rs1/samples.jsonl.gz"},
    {{}, "rejection.temperatures=[0.5,1]", "rs1/samples.jsonl.gz"},
    {{}, "rejection.score=safety", "rs1/samples.jsonl.gz"},
    {{}, "rejection.sampling.temperature=0.5", "rs1/samples.jsonl.gz"},
    {{}, "rejection.sampling.top_p=0.5", "rs1/samples.jsonl.gz"},
    {{}, "rejection.sampling.top_k=3", "rs1/samples.jsonl.gz"},
    {{}, "rejection.sampling.max_new_tokens=5", "rs1/samples.jsonl.gz"},
    {{"rejection.sft.steps=0"}, "rejection.sft.epochs=1", "rs1/model.safetensors"},
    {{}, "rejection.sft.steps=3", "rs1/model.safetensors"},
    {{}, "rejection.sft.batch.batch_rows=4", "rs1/model.safetensors"},
    {{}, "rejection.sft.batch.row_tokens=100", "rs1/model.safetensors"},
    {{}, "rejection.sft.optimizer.beta1=0.5", "rs1/model.safetensors"},
    {{}, "rejection.sft.optimizer.beta2=0.5", "rs1/model.safetensors"},
    {{}, "rejection.sft.optimizer.epsilon=0.1", "rs1/model.safetensors"},
    {{}, "rejection.sft.optimizer.weight_decay=0.9", "rs1/model.safetensors"},
    {{}, "rejection.sft.optimizer.clip_norm=0.01", "rs1/model.safetensors"},
    {{}, "rejection.sft.schedule.learning_rate=1e-3", "rs1/model.safetensors"},
    {{}, "rejection.sft.schedule.schedule=constant", "rs1/model.safetensors"},
    {{}, "rejection.sft.schedule.final_ratio=0.5", "rs1/model.safetensors"},
    {{}, "rejection.sft.schedule.warmup_steps=2", "rs1/model.safetensors"},
    {{}, "rejection.sft.lora.rank=2", "rs1/model.safetensors"},
    {{"rejection.sft.lora.rank=2"}, "rejection.sft.lora.alpha=4", "rs1/model.safetensors"},
    {{"rejection.sft.lora.rank=2"}, "rejection.sft.lora.target_modules=[\"o_proj\"]", "rs1/model.safetensors"},
    {kTwoVersions, "rejection.pool_from=2", "rs2/model.safetensors"},
    {kGatt, "sandbox.dialogues.train=7", "dialogues/dialogues_train.jsonl"},
    {kGatt, "sandbox.dialogues.test=3", "dialogues/dialogues_test.jsonl"},
    {kGatt, "sandbox.dialogues.turns=4", "dialogues/dialogues_train.jsonl"},
    {kGatt, "gatt.weight=0.02", "rs1/model.safetensors"},
    {kGatt, "gatt.data.most_combined=1", "gatt/gatt.jsonl"},
    {kGatt, "gatt.data.shortened=0", "gatt/gatt.jsonl"},
    {kGatt, "gatt.data.form=system", "gatt/gatt.jsonl"},
    {kGatt, "gatt.answers.sampling.temperature=0.5", "gatt/gatt.jsonl"},
    {kGatt, "gatt.answers.sampling.top_p=0.5", "gatt/gatt.jsonl"},
    {kGatt, "gatt.answers.sampling.top_k=3", "gatt/gatt.jsonl"},
    {kGatt, "gatt.answers.sampling.max_new_tokens=6", "gatt/gatt.jsonl"},
    {kGatt, "gatt.retention.turns=[2]", "gatt_evaluation/answers.jsonl"},
    {kGatt, "gatt.retention.dialogues=3", "gatt_evaluation/answers.jsonl"},
    {kGatt, "gatt.retention.most_combined=3", "gatt_evaluation/answers.jsonl"},
    {kGatt, "gatt.retention.change_at=4", "gatt_evaluation/answers.jsonl"},
    {kGatt, "gatt.retention.form=system", "gatt_evaluation/answers.jsonl"},
    {kDistill, "distill.weight=0.5", "rs1/model.safetensors"},
    {kDistill, "distill.data.keep=better", "distill/distilled.jsonl"},
    {kDistill, "distill.answers.sampling.temperature=0.5", "distill/distilled.jsonl"},
    {kDistill, "distill.answers.sampling.top_p=0.5", "distill/distilled.jsonl"},
    {kDistill, "distill.answers.sampling.top_k=3", "distill/distilled.jsonl"},
    {kDistill, "distill.answers.sampling.max_new_tokens=6", "distill/distilled.jsonl"},
    {{}, "evaluation.split=validation", "evaluation/answers.jsonl"},
    {{}, "evaluation.max_new_tokens=5", "evaluation/answers.jsonl"},
    {{}, "evaluation.replicates=200", "evaluation/evaluation.json"},
    {{"best_of.samples=2"}, "best_of.samples=3", "best_of/best_of.json"},
    {{"best_of.samples=2"}, "best_of.temperatures=[1]", "best_of/best_of.json"},
    {{"best_of.samples=2"}, "best_of.prompts=5", "best_of/best_of.json"}};

const std::vector<Change> kFileChanges = {
    {{}, "data.held_out=0.6", "data/helpfulness_train.jsonl"},          {{}, "data.train_prompts=6", "data/prompts_train.jsonl"},
    {{}, "data.validation_prompts=4", "data/prompts_validation.jsonl"}, {{}, "data.test_prompts=6", "data/prompts_test.jsonl"},
    {{}, "data.max_demonstrations=6", "data/demonstrations.jsonl"},     {{}, "data.safety_used=0.5", "data/demonstrations.jsonl"},
    {{}, "data.max_pairs=5", "data/helpfulness_train.jsonl"},           {{}, "data.max_tokens=37", "sft/model.safetensors"},
    {{}, "data.drop_oldest_turns=false", "rs1/samples.jsonl.gz"}};

}  // namespace

TEST_CASE("recipe options: each one outside of SFT, reward models and PPO, changed, changes what a stage writes", "[pipelines]") {
  core::set_log_level("error");
  runtime::configure_process(1);
  const test::Workplace work;
  const std::string tiny(test::kTinyRecipe);
  work.write("tiny.json", tiny);
  test::write_files_recipe(work);
  nlohmann::json files = nlohmann::json::parse(work.read("files.json"));
  files["model"] = (work / "model").string();
  for (const char* kind : {"helpful", "harmless"})
    files["data"][kind] = (work / (std::string(kind) + ".jsonl")).string();
  work.write("files.json", files.dump());

  Runs sandbox(work / "tiny.json", work / "sandbox"), real(work / "files.json", work / "real");
  Settings asked = check_changes(sandbox, kSandboxChanges);
  for (auto& setting : check_changes(real, kFileChanges))
    asked.push_back(std::move(setting));

  for (const size_t dialogues : {1, 3}) {  // the report holds a record of the settings, too
    asked.push_back(fmt::format("evaluation.shown_dialogues={}", dialogues));
    const std::string page = sandbox.text({asked.back()}, "report/report.html");
    size_t shown = 0;
    for (size_t at = 0; (at = page.find("<article class=\"card\">", at)) != std::string::npos; ++at)
      ++shown;
    CHECK(shown == dialogues);
  }

  Settings elsewhere = {"name",
                        "seed",
                        "threads",
                        "model",
                        "base",  // adapter_test.cpp
                        "versions",
                        "data.source",
                        "data.helpful",
                        "data.harmless",  // other runs, not other settings
                        "data.sources",
                        "data.gold_share",
                        "data.allow_tags",
                        "sft.enabled",
                        "reward.first.helpfulness",
                        "reward.first.safety",  // sources_test.cpp
                        "llama.vocab_size",     // the tokenizer's, or refused
                        "pretrain.batch.micro_rows",
                        "pretrain.batch.gradient_checkpointing",
                        "rejection.sft.batch.gradient_checkpointing",
                        "rejection.sft.batch.micro_rows",
                        "rejection.batch_rows",
                        "gatt.answers.batch_rows",
                        "distill.answers.batch_rows",
                        "evaluation.batch_rows",               // memory alone
                        "rejection.sft.batch.validate_every",  // refused
                        "rejection.selection.finished_only",   // selection_test.cpp
                        "gatt.data.finished_only",             // tests/gatt
                        "gatt.data.obeyed_only",               // tests/gatt
                        "distill.data.form",
                        "distill.data.finished_only",  // tests/distillation
                        "gatt.listed.kinds",
                        "gatt.listed.count",  // dialogue_control_test.cpp
                        "gatt.from_version",
                        "distill.from_version",  // dialogue_control_run_test.cpp
                        "gatt.dialogues",
                        "gatt.test_dialogues",
                        "gatt.instructions",
                        "gatt.judge.model",
                        "gatt.judge.url",
                        "gatt.judge.parallel",
                        "gatt.judge.timeout_seconds",
                        "gatt.judge.retries",
                        "gatt.judge.temperature",
                        "gatt.judge.max_tokens",
                        "gatt.judge.budget",   // obedience_judge_test.cpp and dialogue_control_test.cpp
                        "distill.preprompts",  // other runs, not other settings
                        "mixture.drop_duplicates",
                        "mixture.drop_shared_prompts",  // stage_reward_test.cpp
                        "preferences.people",
                        "preferences.judge.model",
                        "preferences.judge.url",
                        "preferences.judge.parallel",  // cli_run_test.cpp and
                        "preferences.judge.timeout_seconds",
                        "preferences.judge.retries",
                        "preferences.judge.temperature",
                        "preferences.judge.max_tokens",
                        "preferences.judge.budget",
                        "preferences.judge.guidelines",
                        "preferences.judge.votes",
                        "preferences.judge.verdict"};  // judged_run_test.cpp and comparison_judge_test.cpp
  recipe::Recipe defaults;
  const core::Fields fields = core::fields_of(defaults);
  for (const core::Field& field : fields.list())
    if (field.name.starts_with("sft.") || field.name.starts_with("reward.") || field.name.starts_with("ppo."))
      elsewhere.push_back(field.name);
  CHECK(test::unasked_fields<recipe::Recipe>(asked, elsewhere) == std::vector<std::string>{});
}

}  // namespace keel::pipelines::cli
