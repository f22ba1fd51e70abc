// Training commands and whole runs: their outputs, resuming after a kill (same result), and refusals.
#include <map>
#include <sstream>

#include "pipelines/cli/keel_binary.h"

namespace keel::pipelines::cli {
namespace {

namespace fs = std::filesystem;
using Catch::Matchers::ContainsSubstring;
using test::json_in;
using test::kTinyRecipe;
using test::Outcome;
using test::Process;
using test::Workplace;

constexpr const char* kDemonstrations =
    "{\"messages\":[{\"role\":\"user\",\"content\":\"who sells bread?\"},{\"role\":\"assistant\",\"content\":\"the baker.\"}]}\n"
    "{\"prompt\":\"where is the boat?\",\"completion\":\"in the harbour\"}\n"
    "{\"prompt\":\"where is the net?\",\"completion\":\" \"}\n";

constexpr const char* kPairs =
    "{\"prompt\":\"who sells bread?\",\"chosen\":\"the baker.\",\"rejected\":\"the boat.\",\"strength\":4,\"chosen_safe\":true}\n"
    "{\"chosen\":\"\\n\\nHuman: where is it?\\n\\nAssistant: in the harbour\",\"rejected\":\"\\n\\nHuman: where is it?\\n\\nAssistant: "
    "no\"}\n"
    "{\"prompt\":\"how many?\",\"chosen\":\"three\",\"rejected\":\" three \"}\n";

const std::vector<std::string> kStages = {"corpus",        "data", "base", "sft",        "comparisons", "preferences", "reward_helpfulness",
                                          "reward_safety", "rs1",  "ppo",  "evaluation", "report"};

nlohmann::json summary_of(const Workplace& work, const std::string& run) {
  nlohmann::json summary = json_in(work, run + "/summary.json");
  CHECK(summary["seconds_by_stage"].size() == kStages.size() - 1);
  summary.erase("seconds_by_stage");
  return summary;
}

}  // namespace

TEST_CASE("keel sft: two steps leave a model that works; refused input leaves nothing", "[pipelines]") {
  const Workplace work;
  work.write("bad.jsonl", "{\"prompt\":\"a\",\"completion\":\"b\"}\n{\"prompt\":\"a\",\"completion\":5}\n");
  const Outcome bad = work.run({"sft", "--model", "model", "--data", "bad.jsonl", "--out", "tuned", "--set", "steps=2"});
  CHECK(bad.code == 3);
  CHECK(bad.says("bad.jsonl:2: \"completion\""));
  const Outcome unread = work.run({"sft", "--model", "model", "--data", "bad.jsonl", "--out", "tuned", "--set", "batch.validate_every=2"});
  CHECK((unread.code == 2 && unread.says("batch.validate_every: nothing reads it without held-out rows")));
  CHECK_FALSE((work.has("tuned") || work.has("tuned.partial")));

  work.write("data.jsonl", kDemonstrations);
  const Outcome tuned = work.run({"sft", "--model", "model", "--data", "data.jsonl", "--out", "tuned", "--set", "steps=2"});
  REQUIRE(tuned.code == 0);
  CHECK(tuned.out.empty());
  CHECK_FALSE(work.has("tuned.partial"));
  const auto counts = json_in(work, "tuned/counts.json");
  CHECK(counts["data.jsonl"]["read"]["kept"] == 2);
  CHECK(counts["data.jsonl"]["read"]["dropped"] == nlohmann::json{{"empty_answer", 1}});
  CHECK(json_in(work, "tuned/keel.json")["lineage"]["stage"] == "sft");
  const std::string metrics = work.read("tuned/metrics.jsonl");
  CHECK(std::count(metrics.begin(), metrics.end(), '\n') == 2);

  work.write("prompts.jsonl", "{\"messages\":[{\"role\":\"user\",\"content\":\"who sells bread?\"}]}\n");
  CHECK(work.run({"generate", "--model", "tuned", "--prompts", "prompts.jsonl", "--max-new-tokens", "2"}).rows().size() == 1);
  const Outcome again = work.run({"sft", "--model", "model", "--data", "data.jsonl", "--out", "tuned", "--set", "steps=2"});
  CHECK(again.code == 2);
  CHECK(again.says("tuned is there already"));
}

TEST_CASE(
    "keel reward (pitfall 10): a trained folder scores and is evaluated as it was in training; malformed pairs are named by file and line",
    "[pipelines]") {
  const Workplace work;
  work.write("pairs.jsonl", kPairs);
  REQUIRE(work.run({"reward", "train", "--model", "model", "--data", "pairs.jsonl", "--held-out", "pairs.jsonl", "--out", "rm", "--set",
                    "batch_pairs=1"})
              .code == 0);
  const auto config = json_in(work, "rm/config.json");
  CHECK(config["architectures"] == nlohmann::json{"LlamaForSequenceClassification"});
  CHECK(config["num_labels"] == 1);
  CHECK(config["pad_token_id"] == 3);  // the <pad> piece, which no text becomes
  const auto evaluated = work.run({"reward", "eval", "--reward", "rm", "--data", "pairs.jsonl"}).rows();
  REQUIRE(evaluated.size() == 1);
  CHECK(evaluated[0]["accuracy"]["pairs"] == 2);
  CHECK(evaluated[0]["counts"]["read"]["dropped"] == nlohmann::json{{"identical_answers", 1}});
  CHECK(evaluated[0]["accuracy"] == json_in(work, "rm/evaluation.json")["accuracy"]);
  work.write("in.jsonl", "{\"prompt\":\"who sells bread?\",\"response\":\"the baker.\"}\n");
  const auto scored = work.run({"score", "--reward", "rm", "--in", "in.jsonl"}).rows();
  REQUIRE(scored.size() == 1);
  const std::string scores = work.read("rm/scores.jsonl");
  const auto first = nlohmann::json::parse(scores.substr(0, scores.find('\n')));
  CHECK(first["chosen"].get<double>() == Catch::Approx(scored[0]["score"].get<double>()).margin(1e-6));
  CHECK(first["strength"] == 4);
  CHECK(first["chosen_safe"] == true);
  CHECK_FALSE(first.contains("rejected_safe"));

  const auto trained = [&](const std::string& name, const std::string& setting, const std::vector<std::string>& flags) {
    std::vector<std::string> command = {"reward",      "train", "--model", "model", "--data", "pairs.jsonl", "--held-out",
                                        "pairs.jsonl", "--out", name,      "--set", setting,  "--set",       "batch_pairs=1"};
    command.insert(command.end(), flags.begin(), flags.end());
    REQUIRE(work.run(command).code == 0);
    return work.read(name + "/model.safetensors");
  };
  // Labels do not affect helpfulness: the safety loss is for safety data alone.
  std::string bare = kPairs;
  bare.erase(bare.find(",\"chosen_safe\":true"), std::string(",\"chosen_safe\":true").size());
  work.write("bare.jsonl", bare);
  const std::vector<std::string> unlabelled = {"reward",     "train",       "--model", "model",      "--data", "bare.jsonl",
                                               "--held-out", "pairs.jsonl", "--out",   "unlabelled", "--set",  "batch_pairs=1"};
  REQUIRE(work.run(unlabelled).code == 0);
  CHECK(work.read("unlabelled/model.safetensors") == work.read("rm/model.safetensors"));
  CHECK(trained("safe", "loss.safety_weight=5", {"--safety"}) != trained("none", "loss.safety_weight=0", {"--safety"}));

  work.write("bad.jsonl", std::string(kPairs) + "{\"prompt\":\"a\",\"chosen\":\"b\",\"rejected\":\"c\",\"strength\":\"3\"}\n");
  const Outcome bad = work.run({"reward", "eval", "--reward", "rm", "--data", "bad.jsonl"});
  CHECK(bad.code == 3);
  CHECK(bad.says("bad.jsonl:4: \"strength\""));
}

TEST_CASE("keel reward eval: several models on several files, and how far they agree", "[pipelines]") {
  const Workplace work;
  work.write("pairs.jsonl", kPairs);
  work.write("labelled.jsonl",
             "{\"prompt\":\"who sells bread?\",\"chosen\":\"the baker.\",\"rejected\":\"the boat.\",\"chosen_safe\":true,"
             "\"rejected_safe\":false,\"source\":\"a\",\"batch\":1}\n"
             "{\"prompt\":\"where?\",\"chosen\":\"here.\",\"rejected\":\"no\",\"chosen_safe\":true,\"rejected_safe\":true,\"batch\":2}\n");
  for (const char* seed : {"1", "2"})
    REQUIRE(work.run({"reward", "train", "--model", "model", "--data", "pairs.jsonl", "--held-out", "pairs.jsonl", "--out",
                      std::string("rm") + seed, "--seed", seed, "--set", "batch_pairs=1"})
                .code == 0);
  const auto rows =
      work.run({"reward", "eval", "--reward", "rm1", "--reward", "rm2", "--data", "pairs.jsonl", "--data", "labelled.jsonl", "--safety"})
          .rows();
  REQUIRE(rows.size() == 6);
  CHECK(rows[1]["reward"] == "rm1");
  CHECK(rows[1]["data"] == "labelled.jsonl");
  CHECK(rows[1]["unsafe"]["answers"] == 4);
  CHECK(rows[1]["unsafe"]["unsafe"] == 1);
  CHECK(rows[1]["by_safety"].size() == 2);
  CHECK(rows[1]["by_source"][0]["name"] == "not recorded");
  CHECK(rows[1]["by_batch"].size() == 2);
  CHECK_FALSE(rows[0].contains("by_batch"));
  CHECK(rows[3]["reward"] == "rm2");
  CHECK(rows[4]["rewards"] == nlohmann::json{"rm1", "rm2"});
  CHECK(rows[4]["data"] == "pairs.jsonl");
  CHECK(rows[5]["pairs"] == 2);
  CHECK(rows[5]["mean"].is_number());
}

TEST_CASE("keel reward stats: a table by source, repeats and prompts held out as well; training leaves them out on request",
          "[pipelines]") {
  const Workplace work;
  const std::string pair = "{\"prompt\":\"where?\",\"chosen\":\"here\",\"rejected\":\"no\",\"source\":\"b\"}\n";
  work.write("pairs.jsonl", std::string(kPairs) + pair + pair);
  work.write("test.jsonl", "{\"prompt\":\"Where? \",\"chosen\":\"there\",\"rejected\":\"no\"}\n");
  const auto rows = work.run({"reward", "stats", "--data", "pairs.jsonl", "--held-out", "test.jsonl", "--tokenizer", "model"}).rows();
  REQUIRE(rows.size() == 3);
  CHECK(rows[0]["source"] == "not recorded");
  CHECK(rows[0]["comparisons"] == 2);
  CHECK(rows[1]["source"] == "b");
  CHECK(rows[2]["source"] == "total");
  CHECK(rows[2]["turns"] == 1);
  CHECK(rows[2]["repeats"] == nlohmann::json{{"contradictions", 0}, {"duplicates", 1}});
  CHECK(rows[2]["prompts_in_both"] == nlohmann::json{{"prompts", 1}, {"test_pairs", 1}, {"train_pairs", 2}});
  CHECK(rows[2]["counts"]["dropped"] == nlohmann::json{{"identical_answers", 1}});

  const auto kept = [&](const std::string& out, const std::vector<std::string>& options) {
    std::vector<std::string> command = {"reward",     "train",      "--model", "model", "--data", "pairs.jsonl",
                                        "--held-out", "test.jsonl", "--out",   out,     "--set",  "batch_pairs=2"};
    command.insert(command.end(), options.begin(), options.end());
    REQUIRE(work.run(command).code == 0);
    return json_in(work, out + "/evaluation.json")["counts"];
  };
  const auto all = kept("all", {});
  CHECK(all["train"]["read"]["kept"] == 4);
  CHECK(all["repeats_in_train"]["duplicates"] == 1);
  CHECK(all["prompts_in_both"]["train_pairs"] == 2);
  CHECK(kept("unique", {"--drop-duplicates"})["train"]["read"]["dropped"]["duplicate"] == 1);
  CHECK(kept("apart", {"--drop-shared-prompts"})["train"]["read"]["kept"] == 2);
}

TEST_CASE("keel sft: interrupted and killed in the middle, the same command ends in the same bytes", "[pipelines]") {
  const Workplace work;
  work.write("data.jsonl", kDemonstrations);
  const auto command = [](const std::string& out, const std::string& steps = "150") {
    return std::vector<std::string>{"sft",   "--model",       "model", "--data", "data.jsonl", "--out", out, "--set", "batch.batch_rows=1",
                                    "--set", "steps=" + steps};
  };
  REQUIRE(work.run(command("whole")).code == 0);

  // Ends the command in the middle of its steps. On a busy machine it may finish before the signal comes: then try again.
  const auto end_by = [&](int signal) {
    for (int attempt = 0; attempt < 5; ++attempt) {
      Process process(work.path(), command("tuned"));
      const bool in_the_middle = process.signal_once_grown(work / "tuned.partial/metrics.jsonl", signal);
      const Outcome outcome = process.wait();
      if (in_the_middle && outcome.code != 0) return outcome;
      fs::remove_all(work / "tuned");
    }
    return Outcome{};
  };
  const Outcome stopped = end_by(SIGTERM);
  CHECK(stopped.code == 75);
  CHECK_THAT(stopped.err, ContainsSubstring("the same command goes on"));
  CHECK(work.has("tuned.partial/ckpt/state.safetensors"));

  const Outcome other = work.run(command("tuned", "151"));
  CHECK((other.code == 2 && other.says("half-done work of another command, program or machine (config.steps: 150 -> 151)")));

  const std::string begun = work.read("tuned.partial/attempt.json");
  nlohmann::json attempt = nlohmann::json::parse(begun);
  attempt["versions"]["arithmetic"] = "1";  // of an older keel
  work.write("tuned.partial/attempt.json", attempt.dump());
  const Outcome newer = work.run(command("tuned"));
  CHECK((newer.code == 2 && newer.says("program or machine (versions.arithmetic: \"1\" -> ")));
  attempt.erase("versions");  // of one that did not write them
  work.write("tuned.partial/attempt.json", attempt.dump());
  CHECK(work.run(command("tuned")).code == 2);
  work.write("tuned.partial/attempt.json", begun);

  CHECK(end_by(SIGKILL).code == -SIGKILL);
  CHECK_FALSE(work.has("tuned"));

  // Leftovers of a command without a checkpoint are not outputs of the next one; finished work without its commit is refused.
  fs::create_directories(work / "next.partial");
  work.write("next.partial/attempt.json", R"({"stage": "ppo"})");
  work.write("next.partial/timings.jsonl", "{}\n");
  REQUIRE(work.run(command("next", "1")).code == 0);
  CHECK((work.has("next/model.safetensors") && !work.has("next/timings.jsonl")));
  fs::rename(work / "next", work / "again.partial");
  const Outcome finished = work.run(command("again", "2"));
  CHECK(finished.code == 2);
  CHECK(finished.says("half-done work of another command, program or machine (config.steps: 1 -> 2)"));
  CHECK(work.run(command("again", "1")).code == 0);

  REQUIRE(work.run(command("tuned")).code == 0);
  CHECK_FALSE(work.has("tuned.partial"));
  for (const char* file : {"/model.safetensors", "/metrics.jsonl", "/keel.json"})
    CHECK(work.read(std::string("tuned") + file) == work.read(std::string("whole") + file));
}

TEST_CASE("keel run: a run killed twice ends like one that was left alone, and once done it does nothing", "[pipelines]") {
  const Workplace work;
  work.write("tiny.json", kTinyRecipe);
  const std::vector<std::string> whole = {"run", "tiny.json", "--out", "whole"}, killed = {"run", "tiny.json", "--out", "killed"};
  const Outcome first = work.run(whole);
  REQUIRE(first.code == 0);
  CHECK_THAT(first.out, ContainsSubstring("win rate vs SFT") && ContainsSubstring("safety reward model: held-out accuracy"));

  CHECK(work.run(killed, "commit.hashed:4").code == -SIGKILL);
  // Stops PPO with a checkpoint, then kills it while it continues from there; the finished run gives the key of its folder. A busy machine
  // may be too late for PPO's six iterations: then PPO runs again.
  const std::string key = fs::read_symlink(work / "whole/stages/ppo/current");
  const fs::path ppo = work / "killed/stages/ppo", partial = ppo / (key + ".partial");
  const auto end_by = [&](int signal) {
    for (int attempt = 0; attempt < 10; ++attempt) {
      Process run(work.path(), killed);
      const bool in_the_middle = run.signal_once_grown(partial / "metrics.jsonl", signal);
      const int code = run.wait().code;
      if (in_the_middle && fs::exists(partial)) return code;
      fs::remove_all(ppo);
    }
    return 0;
  };
  CHECK(end_by(SIGTERM) == 75);
  REQUIRE(fs::exists(partial / "ckpt/state.safetensors"));
  CHECK(end_by(SIGKILL) == -SIGKILL);
  const Outcome finished = work.run(killed);
  REQUIRE(finished.code == 0);
  CHECK(finished.out == first.out);

  for (const char* model : {"models/base", "models/sft", "models/rs1", "models/ppo", "reward_models/helpfulness", "reward_models/safety"})
    CHECK(work.read(std::string("killed/") + model + "/model.safetensors") ==
          work.read(std::string("whole/") + model + "/model.safetensors"));
  const auto summary = summary_of(work, "whole");
  CHECK(summary_of(work, "killed") == summary);
  const std::vector<std::string> names = {"base", "sft", "rs1", "ppo"};
  REQUIRE(summary["models"].size() == names.size());
  for (size_t i = 0; i < names.size(); ++i) {
    const auto& model = summary["models"][i];
    CHECK(model["name"] == names[i]);
    for (const char* measure : {"gold_helpfulness", "gold_safety", "violation_rate"})
      for (const char* part : {"mean", "low", "high"})
        CHECK(model[measure][part].is_number());
    for (const char* measure : {"gold_helpfulness_vs_sft", "gold_safety_vs_sft", "win_rate_vs_sft", "kl_to_sft"})
      CHECK(model.contains(measure) == (names[i] != "sft"));
  }
  REQUIRE(summary["reward_models"].size() == 2);
  CHECK(summary["reward_models"][0]["name"] == "helpfulness");
  CHECK(summary["reward_models"][1]["accuracy"]["mean"].is_number());
  const std::string page = work.read("whole/report.html");
  CHECK_THAT(page, ContainsSubstring("<svg") && !ContainsSubstring("http://") && !ContainsSubstring("<script"));
  for (const char* figure : {"safety reward model: reliability", "safety reward model: finding unsafe answers",
                             "helpfulness reward model: score against length", "Every reward model on every held-out set"})
    CHECK_THAT(page, ContainsSubstring(figure));

  const std::string events = work.read("whole/events.jsonl");
  CHECK(work.run(whole).out == first.out);
  CHECK(work.read("whole/events.jsonl") == events);

  const core::FileLock lock(work / "whole/run.lock");
  work.write("other.json", std::string(kTinyRecipe).replace(std::string(kTinyRecipe).find("tiny"), 4, "other"));
  const auto outcomes = work.run_all({{"status", "whole"},
                                      {"explain", "whole", "ppo", "--set", "ppo.kl.coefficient=0.5"},
                                      whole,
                                      {"run", "other.json", "--out", "whole"}});
  for (const auto& stage : kStages)
    CHECK_THAT(outcomes[0].out, ContainsSubstring(stage + std::string(21 - stage.size(), ' ') + "done"));
  CHECK_THAT(outcomes[0].out, ContainsSubstring("a process is working on it"));
  CHECK_THAT(outcomes[1].out, ContainsSubstring("config.kl.coefficient: 0.01 -> 0.5"));
  CHECK(outcomes[2].code == 4);
  CHECK(outcomes[3].code == 2);  // a folder belongs to one recipe
}

TEST_CASE("keel run: a PPO that changes nothing has the figures of the model it began with, and the summary says so", "[pipelines]") {
  const Workplace work;
  work.write("tiny.json", kTinyRecipe);
  const Outcome outcome = work.run({"run", "tiny.json", "--out", "run", "--set", R"(versions=["ppo"])", "--set",
                                    "ppo.schedule.learning_rate=0", "--set", "ppo.validation.every=1"});
  INFO(outcome.err);
  REQUIRE(outcome.code == 0);
  CHECK(work.read("run/models/ppo/model.safetensors") == work.read("run/models/rs1/model.safetensors"));
  const auto summary = json_in(work, "run/summary.json");
  nlohmann::json rs1, ppo;
  for (const auto& model : summary["models"])
    (model["name"] == "rs1" ? rs1 : ppo) = model;  // ppo is the last
  CHECK((ppo["name"] == "ppo" && ppo["before"] == "rs1" && ppo["kept_iteration"] == 0));
  CHECK(outcome.out.find("PPO changed nothing") != std::string::npos);
  CHECK(work.read("run/report.html").find("PPO changed nothing") != std::string::npos);
  for (const auto& [key, value] : rs1.items()) {
    INFO(key);
    if (value.is_object()) CHECK(ppo[key] == value);
  }
  CHECK(ppo["win_rate_vs_before"]["mean"] == 0.5);
  CHECK(ppo["gold_helpfulness_vs_before"] == nlohmann::json({{"mean", 0}, {"low", 0}, {"high", 0}}));
}

TEST_CASE("keel run: another version reuses everything before it; its reward models know all batches", "[pipelines]") {
  const Workplace work;
  work.write("tiny.json", kTinyRecipe);
  const auto command = [](const std::string& versions, const std::vector<std::string>& more = {}) {
    std::vector<std::string> all = {"run",   "tiny.json",
                                    "--out", "run",
                                    "--set", "versions=" + versions,
                                    "--set", "preferences.public_pairs=40",
                                    "--set", "best_of.samples=2",
                                    "--set", "best_of.prompts=6",
                                    "--set", "best_of.temperatures=[0.7,1.2]",
                                    "--set", "combination.gate_threshold=0.4"};
    if (versions != R"(["reward"])") all.insert(all.end(), {"--set", "rejection.temperatures=[0.8,1.2]"});
    if (versions.find(',') != std::string::npos)
      all.insert(all.end(), {"--set", "rejection.pool_from=2", "--set", "sandbox.absent_skill=rhyme"});
    all.insert(all.end(), more.begin(), more.end());
    return all;
  };
  REQUIRE(work.run(command(R"(["reward"])")).code == 0);
  CHECK(json_in(work, "run/summary.json")["models"].size() == 2);  // base and sft: it ends with its reward models
  CHECK(json_in(work, "run/stages/evaluation/current/reward_models.json")["evaluations"].size() == 9);
  CHECK((work.has("run/reward_models/safety") && !work.has("run/stages/rs1")));
  REQUIRE(work.run(command(R"(["rejection"])")).code == 0);
  const auto started = [&] {
    std::map<std::string, int> counts;
    std::istringstream events(work.read("run/events.jsonl"));
    for (std::string line; std::getline(events, line);)
      if (const auto event = nlohmann::json::parse(line); event["event"] == "started") ++counts[event["stage"]];
    return counts;
  };
  auto before = started();
  REQUIRE(work.run(command(R"(["rejection","ppo"])", {"--set", "preferences.later_pairs=40"})).code == 0);
  auto after = started();
  for (const char* again : {"evaluation", "best_of", "report"}) {
    CHECK(after[again] == 3);
    after[again] = 2;
  }
  for (const char* added : {"prompts2", "comparisons2", "preferences2", "reward_helpfulness2", "reward_safety2", "rs2", "ppo"}) {
    CHECK(after[added] == 1);
    after.erase(added);
  }
  CHECK(after == before);

  const auto study = json_in(work, "run/stages/best_of/current/best_of.json");
  REQUIRE((study["curves"].size() == 8 && study["best_temperature"].size() == 8));  // sft, rs1, rs2, ppo
  for (size_t model = 0; model < 4; ++model)
    for (size_t n = 0; n < 2; ++n) {
      const auto mean = [&](size_t temperature, const char* of) {
        return study["curves"][2 * model + temperature]["scores_by_count"][n][of]["mean"].get<double>();
      };
      const auto& best = study["best_temperature"][2 * model + n];
      CHECK((best["model"] == study["curves"][2 * model]["model"] && best["answers"] == n + 1));
      CHECK(best["temperature"] == (mean(1, "maximum") > mean(0, "maximum") ? 1.2 : 0.7));
      CHECK((0.7 <= best["low"] && best["low"] <= best["temperature"] && best["temperature"] <= best["high"] && best["high"] <= 1.2));
      for (const size_t temperature : {0, 1})
        CHECK((n == 0 ? mean(temperature, "maximum") == mean(temperature, "median")
                      : mean(temperature, "maximum") >= mean(temperature, "median")));
    }

  const auto summary = json_in(work, "run/summary.json");
  std::vector<std::string> names;
  for (const auto& model : summary["models"])
    names.push_back(model["name"]);
  CHECK(names == std::vector<std::string>{"base", "sft", "rs1", "rs2", "ppo"});
  // PPO is compared with what it began from, and V2 with V1.
  const auto& ppo_row = summary["models"][4];
  CHECK((ppo_row["before"] == "rs2" && ppo_row["version_before"] == "rs1" && ppo_row.contains("gold_safety_vs_version_before")));
  CHECK((summary["models"][3]["before"] == "rs1" && !summary["models"][3].contains("version_before")));
  REQUIRE(summary["reward_models"].size() == 3);
  const std::string page = work.read("run/report.html");
  for (const auto& [i, stage] : {std::pair{size_t{0}, "reward_helpfulness2"}, {size_t{1}, "reward_safety2"}}) {
    const auto& reward = summary["reward_models"][i];
    double pairs = 0, correct = 0;
    for (const char* batch : {"preferences", "preferences2"}) {
      const auto ceiling = json_in(work, std::string("run/stages/") + batch + "/current/annotator.json")[reward["name"]]["reported"];
      pairs += ceiling["pairs"].get<double>();
      correct += ceiling["pairs"].get<double>() * ceiling["best_possible_accuracy"].get<double>();
    }
    CHECK(reward["best_possible_accuracy"].get<double>() == Catch::Approx(correct / pairs));
    const auto evaluation = json_in(work, std::string("run/stages/") + stage + "/current/evaluation.json");
    const bool kept = evaluation.contains("kept");
    CHECK((evaluation["previous_difference"]["mean"].get<double>() < 0) == kept);
    CHECK(reward.contains("kept") == kept);
    CHECK((page.find(reward["name"].get<std::string>() + " reward model (retrained, not used): loss") != std::string::npos) == kept);
  }
  CHECK(summary["reward_models"][1]["unsafe_at_gate"]["threshold"] == 0.4);  // the run's gate
  // Old against new, in the second batch, whose answers are by two models.
  CHECK_FALSE(work.has("run/stages/preferences/current/versus_before.json"));
  const auto versus = json_in(work, "run/stages/preferences2/current/versus_before.json");
  CHECK((versus["newest"] == "rs1" && versus["before"] == "sft"));
  const auto compared = rows_in(work / "run/stages/comparisons2/current/comparisons.jsonl.gz");
  int64_t different = 0, decided = 0;
  for (const auto& row : compared)
    different += row["answers"][0]["text"] != row["answers"][1]["text"] ? 1 : 0;
  for (const std::string kind : {"helpfulness", "safety"}) {  // the annotated pairs are those rows, in order, shared out to two files
    const auto train = rows_in(work / ("run/stages/preferences2/current/" + kind + "_train.jsonl")),
               held_out = rows_in(work / ("run/stages/preferences2/current/" + kind + "_test.jsonl"));
    size_t in_train = 0, in_held_out = 0;
    double wins = 0, trials = 0;
    for (const auto& row : compared) {
      if (row["kind"] != kind) continue;
      const auto is_of = [&](const nlohmann::json& pair) {
        const std::set<std::string> answers = {row["answers"][0]["text"], row["answers"][1]["text"]};
        return pair["prompt"] == row["messages"] && answers == std::set<std::string>{pair["chosen"], pair["rejected"]};
      };
      const bool is_train = in_train < train.size() && is_of(train[in_train]);
      if (!is_train) REQUIRE((in_held_out < held_out.size() && is_of(held_out[in_held_out])));
      const auto& pair = is_train ? train[in_train++] : held_out[in_held_out++];
      if (row["answers"][0]["text"] == row["answers"][1]["text"]) continue;
      trials += 1;
      for (const auto& answer : row["answers"])
        if (answer["text"] == pair["chosen"] && answer["model"] == "rs1") wins += 1;
    }
    CHECK(versus["kinds"][kind]["mean"].get<double>() == Catch::Approx(wins / trials));
  }
  for (const auto& [kind, share] : versus["kinds"].items()) {
    decided += share["comparisons"].get<int64_t>();
    CHECK((share["low"] <= share["mean"] && share["mean"] <= share["high"]));
  }
  CHECK((decided > 0 && decided == different));
  CHECK(page.find("Each model against the one before") != std::string::npos);
  CHECK(work.has("run/reward_models/general/model.safetensors"));
  const auto mixture = json_in(work, "run/stages/reward_helpfulness2/current/mixture.json");
  const auto first = json_in(work, "run/stages/reward_helpfulness/current/mixture.json");
  CHECK(mixture["own"].get<int>() > first["own"].get<int>());
  CHECK(mixture["rest"] == mixture["own"]);  // an equal part
  const auto evaluation = json_in(work, "run/stages/reward_safety2/current/evaluation.json");
  CHECK(evaluation.contains("previous_accuracy"));
  const std::string scores = work.read("run/stages/reward_safety2/current/scores.jsonl");
  CHECK(std::count(scores.begin(), scores.end(), '\n') == evaluation["accuracy"]["pairs"]);
  const auto cross = json_in(work, "run/stages/evaluation/current/reward_models.json");
  CHECK(cross["evaluations"].size() == 9);
  CHECK(cross["agreements"].size() == 9);
  for (const auto& row : cross["evaluations"])
    if (row["reward"] == "safety" && row["data"] == "safety") CHECK(row["accuracy"] == evaluation["accuracy"]);
  CHECK(work.read("run/stages/prompts2/current/prompts_train.jsonl").find("\"family\":\"rhyme\"") == std::string::npos);
  CHECK(work.read("run/stages/data/current/prompts_train.jsonl").find("\"family\":\"rhyme\"") != std::string::npos);
}

TEST_CASE("keel run: foreign folders and wrong recipes are refused before anything happens", "[pipelines]") {
  const Workplace work;
  work.write("tiny.json", kTinyRecipe);
  work.write("bad.json", R"({"name": "x", "seed": -1, "ppoo": {}, "sft": {"epochs": "two", "bach": {}}, "llama": {"hidden_size": 2.5}})");
  work.write("torn.json", "{\"name\": \"x\",\n");
  const auto outcomes = work.run_all({{"run", "tiny.json", "--out", "model"},
                                      {"run", "bad.json", "--out", "new", "--set", "reward.learning_rte=1"},
                                      {"run", "torn.json", "--out", "new"},
                                      {"run", "tiny.json", "--out", "new", "--until", "pppo"},
                                      {"run", "tiny.json", "--out", "new", "--set", "evaluation.max_new_tokens=256"}});
  for (const auto& outcome : outcomes)
    CHECK(outcome.code == 2);
  CHECK(outcomes[0].says("no run.json"));
  CHECK_FALSE((work.has("model/run.json") || work.has("model/stages")));
  for (const char* text : {"seed must be at least 0", "did you mean \"ppo\"", "sft.epochs must be an integer, got the string \"two\"",
                           "did you mean \"sft.batch\"", "llama.hidden_size must be an integer", "did you mean \"reward.learning_rate\""})
    CHECK(outcomes[1].says(text));
  CHECK(outcomes[2].says("torn.json:"));
  CHECK(outcomes[3].says("'ppo'"));
  CHECK(outcomes[4].says("evaluation.max_new_tokens must be below"));
  CHECK_FALSE(work.has("new"));
}

}  // namespace keel::pipelines::cli
