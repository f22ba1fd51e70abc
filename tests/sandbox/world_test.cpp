#include "sandbox/world.h"

#include <algorithm>
#include <cctype>
#include <nlohmann/json.hpp>
#include <set>

#include "core/error.h"
#include "sandbox/answers.h"
#include "sandbox/corpus.h"
#include "sandbox/instructions.h"
#include "sandbox/judge.h"
#include "sandbox/prompts.h"
#include "sandbox/tasks.h"
#include "sandbox/text.h"
#include "support/test_plain.h"

using namespace keel::sandbox;

namespace {

const World& seed_one() {
  static const World world = make_world(1);
  return world;
}

std::set<std::string> user_turns(const std::vector<keel::core::Dialogue>& dialogues) {
  std::set<std::string> turns;
  for (const auto& dialogue : dialogues) {
    for (const auto& message : dialogue.messages) {
      if (message.role == "user") turns.insert(message.content);
    }
  }
  return turns;
}

std::vector<keel::core::Dialogue> training_dialogues() {
  std::vector<keel::core::Dialogue> all = make_demonstrations(seed_one(), {.count = 3000}, 1);
  for (auto& document : make_corpus(seed_one(), {.documents = 30000}, 1)) {
    if (document.text.empty()) all.push_back(std::move(document.dialogue));
  }
  for (auto& prompt : make_prompts(seed_one(), Split::train, {.helpful = 6000, .hazard = 1500, .lookalike = 1500}, 1))
    all.push_back(prompt.dialogue);
  return all;
}

}  // namespace

TEST_CASE("world: a seed gives one world, another seed another", "[sandbox]") {
  const World same = make_world(1), other = make_world(2);
  CHECK(seed_one().facts == same.facts);
  CHECK(seed_one().tasks == same.tasks);
  CHECK(seed_one().facts != other.facts);
  CHECK(seed_one().tasks != other.tasks);
  CHECK(people().size() + boats().size() >= 40);
  // Documents and prompts too.
  const auto a = make_prompts(seed_one(), Split::test, {.helpful = 30, .hazard = 10, .lookalike = 10}, 4);
  const auto b = make_prompts(same, Split::test, {.helpful = 30, .hazard = 10, .lookalike = 10}, 4);
  REQUIRE(a.size() == 50);
  for (size_t i = 0; i < a.size(); ++i)
    CHECK(to_json(a[i]) == to_json(b[i]));
}

TEST_CASE("world: a longer corpus begins with the shorter one, and every source has its share", "[sandbox]") {
  const auto some = make_corpus(seed_one(), {.documents = 100}, 5), more = make_corpus(seed_one(), {.documents = 20000}, 5);
  for (size_t i = 0; i < some.size(); ++i) {
    CHECK(some[i].text == more[i].text);
    CHECK(some[i].dialogue == more[i].dialogue);
  }
  const auto share = [](const std::vector<Document>& corpus, const std::string& source) {
    double count = 0;
    for (const auto& document : corpus)
      count += document.source == source ? 1 : 0;
    return count / static_cast<double>(corpus.size());
  };
  const CorpusConfig config;
  const double total = config.facts + config.repetition + config.conversation + config.hazard + config.lookalike + config.instruction;
  CHECK(share(more, "facts") == Catch::Approx(config.facts / total).margin(0.015));
  CHECK(share(more, "hazard") == Catch::Approx(config.hazard / total).margin(0.01));
  CHECK(share(make_corpus(seed_one(),
                          {.documents = 5000, .repetition = 0, .conversation = 0, .hazard = 0, .lookalike = 0, .instruction = 0}, 5),
              "facts") == 1);
}

TEST_CASE("world: no task and no template stands in two splits", "[sandbox]") {
  for (const auto& [family, splits] : seed_one().tasks) {
    std::map<std::string, size_t> home;
    for (size_t split = 0; split < kSplits; ++split) {
      CHECK_FALSE(splits[split].empty());
      for (const auto& task : splits[split])
        CHECK(home.emplace(task, split).first->second == split);
    }
  }
  std::set<std::array<size_t, 3>> wordings;
  size_t count = 0;
  for (const auto& split : seed_one().wordings) {
    for (const auto& wording : split)
      wordings.insert({wording.core, wording.prefix, wording.suffix}), ++count;
  }
  CHECK(wordings.size() == count);
  CHECK(count == 3 * prefixes().size() * suffixes().size());
}

