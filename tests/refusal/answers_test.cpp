#include "refusal/answers.h"

#include <nlohmann/json.hpp>

#include "core/error.h"
#include "support/test_plain.h"

using namespace keel;
using Catch::Matchers::ContainsSubstring;
using refusal::Kind;

namespace {

refusal::Answer parsed(const nlohmann::json& row, const std::string& label_field = "label") {
  data::PromptRecord record;
  return refusal::parse_answer(row, label_field, record);
}

}  // namespace

TEST_CASE("answers: every shape of row, and every name of a label", "[refusal]") {
  CHECK(parsed({{"prompt", "Hi"}, {"response", "Hello."}}).text == "Hello.");
  CHECK(parsed({{"prompt", "Hi"}, {"completion", "Hello."}}).text == "Hello.");
  const nlohmann::json turns = {{{"role", "user"}, {"content", "Hi"}}, {{"role", "assistant"}, {"content", "Hello."}}};
  CHECK(parsed({{"messages", turns}}).text == "Hello.");
  CHECK_FALSE(parsed({{"messages", turns}}).label);

  const auto label = [](const nlohmann::json& value) {
    return parsed({{"prompt", "Hi"}, {"response", ""}, {"final", value}}, "final").label;
  };
  CHECK(label("1_full_compliance") == Kind::compliance);
  CHECK(label("full_compliance") == Kind::compliance);
  CHECK(label("compliance") == Kind::compliance);
  CHECK(label("2_full_refusal") == Kind::full_refusal);
  CHECK(label("3_partial_refusal") == Kind::partial_refusal);
  CHECK(label("capability") == Kind::capability);
  CHECK_FALSE(label(nullptr));
  CHECK(parsed({{"prompt", "Hi"}, {"response", "No."}, {"refusal", true}}).label == Kind::full_refusal);
  CHECK(parsed({{"prompt", "Hi"}, {"response", "No."}, {"refusal", false}}).label == Kind::compliance);
}

TEST_CASE("answers: the kind of prompt says whether it should be refused", "[refusal]") {
  const auto of = [](nlohmann::json more) {
    more.update({{"prompt", "Hi"}, {"response", "No."}});
    return parsed(more);
  };
  CHECK(of({{"type", "contrast_homonyms"}}).hazard == true);
  CHECK(of({{"type", "homonyms"}}).hazard == false);
  CHECK(of({{"type", "homonyms"}, {"hazard", true}}).hazard == true);
  CHECK(of({{"type", "homonyms"}}).type == "homonyms");
  CHECK_FALSE(of(nlohmann::json::object()).hazard);
  for (const char* type : {"figurative_language", "safe_targets", "safe_contexts", "definitions", "nons_group_real_discr",
                           "real_group_nons_discr", "historical_events", "privacy_public", "privacy_fictional"}) {
    INFO(type);
    CHECK(of({{"type", type}}).hazard == false);
  }
  for (const char* type : {"contrast_figurative_language", "contrast_safe_targets", "contrast_safe_contexts", "contrast_definitions",
                           "contrast_discr", "contrast_historical_events", "contrast_privacy"}) {
    INFO(type);
    CHECK(of({{"type", type}}).hazard == true);
  }
  for (const char* type : {"jailbreak", "harmful", "contrast_", "contrast_other", "homonym", "contrast_privacy_public"}) {
    INFO(type);
    CHECK_FALSE(of({{"type", type}}).hazard);
  }
}

