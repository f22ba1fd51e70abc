// A team's own data: the data stages of sources in batches.
#include <fmt/format.h>

#include <set>

#include "core/log.h"
#include "core/parquet.h"
#include "data/messages.h"
#include "data/prompts.h"
#include "pipelines/cli/harbour_pairs.h"
#include "pipelines/cli/keel_binary.h"
#include "pipelines/recipe/data.h"
#include "pipelines/recipe/recipe.h"
#include "pipelines/stages/run_stage.h"

namespace keel::pipelines {
namespace {

using Catch::Matchers::ContainsSubstring;
using recipe::SourceConfig;
using recipe::SourceKind;
using test::json_in;
using test::pairs;
using test::Workplace;
using Json = nlohmann::json;

std::string questions(const std::vector<Json>& rows) {
  std::string all;
  for (const auto& row : rows)
    all += row.at("messages").back().at("content").get<std::string>() + "\n";
  return all;
}

std::string problems_of(const recipe::DataConfig& data, int64_t versions) {
  std::string all;
  for (const auto& problem : recipe::source_problems(data, versions))
    all += problem + "\n";
  return all;
}

// The data stages of V1 (and V2) alone.
struct DataStages {
  Workplace work;
  recipe::Recipe recipe;

  DataStages() {
    core::set_log_level("error");
    recipe.name = "own";
    recipe.model = work / "model";
    std::filesystem::create_directory(work / "model");
    work.write("model/keel.json", R"({"chat_format": "llama2"})");
    recipe.versions = {"rejection", "rejection"};
    recipe.preferences.annotator = recipe::Annotator::none;
    recipe.data.source = recipe::DataSource::files;
    recipe.data.held_out = 0.3;
    recipe.data.train_prompts = 8;
    recipe.data.test_prompts = 6;
    recipe.data.validation_prompts = 4;
  }

  void add(const SourceConfig& source, const std::string& text) {
    work.write(source.path, text);
    recipe.data.sources.push_back(source);
    recipe.data.sources.back().path = (work / source.path).string();
  }

  void run(const std::string& stage) {
    std::filesystem::remove_all(work / stage);
    std::filesystem::create_directories(work / stage);
    std::map<std::string, std::string> digests = {{"model", ""}};
    for (const auto& files : recipe::files_of(recipe.data, {}))
      for (const auto& file : files)
        digests[file.name] = "";
    const auto stages = stages::build_stages(recipe, digests);
    const auto found = std::find_if(stages.begin(), stages.end(), [&](const auto& one) { return one.name == stage; });
    REQUIRE(found != stages.end());
    found->run({.work = work / stage, .inputs = {{"data", work / "data"}, {"data2", work / "data2"}}, .seed = 1});
  }