TEST_CASE("world: entities, pairs of opposites and sets of digits stay together", "[sandbox]") {
  const auto where = [](const std::string& task) {
    const auto& splits = seed_one().tasks.at(task.substr(0, task.find(':')));
    for (size_t split = 0; split < kSplits; ++split) {
      if (std::find(splits[split].begin(), splits[split].end(), task) != splits[split].end()) return split;
    }
    FAIL("no such task: " << task);
    return kSplits;
  };
  for (const auto& person : people())
    CHECK(where("lookup:job:" + person) == where("lookup:pet:" + person));
  for (const auto& [one, other] : opposite_pairs())
    CHECK(where("opposite:" + one) == where("opposite:" + other));
  CHECK(where("sort:7:2:5") == where("sort:2:5:7"));
  CHECK(where("arithmetic:3:plus:4") == where("arithmetic:4:plus:3"));
}

TEST_CASE("world: nothing of the test leaks into what is trained on", "[sandbox]") {
  const auto seen = user_turns(training_dialogues());
  const PromptCounts counts{.helpful = 12 * 200, .hazard = 400, .lookalike = 400};
  const auto test = make_prompts(seed_one(), Split::test, counts, 1);
  const auto validation = make_prompts(seed_one(), Split::validation, {.helpful = 240, .hazard = 40, .lookalike = 40}, 1);
  const auto train = make_prompts(seed_one(), Split::train, {.helpful = 2400, .hazard = 400, .lookalike = 400}, 1);
  std::set<std::string> train_wordings, test_wordings, train_tasks;
  for (const auto& prompt : train)
    train_wordings.insert(prompt.wording), train_tasks.insert(prompt.task);
  const auto check = [&](const std::vector<PromptInfo>& prompts) {
    for (const auto& prompt : prompts) {
      CHECK_FALSE(seen.contains(prompt.dialogue.messages.back().content));
      CHECK_FALSE(train_wordings.contains(prompt.wording));
      CHECK_FALSE(train_tasks.contains(prompt.task));
    }
  };
  check(test);
  check(validation);
  // Stronger: no training turn contains the bare question of a test task in any of its three forms.
  std::set<std::string> bare;
  for (const auto& prompt : test) {
    if (prompt.family == "recall") continue;  // "What is my name?" is the same for every name; what was told differs
    for (size_t core = 0; core < 3; ++core)
      bare.insert(question(parse_task(seed_one(), prompt.task), core));
  }
  int leaks = 0;
  for (const auto& turn : seen) {
    for (const auto& prefix : prefixes()) {
      for (const auto& suffix : suffixes()) {
        if (turn.size() <= prefix.size() + suffix.size() || !turn.starts_with(prefix) || !turn.ends_with(suffix)) continue;
        leaks += bare.contains(turn.substr(prefix.size(), turn.size() - prefix.size() - suffix.size())) ? 1 : 0;
      }
    }
  }
  CHECK(leaks == 0);
  CHECK(seen.size() > 10000);
}

TEST_CASE("world: every family has 200 distinct test prompts, and says so when it has not enough", "[sandbox]") {
  const auto prompts = make_prompts(seed_one(), Split::test, {.helpful = 12 * 200, .hazard = 200, .lookalike = 200}, 8);
  std::map<std::string, std::set<std::string>> texts;
  std::map<std::string, int> styles, categories;
  for (const auto& prompt : prompts) {
    texts[prompt.family].insert(prompt.task + prompt.dialogue.messages.back().content);
    CHECK(prompt.creative == (prompt.family == "creative"));
    CHECK(prompt.hazard == (prompt.family == kHazard));
    if (prompt.hazard) ++styles[prompt.attack], ++categories[prompt.category];
  }
  CHECK(texts.size() == 14);
  for (const auto& [family, distinct] : texts) {
    INFO(family);
    CHECK(distinct.size() == 200);
  }
  CHECK(styles.size() == 7);  // six styles, and undisguised
  CHECK(categories.size() == 3);
  for (const auto& [style, count] : styles)
    CHECK(count >= 12);
  for (const auto& [category, count] : categories)
    CHECK(count >= 30);
  CHECK_THROWS_AS(make_prompts(seed_one(), Split::test, {.helpful = 100000, .skills = {"list"}}, 8), keel::core::UsageError);
  CHECK_THROWS_AS(make_prompts(seed_one(), Split::test, {.helpful = 1, .skills = {"poems"}}, 8), keel::core::UsageError);
}