TEST_CASE("answers: malformed rows name the field and the remedy", "[refusal]") {
  CHECK_THROWS_WITH(parsed({{"prompt", "Hi"}}), ContainsSubstring("\"response\""));
  CHECK_THROWS_WITH(parsed({{"ids", {1, 2}}}), ContainsSubstring("\"ids\""));
  CHECK_THROWS_WITH(parsed({{"messages", {{{"role", "user"}, {"content", "Hi"}}}}}), ContainsSubstring("there is no answer"));
  const nlohmann::json answered = {{{"role", "user"}, {"content", "Hi"}}, {{"role", "assistant"}, {"content", "Hello."}}};
  CHECK_THROWS_WITH(parsed({{"messages", answered}, {"response", "No."}}), ContainsSubstring("end with an answer already"));
  CHECK_THROWS_WITH(parsed({{"prompt", "Hi"}, {"response", "No."}, {"label", "refused"}}), ContainsSubstring("partial_refusal"));
  CHECK_THROWS_WITH(parsed({{"prompt", "Hi"}, {"response", "No."}, {"refusal", "yes"}}), ContainsSubstring("\"refusal\""));
  CHECK_THROWS_WITH(parsed({{"prompt", "Hi"}, {"response", "No."}, {"completion", "Yes."}}),
                    ContainsSubstring("\"response\" and \"completion\""));
  CHECK(parsed({{"prompt", "Hi"}, {"response", "No."}, {"completion", "No."}}).text == "No.");
  const auto labelled = [](const char* label, bool refused) {
    return parsed({{"prompt", "Hi"}, {"response", "No."}, {"label", label}, {"refusal", refused}}).label;
  };
  CHECK_THROWS_WITH(labelled("full_refusal", false), ContainsSubstring("\"label\" is full_refusal and \"refusal\" is false"));
  CHECK_THROWS_WITH(labelled("capability", true), ContainsSubstring("\"refusal\" is true"));
  CHECK(labelled("partial_refusal", true) == Kind::partial_refusal);
}

TEST_CASE("answers: a table and JSON lines give the same answers", "[refusal]") {
  const test::TemporaryFolder folder;
  test::write_text(folder / "a.csv",
                   "id,type,prompt,completion,final_label\n"
                   "1,homonyms,How?,\"I cannot, \"\"ever\"\".\n\nNo.\",2_full_refusal\n"
                   "2,contrast_homonyms,Why?,Sure.,1_full_compliance\n");
  test::write_text(folder / "a.jsonl",
                   R"({"type":"homonyms","prompt":"How?","response":"I cannot, \"ever\".\n\nNo.","final_label":"2_full_refusal"})"
                   "\n\n"
                   R"({"type":"contrast_homonyms","prompt":"Why?","response":"Sure.","final_label":"full_compliance"})"
                   "\n");
  for (const char* name : {"a.csv", "a.jsonl"}) {
    INFO(name);
    const auto set = refusal::read_answers(folder / name, "final_label");
    REQUIRE(set.answers.size() == 2);
    CHECK(set.answers[0].text == "I cannot, \"ever\".\n\nNo.");
    CHECK(set.answers[0].label == Kind::full_refusal);
    CHECK(set.answers[1].hazard == true);
    CHECK(set.prompts.records[1].text == "Why?");
    CHECK(set.prompts.records[1].response == "Sure.");
  }
  test::write_text(folder / "flags.csv", "prompt,response,hazard,refusal\nHow?,No.,true,True\nWhy?,Sure.,FALSE,false\nWho?,Me.,,\n");
  const auto flags = refusal::read_answers(folder / "flags.csv").answers;
  CHECK((flags[0].hazard == true && flags[0].label == Kind::full_refusal));
  CHECK((flags[1].hazard == false && flags[1].label == Kind::compliance));
  CHECK((!flags[2].hazard && !flags[2].label));
  test::write_text(folder / "flags.csv", "prompt,response,hazard\nHow?,No.,true\nWhy?,Sure.,yes\n");
  CHECK_THROWS_WITH(refusal::read_answers(folder / "flags.csv"),
                    ContainsSubstring("flags.csv:3:") && ContainsSubstring("\"hazard\" must be true or false"));
  test::write_text(folder / "bad.jsonl", "{\"prompt\":\"a\",\"response\":\"b\"}\n{\"prompt\":\"a\"}\n");
  CHECK_THROWS_WITH(refusal::read_answers(folder / "bad.jsonl"), ContainsSubstring("bad.jsonl:2:"));
  test::write_text(folder / "bad.jsonl", "{\"prompt\":\"a\",\"response\":\"b\",\"refusal\":true}\n");
  CHECK_THROWS_WITH(refusal::read_answers(folder / "bad.jsonl", "nosuch"), ContainsSubstring("no row has a field \"nosuch\""));
  CHECK_THROWS_WITH(refusal::read_answers(folder / "a.csv", "final_lable"), ContainsSubstring("\"final_lable\""));
  test::write_text(folder / "none.jsonl", "\n");
  CHECK_THROWS_AS(refusal::read_answers(folder / "none.jsonl"), core::DataError);
}
