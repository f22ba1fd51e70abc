// A whole run whose later pairs a language model compares: its verdicts become pairs and train the reward models.
#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "http/answering_server.h"
#include "pipelines/cli/keel_binary.h"

namespace keel::pipelines::cli {
namespace {

using Catch::Matchers::ContainsSubstring;
using test::Outcome;
using test::rows_in;
using test::Workplace;
using Json = nlohmann::json;

// The judge of this test, fair to both orders: the longer answer is better, an answer of even length is safe, and equal lengths get no
// verdict.
std::optional<Json> opinion(const std::string& a, const std::string& b) {
  if (a.size() == b.size()) return std::nullopt;
  return Json{{"choice", a.size() > b.size() ? "A" : "B"},
              {"strength", 1 + (a.size() + b.size()) % 4},
              {"a_safe", a.size() % 2 == 0},
              {"b_safe", b.size() % 2 == 0}};
}

std::string reply_to(const std::string& body) {
  const std::string question = Json::parse(body)["messages"][0]["content"], a = "[answer A]\n", b = "\n\n[answer B]\n",
                    end = "\n\nReply with one JSON object";
  const size_t at_a = question.find(a) + a.size(), at_b = question.find(b, at_a);
  const size_t after_b = at_b + b.size();
  const auto said = opinion(question.substr(at_a, at_b - at_a), question.substr(after_b, question.rfind(end) - after_b));
  return test::completion(said ? "I would say " + said->dump() : "Both are fine.");
}

// The pair that the judge's verdict on a row of comparisons.jsonl.gz gives.
std::optional<Json> judged_pair(const Json& comparison) {
  const std::string texts[] = {comparison["answers"][0]["text"], comparison["answers"][1]["text"]};
  const auto said = opinion(texts[0], texts[1]);
  if (!said) return std::nullopt;
  const size_t chosen = said->at("choice") == "A" ? 0 : 1;
  const char* labels[] = {"a_safe", "b_safe"};
  Json pair = {{"prompt", comparison["messages"]},
               {"chosen", texts[chosen]},
               {"rejected", texts[1 - chosen]},
               {"strength", said->at("strength")},
               {"source", "collected-" + comparison["kind"].get<std::string>()},
               {"batch", "2"}};
  if (comparison["kind"] == "safety") {
    pair["chosen_safe"] = said->at(labels[chosen]);
    pair["rejected_safe"] = said->at(labels[1 - chosen]);
  }
  return pair;
}

}  // namespace

TEST_CASE("keel run: a batch that a judge annotates holds what the judge said, and the next reward models learn from it", "[pipelines]") {
  const Workplace work;
  test::write_files_recipe(work);
  std::atomic<bool> useless{true}, fails_the_trial{true};
  const test::Server server([&](const std::string& body) {
    const bool trial = body.find("What is the capital of France?") != std::string::npos;
    return (trial ? fails_the_trial : useless) ? test::completion("Both are fine.") : reply_to(body);
  });
  const std::vector<std::string> command = {"run",   "files.json",
                                            "--out", "run",
                                            "--set", "versions=[\"rejection\",\"rejection\"]",
                                            "--set", "preferences.annotator=judge",
                                            "--set", "preferences.judge.url=" + server.url(),
                                            "--set", "preferences.judge.model=m",
                                            "--set", "preferences.later_pairs=20",
                                            "--set", "preferences.max_new_tokens=4"};
  const Outcome tried = work.run(command);
  CHECK((tried.code == 3 &&
         tried.says("no verdict: the judge replies \"Both are fine.\"; correct its model or settings (a judge must answer")));
  CHECK((server.requests() == 1 && !work.has("run/stages")));
  std::vector<std::string> early = command;
  early.insert(early.end(), {"--until", "sft"});
  CHECK(work.run(early).code == 0);  // asks no judge
  CHECK(server.requests() == 1);
  fails_the_trial = false;
  const Outcome vain = work.run(command);
  CHECK((vain.code == 3 && vain.says("replies hold no verdict, e.g. the judge replies \"Both are fine.\"")));
  const int in_vain = server.requests() - 2;  // each command's trial question is in no budget
  CHECK((20 <= in_vain && in_vain < 24));     // four at a time
  useless = false;
  std::vector<std::string> poor = command;
  poor.insert(poor.end(), {"--set", "preferences.judge.budget=" + std::to_string(in_vain + 10)});
  const Outcome spent = work.run(poor);  // what came in vain counts, too
  CHECK((spent.code == 2 && spent.says(fmt::format("the judge's budget of {} requests is spent, and 10 of 80 questions", in_vain + 10))));
  const Outcome outcome = work.run(command);  // comparisons without a usable reply are asked again
  INFO(outcome.err);
  REQUIRE(outcome.code == 0);
  CHECK(server.requests() == in_vain + 80 + 4);

  std::map<std::string, std::vector<Json>> expected;
  int64_t speechless = 0;
  for (const Json& comparison : rows_in(work / "run/stages/comparisons2/current/comparisons.jsonl.gz"))
    if (const auto pair = judged_pair(comparison))
      expected[comparison["kind"]].push_back(*pair);
    else
      ++speechless;
  const std::filesystem::path batch = work / "run/stages/preferences2/current";
  const Json counts = Json::parse(test::read_text(batch / "counts.json"));
  CHECK(counts["annotated"] == 40 - speechless);
  CHECK(counts.value("without_verdict", 0) == speechless);
  CHECK((counts["judge"]["unanswered"] == speechless && counts["judge"]["orders_differ"] == 0));
  CHECK((counts["judge"]["orders_agree"]["mean"] == 1 && counts["judge"]["first_shown_chosen"]["mean"] == 0.5));
  CHECK_THAT(work.read("run/report.html"), ContainsSubstring("judge: same verdict in both orders"));
  for (const std::string kind : {"helpfulness", "safety"}) {
    std::vector<Json> train = rows_in(batch / (kind + "_train.jsonl")), all = rows_in(batch / (kind + "_test.jsonl"));
    CHECK((!train.empty() && !all.empty()));
    all.insert(all.end(), train.begin(), train.end());
    std::sort(all.begin(), all.end());
    std::sort(expected[kind].begin(), expected[kind].end());
    CHECK(all == expected[kind]);

    std::vector<Json> learned = rows_in(work / ("run/stages/reward_" + kind + "2/current/pairs.jsonl.gz"));
    std::erase_if(learned, [&](const Json& pair) { return pair.value("batch", "") != "2" || pair["source"] != "collected-" + kind; });
    std::sort(learned.begin(), learned.end());
    std::sort(train.begin(), train.end());
    CHECK(learned == train);
  }
  CHECK(work.has("run/models/rs2/model.safetensors"));

  CHECK(work.run(command).out == outcome.out);  // and nobody is asked
  CHECK(server.requests() == in_vain + 80 + 4);
}

TEST_CASE("keel run: a judge with guidelines and a form of its own; one that always names a side teaches nothing", "[pipelines]") {
  const Workplace work;
  test::write_files_recipe(work);
  std::atomic<bool> biased{true};
  const test::Server server([&](const std::string& body) {
    const std::string question = Json::parse(body)["messages"][0]["content"];
    if (!question.starts_with("The longer one is better. End with [[A]] or [[B]].\n\n")) return test::completion("");
    const size_t a = question.find("[answer A]\n"), b = question.find("\n\n[answer B]\n", a), end = question.rfind("\n\nReply in the form");
    const bool first = b - (a + 11) >= end - (b + 13);  // so that equal lengths depend on the order
    return test::completion("<think>[[B]]?</think> Well. [[" + std::string(biased || first ? "A" : "B") + "]]");
  });
  work.write("own.txt", "The longer one is better. End with [[A]] or [[B]].\n");
  const std::vector<std::string> command = {"run",   "files.json",
                                            "--out", "run",
                                            "--set", "versions=[\"rejection\",\"reward\"]",
                                            "--set", "preferences.annotator=judge",
                                            "--set", "preferences.judge.url=" + server.url(),
                                            "--set", "preferences.judge.model=m",
                                            "--set", "preferences.judge.guidelines=own.txt",
                                            "--set", "preferences.judge.verdict=\\[\\[([AB])\\]\\]",
                                            "--set", "preferences.later_pairs=20",
                                            "--set", "preferences.max_new_tokens=4"};
  const auto with = [&](const std::string& setting) {
    std::vector<std::string> arguments = command;
    arguments.insert(arguments.end(), {"--set", setting});
    return arguments;
  };
  const Outcome no_group = work.run(with("preferences.judge.verdict=[AB]")), even = work.run(with("preferences.judge.votes=2")),
                no_file = work.run(with("preferences.judge.guidelines=none.txt"));
  CHECK((no_group.code == 2 && no_group.says("preferences.judge.verdict must have one group")));
  CHECK((even.code == 2 && even.says("preferences.judge.votes must be an odd number")));
  CHECK((no_file.code == 2 && no_file.says("preferences.judge.guidelines: none.txt does not exist")));
  work.write("blank.txt", "\n");
  CHECK(work.run(with("preferences.judge.guidelines=blank.txt")).code == 3);
  CHECK(server.requests() == 0);

  const Outcome vain = work.run(command);
  CHECK((vain.code == 3 && vain.says("in 40 of them the two orders of the answers get different verdicts")));
  CHECK(server.requests() == 80 + 1);
  CHECK(work.run(command).code == 3);  // what was paid for is kept
  CHECK(server.requests() == 80 + 2);

  biased = false;
  work.write("own.txt", "The longer one is better. End with [[A]] or [[B]].\n\n");  // another file is another key
  const Outcome outcome = work.run(command);
  INFO(outcome.err);
  REQUIRE(outcome.code == 0);
  CHECK(server.requests() == 160 + 3);
  const std::filesystem::path batch = work / "run/stages/preferences2/current";
  const Json counts = Json::parse(test::read_text(batch / "counts.json"));
  int64_t equal = 0;
  for (const Json& comparison : rows_in(work / "run/stages/comparisons2/current/comparisons.jsonl.gz"))
    equal +=
        comparison["answers"][0]["text"].get<std::string>().size() == comparison["answers"][1]["text"].get<std::string>().size() ? 1 : 0;
  CHECK(counts["judge"]["orders_differ"] == equal);
  CHECK(counts["annotated"] == 40 - equal);
  for (const Json& pair : rows_in(batch / "safety_train.jsonl")) {
    CHECK(pair["chosen"].get<std::string>().size() > pair["rejected"].get<std::string>().size());
    CHECK_FALSE((pair.contains("strength") || pair.contains("chosen_safe")));
  }
}

}  // namespace keel::pipelines::cli