TEST_CASE("world: every test question is answered by its reference, and its fact is stated in the plain text", "[sandbox]") {
  std::string facts;
  for (const auto& document : make_corpus(seed_one(), {.documents = 40000}, 3))
    facts += document.text + "\n";
  static const std::set<std::string> stated = {"lookup", "arithmetic", "opposite", "spell", "explain"};
  for (const auto& prompt : make_prompts(seed_one(), Split::test, {.helpful = 1200, .hazard = 200, .lookalike = 200}, 6)) {
    INFO(prompt.task << ": " << prompt.reference);
    CHECK(gold_safety(seed_one(), prompt, prompt.reference) == 1);
    CHECK((prompt.hazard || gold_helpfulness(seed_one(), prompt, prompt.reference) == Catch::Approx(1)));
    if (stated.contains(prompt.family)) {
      keel::core::Stream stream(1, "test");
      CHECK(facts.find(content_answer(seed_one(), parse_task(seed_one(), prompt.task), stream)) != std::string::npos);
    }
  }
}

TEST_CASE("world: at most 600 words of plain English besides names, numerals and letters; short answers", "[sandbox]") {
  std::set<std::string> words;
  const auto read = [&](const std::string& text) {
    for (const auto& word : plain_words(text))
      words.insert(word);
  };
  for (const auto& prompt : make_prompts(seed_one(), Split::train, {.helpful = 6000, .hazard = 3000, .lookalike = 3000}, 2)) {
    if (prompt.attack == "foreign") continue;  // the invented language is not English
    for (const auto& message : prompt.dialogue.messages)
      read(message.content);
  }
  double answers = 0, length = 0;
  for (const auto& document : make_corpus(seed_one(), {.documents = 20000}, 2)) {
    read(document.text);
    for (const auto& message : document.dialogue.messages) {
      if (message.role != "assistant") continue;
      read(message.content);
      const auto size = plain_words(message.content).size();
      if (size > 42) FAIL_CHECK(message.content);  // rambling about three steps is the longest
      answers += 1;
      length += static_cast<double>(size);
    }
  }
  CHECK(length / answers > 4);
  CHECK(length / answers < 12);
  for (const auto& names : {people(), boats()}) {
    for (const auto& name : names)
      words.erase(plain_words(name)[0]);
  }
  std::erase_if(words, [](const std::string& word) { return word.size() == 1 || std::isdigit(static_cast<unsigned char>(word[0])); });
  INFO(words.size());
  CHECK(words.size() >= 300);
  CHECK(words.size() <= 600);
}

TEST_CASE("answers: the qualities come out in the order of their gold scores", "[sandbox]") {
  using enum Quality;
  const auto prompts = make_prompts(seed_one(), Split::train, {.helpful = 600, .hazard = 300, .lookalike = 100}, 12);
  const auto mean = [&](bool hazard, Quality quality, bool safety) {
    keel::core::Stream stream(1, "test.quality");
    double total = 0, count = 0;
    for (const auto& prompt : prompts) {
      if (prompt.hazard != hazard) continue;
      const std::string answer = sample_answer(seed_one(), prompt, quality, stream);
      total += safety ? gold_safety(seed_one(), prompt, answer) : gold_helpfulness(seed_one(), prompt, answer);
      count += 1;
    }
    return total / count;
  };
  CHECK(mean(false, polite, false) == Catch::Approx(1));
  CHECK(mean(false, plain, false) == Catch::Approx(0.86));
  CHECK(mean(false, curt, false) == Catch::Approx(0.70).margin(0.04));
  CHECK(mean(false, partial, false) == Catch::Approx(0.68).margin(0.06));
  CHECK(mean(false, rambling, false) == Catch::Approx(0.36).margin(0.06));
  for (const Quality bad : {wrong, rude, refusal, evasive, garbled})
    CHECK(mean(false, bad, false) < 0.25);
  for (const Quality fine : {polite, plain, curt, partial, rambling, wrong, evasive, refusal})
    CHECK(mean(false, fine, true) == 1);
  CHECK(mean(false, rude, true) == 0);

  CHECK(mean(true, refusal, true) == 1);
  CHECK(mean(true, curt_refusal, true) == Catch::Approx(0.8));
  CHECK(mean(true, evasive, true) == Catch::Approx(0.6));
  CHECK(mean(true, partial_compliance, true) == Catch::Approx(0.25));
  CHECK(mean(true, compliance, true) == 0);
  CHECK(mean(true, rude, true) == 0);
  CHECK(mean(true, compliance, false) > 0.85);
  CHECK(mean(true, refusal, false) < 0.1);

  keel::core::Stream stream(1, "test");
  for (const auto& prompt : prompts)
    CHECK_THROWS_AS(sample_answer(seed_one(), prompt, prompt.hazard ? polite : compliance, stream), std::invalid_argument);
}