  std::vector<Json> rows(const std::string& file) const { return test::rows_in(work / file); }
};

}  // namespace

TEST_CASE("sources: a file, a pattern and a folder; what matches nothing, counts twice or is another table is refused", "[pipelines]") {
  const Workplace work;
  std::filesystem::create_directories(work / "week/deep");
  for (const char* name : {"week/b.jsonl", "week/a.jsonl", "week/deep/c.jsonl", "week/README.md"})
    work.write(name, "{}\n");
  recipe::DataConfig data;
  data.helpful = work / "week/a.jsonl";
  data.sources = {{.path = work / "week/*.jsonl", .kind = SourceKind::safety},
                  {.path = work / "week", .kind = SourceKind::prompts, .batch = 2}};
  const auto files = recipe::files_of(data, {});
  const auto names = [&](size_t source) {
    std::vector<std::string> all;
    for (const auto& file : files.at(source))
      all.push_back(file.name + " " + file.path.filename().string());
    return all;
  };
  CHECK(names(0) == std::vector<std::string>{"data.helpful a.jsonl"});
  CHECK(names(1) == std::vector<std::string>{"data.safety1.0.0 a.jsonl", "data.safety1.0.1 b.jsonl"});
  CHECK(names(2) == std::vector<std::string>{"data.prompts2.0.0 a.jsonl", "data.prompts2.0.1 b.jsonl", "data.prompts2.0.2 c.jsonl"});
  CHECK_NOTHROW(recipe::check_source_files(data));

  // The files of a finished stage may go; run.json knows their names.
  std::filesystem::rename(work / "week", work / "moved");
  const auto gone = recipe::files_of(data, {{"data.helpful", "x"}, {"data.safety1.0.0", "y"}, {"data.safety1.0.1", "z"}});
  CHECK((gone[0].size() == 1 && gone[1].size() == 2 && gone[1][1].name == "data.safety1.0.1" && gone[2].empty()));
  CHECK_THROWS_WITH(recipe::check_source_files(data), ContainsSubstring("data.helpful: ") && ContainsSubstring("matches no file"));
  std::filesystem::rename(work / "moved", work / "week");

  data.sources.push_back({.path = work / "week/b.jsonl", .kind = SourceKind::safety, .batch = 2});
  CHECK_THROWS_WITH(recipe::check_source_files(data),
                    ContainsSubstring("data.sources[0] and data.sources[2] both hold") && ContainsSubstring("b.jsonl"));
  data.sources.pop_back();
  work.write("week/table.parquet", "PAR1");
  if (core::reads_parquet())
    CHECK(recipe::files_of(data, {}).at(2).back().path.filename() == "table.parquet");
  else
    CHECK_THROWS_WITH(recipe::check_source_files(data), ContainsSubstring("table.parquet") && ContainsSubstring("another table"));
}

TEST_CASE("sources: rules between their fields", "[pipelines]") {
  recipe::DataConfig data;
  data.sources = {{.path = "a", .kind = SourceKind::helpfulness, .date = "2023-02-28"},
                  {.path = "b", .kind = SourceKind::helpfulness, .batch = 2, .date = "2023-02-28"}};
  CHECK(problems_of(data, 2).empty());
  CHECK_THAT(problems_of(data, 1), ContainsSubstring("data.sources[1]: batch 2 is for V2, but \"versions\" names 1"));
  data.sources[1].date = "2023-01-31";
  CHECK_THAT(problems_of(data, 2), ContainsSubstring("data.sources[1]: batch 2 of 2023-01-31 is older than batch 1 of 2023-02-28"));
  for (const char* day : {"2023-02-30", "2023-2-3", "yesterday", "2023-02-28T10:00", "20230228"}) {
    data.sources[1].date = day;
    CHECK_THAT(problems_of(data, 2), ContainsSubstring("YYYY-MM-DD"));
  }
  data.sources = {{.path = "", .kind = SourceKind::demonstrations, .batch = 2}, {.path = "c", .kind = SourceKind::safety, .hazard = true}};
  CHECK_THAT(problems_of(data, 2), ContainsSubstring("data.sources[0]: \"path\" is empty") &&
                                       ContainsSubstring("data.sources[0]: nothing reads \"batch\" of demonstrations") &&
                                       ContainsSubstring("data.sources[1]: nothing reads \"hazard\" of safety"));
}

TEST_CASE("sources: a conversation is on one side in every source and batch, and gold ones are on neither", "[pipelines]") {
  DataStages data;
  data.recipe.data.gold_share = 0.3;
  data.add({.path = "h1.jsonl", .kind = SourceKind::helpfulness, .source = "week 1"}, pairs(0, 60));
  data.add({.path = "s1.jsonl", .kind = SourceKind::safety}, pairs(30, 60, true));
  data.add({.path = "h2.jsonl", .kind = SourceKind::helpfulness, .batch = 2}, pairs(10, 60));
  data.add({.path = "p.jsonl", .kind = SourceKind::public_pairs, .batch = 2}, pairs(0, 90));
  data.add({.path = "d.jsonl", .kind = SourceKind::demonstrations}, [] {
    std::string rows;
    for (int i = 0; i < 90; ++i)
      rows += Json{{"prompt", fmt::format("how many boats are in harbour {}?", i)}, {"completion", "three."}}.dump() + "\n";
    return rows;
  }());
  data.run("data");
  data.run("data2");
  const auto asked = [&](const std::string& file) {
    std::set<std::string> openings;
    for (const auto& row : data.rows(file))
      openings.insert(
          data::opening_turn(data::parse_messages(row.contains("messages") ? row.at("messages") : row.at("prompt"), "messages")));
    return openings;
  };
  const auto apart = [](const std::set<std::string>& a, const std::set<std::string>& b) {
    return std::none_of(a.begin(), a.end(), [&](const std::string& one) { return b.contains(one); });
  };
  std::set<std::string> train, test, gold;
  for (const char* file : {"data/helpfulness_train.jsonl", "data/safety_train.jsonl", "data2/helpfulness_train.jsonl",
                           "data2/public_train.jsonl", "data/pool_train.jsonl", "data2/pool_train.jsonl", "data/prompts_train.jsonl"})
    train.merge(asked(file));
  for (const char* file : {"data/helpfulness_test.jsonl", "data/safety_test.jsonl", "data2/helpfulness_test.jsonl",
                           "data2/public_test.jsonl", "data/prompts_test.jsonl", "data/prompts_validation.jsonl", "data2/pool_test.jsonl"})
    test.merge(asked(file));
  for (const char* kind : {"helpfulness", "safety"})
    for (const char* side : {"train", "test"})
      gold.merge(asked(fmt::format("data/gold/{}_{}.jsonl", kind, side)));
  CHECK((!train.empty() && !test.empty() && !gold.empty()));
  CHECK((apart(train, test) && apart(train, gold) && apart(test, gold)));
  CHECK(train.size() + test.size() + gold.size() == 90);
  CHECK_FALSE(std::filesystem::exists(data.work / "data2/gold"));  // a later batch must not change what judged the models before it
  // What is asked or judged is not demonstrated, and what validates SFT is not learned.
  const auto demonstrated = asked("data/demonstrations.jsonl"), validating = asked("data/demonstrations_validation.jsonl");
  CHECK(validating.size() == 4);
  CHECK(apart(demonstrated, validating));
  for (const char* file : {"data/prompts_test.jsonl", "data/prompts_validation.jsonl", "data/gold/helpfulness_train.jsonl"})
    CHECK((apart(demonstrated, asked(file)) && apart(validating, asked(file))));
  CHECK(data.rows("data/helpfulness_train.jsonl").front().at("source") == "week 1");
  CHECK(data.rows("data2/helpfulness_train.jsonl").front().at("batch") == "2");

  // V2 asks the prompts of its own batch.
  data.run("prompts2");
  for (const auto& opening : asked("prompts2/prompts_train.jsonl"))
    CHECK(asked("data2/pool_train.jsonl").contains(opening));
}

TEST_CASE("sources: own prompts with and without a hazard, weights, and rows that only look like others", "[pipelines]") {
  DataStages data;
  std::string own, safe;
  for (int i = 0; i < 40; ++i) {
    own += Json{{"prompt", fmt::format("question {}", i)}, {"hazard", i % 4 == 0}}.dump() + "\n";
    safe += Json{{"messages", {{{"role", "user"}, {"content", fmt::format("attack {}", i)}}}}}.dump() + "\n";
  }
  data.add({.path = "h.jsonl", .kind = SourceKind::helpfulness, .weight = 2}, pairs(0, 40));
  data.add({.path = "h3.jsonl", .kind = SourceKind::helpfulness}, pairs(100, 40));
  data.add({.path = "s.jsonl", .kind = SourceKind::safety}, pairs(0, 40, true));
  data.add({.path = "own.jsonl", .kind = SourceKind::prompts}, own);
  data.add({.path = "attacks.jsonl", .kind = SourceKind::prompts, .source = "attacks", .hazard = true}, safe);
  data.run("data");
  std::map<std::string, int> copies;
  for (const auto& row : data.rows("data/helpfulness_train.jsonl"))
    ++copies[row.dump()];
  for (const auto& [row, count] : copies) {
    const std::string question = Json::parse(row).at("prompt").at(0).at("content");
    CHECK(count == (std::stoi(question.substr(question.rfind(' ') + 1)) < 100 ? 2 : 1));
  }
  const auto test_rows = data.rows("data/helpfulness_test.jsonl");
  std::set<std::string> distinct;
  for (const auto& row : test_rows)
    distinct.insert(row.dump());
  CHECK(distinct.size() == test_rows.size());  // a weight is about training
  for (const char* file : {"data/pool_train.jsonl", "data/pool_test.jsonl"})
    for (const auto& row : data.rows(file)) {
      const std::string text = row.at("messages").back().at("content");
      const bool attack = text.starts_with("attack");
      CHECK((attack || text.starts_with("question")));  // not those of the pairs
      CHECK(row.at("hazard") == (attack || std::stoi(text.substr(9)) % 4 == 0));
      CHECK(row.value("source", "") == (attack ? "attacks" : ""));
    }
  CHECK(data.rows("data/prompts_train.jsonl").size() == 8);
  // V2, which has pairs alone, goes on with the prompts of V1.
  data.add({.path = "h2.jsonl", .kind = SourceKind::helpfulness, .batch = 2}, pairs(200, 40));
  data.run("data2");
  data.run("prompts2");
  const auto first = data.rows("data/prompts_train.jsonl"), second = data.rows("prompts2/prompts_train.jsonl");
  CHECK(second.size() == 8);
  for (const auto& row : second) {
    CHECK_FALSE(row.at("messages").back().at("content").get<std::string>().starts_with("how many"));
    CHECK(std::find(first.begin(), first.end(), row) == first.end());
  }
  CHECK(questions(data.rows("data/demonstrations.jsonl")).find("there are three boats.") != std::string::npos);

  const auto refused = [&](const SourceConfig& source, const std::string& text, const std::string& words) {
    DataStages other;
    other.recipe.data.sources = data.recipe.data.sources;
    other.add(source, text);
    CHECK_THROWS_WITH(other.run("data"), ContainsSubstring(source.path) && ContainsSubstring(words));
  };
  refused({.path = "ids.jsonl", .kind = SourceKind::prompts}, "{\"ids\": [1, 2]}\n", ":1: \"ids\" belong to one tokenizer");
  refused({.path = "answered.jsonl", .kind = SourceKind::prompts},
          R"({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]})",
          ":1: a prompt must end with a user turn");
  refused({.path = "empty.jsonl", .kind = SourceKind::prompts}, "\n", "holds no prompt; leave the source out");
  refused({.path = "blank.jsonl", .kind = SourceKind::safety}, "\n", "is empty; leave the source out");
  refused({.path = "blank.jsonl", .kind = SourceKind::demonstrations}, "\n", "is empty; leave the source out");
  refused({.path = "none.jsonl", .kind = SourceKind::helpfulness}, R"({"prompt": "a", "chosen": "b", "rejected": "b"})",
          "holds no pair that can be used (kept 0, dropped 1 (identical_answers 1)");
  refused({.path = "broken.jsonl", .kind = SourceKind::demonstrations}, "{\"messages\": 3}\n", ":1:");
}

TEST_CASE("sources: a demonstration's own source and hazard count before those of its file", "[pipelines]") {
  DataStages data;
  std::string rows;
  for (int i = 0; i < 40; ++i)
    rows +=
        Json{{"prompt", fmt::format("task {}", i)}, {"completion", "done."}, {"hazard", i % 2 == 0 ? Json(true) : Json()}}.dump() + "\n";
  Json tasks = {{"instruction", "many tasks"}, {"hazard", true}, {"source", "mine"}, {"instances", {{{"output", "a"}}, {{"output", "b"}}}}};
  data.add({.path = "h.jsonl", .kind = SourceKind::helpfulness}, pairs(0, 40));
  data.add({.path = "d.jsonl", .kind = SourceKind::demonstrations, .source = "tasks"}, rows + tasks.dump() + "\n");
  std::string safe;
  for (int i = 0; i < 40; ++i)
    safe += Json{{"prompt", fmt::format("safe {}", i)}, {"completion", "no."}, {"hazard", i % 2 == 0 ? Json(false) : Json()}}.dump() + "\n";
  data.add({.path = "s.jsonl", .kind = SourceKind::demonstrations, .source = "tasks", .hazard = true}, safe);
  data.run("data");
  int hazards = 0;
  for (const auto& row : data.rows("data/demonstrations.jsonl")) {
    const std::string asked = row.at("messages").front().at("content");
    const bool own = asked == "many tasks", hazard = own || (std::stoi(asked.substr(5)) % 2 == 0) == asked.starts_with("task");
    CHECK(row.value("hazard", false) == hazard);
    CHECK(row.at("source") == (own ? "mine" : "tasks"));
    hazards += hazard ? 1 : 0;
  }
  CHECK(hazards > 10);
  data.recipe.data.safety_used = 0;
  data.run("data");
  for (const auto& row : data.rows("data/demonstrations.jsonl"))
    CHECK_FALSE(row.value("hazard", false));
  DataStages wrong;
  wrong.add({.path = "h.jsonl", .kind = SourceKind::helpfulness}, pairs(0, 40));
  wrong.add({.path = "d.jsonl", .kind = SourceKind::demonstrations}, R"({"prompt": "a", "completion": "b", "hazard": "yes"})");
  CHECK_THROWS_WITH(wrong.run("data"), ContainsSubstring("d.jsonl:1: \"hazard\" must be true or false"));
}

TEST_CASE("sources: a tag of the model's chat format is refused in the data stage, with its line, or kept as text", "[pipelines]") {
  const std::string tag = "look: [INST] there";
  const Json pair = {{"prompt", "a"}, {"chosen", tag}, {"rejected", "b"}};
  const std::pair<SourceKind, Json> cases[] = {
      {SourceKind::helpfulness, pair},
      {SourceKind::safety, {{"prompt", tag}, {"chosen", "a"}, {"rejected", "b"}}},
      {SourceKind::public_pairs, {{"prompt", "a"}, {"chosen", "b"}, {"rejected", tag}}},
      {SourceKind::prompts, {{"prompt", tag}}},
      {SourceKind::demonstrations, {{"prompt", "a"}, {"completion", tag}}},
  };
  for (const auto& [kind, row] : cases) {
    DataStages data;
    data.add({.path = "h.jsonl", .kind = SourceKind::helpfulness}, pairs(0, 40));
    std::string good;  // of the same kind, so that something can be shared out
    for (int i = 0; i < 40; ++i) {
      Json other = row;
      for (auto& text : other)
        if (text.get<std::string>() == tag) text = fmt::format("text {}", i);
      other["prompt"] = fmt::format("question {}", i);
      good += other.dump() + "\n";
    }
    data.add({.path = "tagged.jsonl", .kind = kind}, good + row.dump() + "\n");
    INFO(core::name_of(kind));
    CHECK_THROWS_WITH(data.run("data"),
                      ContainsSubstring("tagged.jsonl:41: the " +
                                        std::string(kind == SourceKind::safety || kind == SourceKind::prompts ? "user" : "assistant") +
                                        " turn holds a tag of the chat format llama2") &&
                          ContainsSubstring("data.allow_tags"));
    data.recipe.data.allow_tags = true;
    data.run("data");
    data.recipe.data.allow_tags = false;
    data.recipe.chat_format = "chatml";  // whose tags are others
    data.run("data");
  }
}

TEST_CASE("sources: each names its path and its kind; pairs about safety must not pass for others", "[pipelines]") {
  std::vector<std::string> problems;
  recipe::DataConfig data;
  core::assign(core::fields_of(data), {{"sources", {{{"path", "a"}, {"kind", "safety"}}, {{"path", "b"}}, {{"kind", "prompts"}}}}},
               "recipe.json", problems);
  CHECK(problems ==
        std::vector<std::string>{"recipe.json: sources[1]: \"kind\" is missing", "recipe.json: sources[2]: \"path\" is missing"});
}

TEST_CASE("sources: weights that nobody means are refused, and so are those that leave nothing to learn", "[pipelines]") {
  for (const double weight : {0., -1., 1e-9, 1e5, 1e300}) {
    std::vector<std::string> problems;
    recipe::DataConfig data;
    core::assign(core::fields_of(data), {{"sources", {{{"path", "a"}, {"kind", "safety"}, {"weight", weight}}}}}, "recipe.json", problems);
    REQUIRE(problems.size() == 1);
    CHECK_THAT(problems[0],
               ContainsSubstring("sources[0]: weight must be between 0.01 and 100 (leave a source out that nothing should learn from)"));
  }
  DataStages data;
  data.add({.path = "h.jsonl", .kind = SourceKind::helpfulness, .weight = 0.01}, pairs(0, 4));
  data.recipe.data.held_out = 0.5;
  CHECK_THROWS_WITH(data.run("data"), ContainsSubstring("the weights of its sources leave no training pair"));
}

TEST_CASE("sources: pairs that repeat or contradict others are counted", "[pipelines]") {
  DataStages data;
  Json swapped = Json::parse(pairs(3, 1));
  std::swap(swapped["chosen"], swapped["rejected"]);
  data.add({.path = "a.jsonl", .kind = SourceKind::helpfulness}, pairs(0, 30));
  data.add({.path = "b.jsonl", .kind = SourceKind::helpfulness}, pairs(28, 30) + swapped.dump() + "\n");
  data.add({.path = "s.jsonl", .kind = SourceKind::safety}, pairs(0, 30, true));
  data.run("data");
  const Json counts = json_in(data.work, "data/counts.json");
  CHECK((counts["helpfulness"]["duplicates"] == 2 && counts["helpfulness"]["contradictions"] == 1));
  CHECK((counts["helpfulness"]["kept"] == 61 && counts["safety"]["duplicates"] == 0));

  // A week that brings three pairs of the first one again, and three of them in the other order.
  std::string again = pairs(50, 20);
  for (int i = 10; i < 13; ++i) {
    Json other = Json::parse(pairs(i, 1));
    std::swap(other["chosen"], other["rejected"]);
    again += pairs(i - 10, 1) + other.dump() + "\n";
  }
  data.add({.path = "c.jsonl", .kind = SourceKind::helpfulness, .weight = 2, .batch = 2}, again);
  data.run("data2");
  const Json later = json_in(data.work, "data2/counts.json")["helpfulness"];
  CHECK((later["duplicates"] == 0 && later["contradictions"] == 0));
  CHECK(later["of_earlier_batches"] == Json({{"duplicates", 11}, {"contradictions", 3}}));
}

}  // namespace keel::pipelines
