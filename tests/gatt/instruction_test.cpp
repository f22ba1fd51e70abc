#include "gatt/instruction.h"

#include "core/error.h"
#include "core/files.h"
#include "support/test_plain.h"

using Catch::Matchers::ContainsSubstring;
using keel::gatt::listed_values;
using keel::gatt::read_instructions;

TEST_CASE("instructions: a text with its short form, or a kind and a value", "[gatt]") {
  const keel::test::TemporaryFolder folder;
  const auto file = folder / "instructions.jsonl";
  keel::core::write_file(file, R"({"text": " Answer in rhyme. ", "short": "Rhyme.", "pattern": "\\w+", "unseen": true})"
                               "\n"
                               R"({"kind": "figure", "value": "Napoleon"})"
                               "\n"
                               R"({"kind": "hobby", "value": "tennis"})"
                               "\n"
                               R"({"kind": "language", "value": "French"})"
                               "\n");
  const auto all = read_instructions(file);
  REQUIRE(all.size() == 4);
  CHECK(all[0].text == "Answer in rhyme.");
  CHECK(all[0].brief == "Rhyme.");
  CHECK(all[0].unseen);
  CHECK(all[1].text == "Always act as Napoleon.");
  CHECK(all[1].brief == "Figure: Napoleon.");
  CHECK(all[2].text == "You enjoy tennis.");
  CHECK(all[3].text == "Always answer in French.");
  CHECK(all[3].line == 4);
}

TEST_CASE("instructions: a broken row is refused with its line and field", "[gatt]") {
  const auto [row, text] = GENERATE(table<std::string, std::string>({
      {R"({"text": "  "})", R"("text" is empty)"},
      {R"({"text": 3})", R"("text" must be a string, got number)"},
      {R"({"kind": "figure"})", R"(needs "text", or "kind" and "value")"},
      {R"({"kind": "planet", "value": "Mars"})", R"("kind" "planet" has no sentence of its own)"},
      {R"({"text": "a", "pattern": "("})", "parenthes"},
      {R"({"kind": "figure", "value": "Napoleon", "short": "Nap."})", R"("short" needs "text" beside it)"},
      {R"({"text": "a", "unseen": "yes"})", R"("unseen" must be true or false)"},
  }));
  const keel::test::TemporaryFolder folder;
  const auto file = folder / "instructions.jsonl";
  keel::core::write_file(file, "{\"text\": \"fine\"}\n" + row + "\n");
  CHECK_THROWS_WITH(read_instructions(file), ContainsSubstring("instructions.jsonl:2: ") && ContainsSubstring(text));
  keel::core::write_file(file, "\n");
  CHECK_THROWS_WITH(read_instructions(file), ContainsSubstring("holds no instruction"));
}

TEST_CASE("instructions: the values that a model lists", "[gatt]") {
  using Values = std::vector<std::string>;
  CHECK(listed_values("Here are some:\n1. Napoleon\n2) Marie Curie.\n- Ada Lovelace\n* Napoleon\n\n").values ==
        Values{"Napoleon", "Marie Curie", "Ada Lovelace"});
  CHECK(listed_values("tennis, chess, and, swimming.").values == Values{"tennis", "chess", "and", "swimming"});
  CHECK(listed_values("1984 Olympics\n3. 2 be").values == Values{"1984 Olympics", "2 be"});
  CHECK(listed_values("").values.empty());
  const std::string names = "1. Dr. Martin Luther King Jr.\n2. J. R. R. Tolkien\n3. Elizabeth I\n4. I. M. Pei\n5. O\u2019Neill";
  CHECK(listed_values(names).values == Values{"Dr. Martin Luther King Jr", "J. R. R. Tolkien", "Elizabeth I", "I. M. Pei", "O\u2019Neill"});
  CHECK(listed_values("1. tennis").values == Values{"tennis"});
  CHECK(listed_values("Tennis.").values == Values{"Tennis"});
}

TEST_CASE("instructions: a refusal and a sentence are no values; they are dropped and counted", "[gatt]") {
  for (const char* text :
       {"I cannot help with that. Please ask the doctor.", "I cannot help with that", "I'm sorry, but I can't list hobbies.",
        "I\u2019m sorry, but I can\u2019t do this", "As an AI, I do not have hobbies.", "Ask the doctor.",
        "The doctor can help you with this.", "Sure! Here is my list", "No, I won't.", "Unfortunately this is not possible"}) {
    INFO(text);
    CHECK(listed_values(text).values.empty());
    CHECK(listed_values(text).dropped > 0);
  }
  const auto mixed = listed_values("Here are some:\n1. tennis\nI hope that this helps!\n2. chess\n3. " + std::string(61, 'x'));
  CHECK(mixed.values == std::vector<std::string>{"tennis", "chess"});
  CHECK(mixed.dropped == 2);
}