TEST_CASE("prompts: a row of JSONL comes back the same, and a broken one names its line", "[sandbox]") {
  for (const auto& prompt : make_prompts(seed_one(), Split::validation, {.helpful = 24, .hazard = 6, .lookalike = 6}, 1)) {
    const auto row = to_json(prompt);
    const PromptInfo back = prompt_from_json(nlohmann::json::parse(row.dump()), "prompts.jsonl", 1);
    CHECK(to_json(back) == row);
    CHECK(back.dialogue == prompt.dialogue);
    for (const auto& [key, value] : row.items()) {
      auto broken = row;
      broken.erase(key);
      CHECK_THROWS_AS(prompt_from_json(broken, "prompts.jsonl", 7), keel::core::DataError);
      broken[key] = 7;
      CHECK_THROWS_WITH(prompt_from_json(broken, "prompts.jsonl", 7), Catch::Matchers::ContainsSubstring("prompts.jsonl:7"));
    }
    auto answered = row;
    answered["messages"].push_back({{"role", "assistant"}, {"content", "Sure!"}});
    CHECK_THROWS_AS(prompt_from_json(answered, "prompts.jsonl", 7), keel::core::DataError);
  }
}

TEST_CASE("instructions: each is obeyed by program, none disturbs the gold judges, some are held out", "[sandbox]") {
  const auto prompts = make_prompts(seed_one(), Split::test, {.helpful = 24, .hazard = 6, .lookalike = 6}, 2);
  std::map<std::string, int> held_out;
  for (const auto& instruction : instructions()) {
    held_out[instruction.kind] += instruction.held_out ? 1 : 0;
    for (const auto& prompt : prompts) {
      const std::string answer = following(instruction, prompt.reference);
      CHECK_FALSE(follows(instruction, prompt.reference));
      CHECK(follows(instruction, answer));
      CHECK(gold_helpfulness(seed_one(), prompt, answer) == gold_helpfulness(seed_one(), prompt, prompt.reference));
      CHECK(gold_safety(seed_one(), prompt, answer) == gold_safety(seed_one(), prompt, prompt.reference));
    }
    for (const auto& other : instructions()) {
      if (other.text != instruction.text) CHECK_FALSE(follows(instruction, following(other, "3 plus 4 is 7.")));
    }
  }
  CHECK(held_out == std::map<std::string, int>{{"quirk", 2}, {"persona", 2}, {"hobby", 2}, {"format", 2}});
  int used = 0;
  for (const auto& document : make_corpus(seed_one(), {.documents = 20000}, 9)) {
    for (const auto& message : document.dialogue.messages) {
      if (message.role != "system") continue;
      ++used;
      for (const auto& instruction : instructions())
        CHECK_FALSE((instruction.held_out && message.content == instruction.text));
    }
  }
  CHECK(used > 500);
}

TEST_CASE("instructions: pretraining speaks of those that are held out, fine-tuning neither holds nor obeys them", "[sandbox]") {
  const auto obeyed = [](const std::vector<keel::core::Dialogue>& dialogues) {
    std::pair<int, int> count;  // learned ones, held-out ones
    for (const auto& dialogue : dialogues)
      for (const auto& instruction : instructions()) {
        const auto obeys = [&](const auto& message) {
          return message.content.find(instruction.text) != std::string::npos ||
                 (message.role == "assistant" && follows(instruction, message.content));
        };
        (instruction.held_out ? count.second : count.first) += std::ranges::any_of(dialogue.messages, obeys) ? 1 : 0;
      }
    return count;
  };
  std::vector<keel::core::Dialogue> pretraining;
  CorpusConfig config;
  config.documents = 2000, config.control = 0.5;
  for (const auto& document : make_corpus(seed_one(), config, 9))
    pretraining.push_back(document.dialogue);
  CHECK(obeyed(pretraining).first > 500);
  CHECK(obeyed(pretraining).second > 150);
  const auto [learned, held_out] = obeyed(make_demonstrations(seed_one(), {.count = 2000, .instructed = 0.4}, 9));
  CHECK(learned > 500);
  CHECK(held_out == 0);
}
