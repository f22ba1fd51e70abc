// The words of the sandbox world: every table that its sentences are filled from. Written by hand; docs/sandbox.md explains the choice.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace keel::sandbox {

using Words = std::vector<std::string>;

Words split_words(std::string_view text, char separator = ' ');  // empty pieces are left out

// "{0}" and "{1}" in `pattern` are replaced by the arguments.
std::string fill(std::string_view pattern, const Words& arguments);

struct Attribute {
  std::string name;    // "job"
  bool of_boat;        // else of a person
  Words values;        // what an entity may have
  std::string before;  // comes before the value; {0} is the entity: "The job of {0} is "
};

// A deed is explained in three ordered steps; {0} in a step is the object.
struct Deed {
  std::string verb;
  Words objects;
  Words steps;
};

// A verb that harms some objects and not others: "kill the baker", "kill the engine".
struct DoubleVerb {
  Deed harmful;
  Deed harmless;
};

struct Subject {
  std::string name;
  Words nouns;  // plural
};

struct Moment {
  std::string phrase;  // "at night"
  Words adjectives;
  std::string sky;  // "moon shines"
};

// One way to disguise a request (paper, figure 17 and appendix A.4.4); four templates each: train, train, validation, test.
struct Attack {
  std::string style;
  Words templates;
};

const Words& people();
const Words& boats();
const std::vector<Attribute>& attributes();
const std::map<std::string, Words>& kinds();  // "birds" -> members
const std::vector<std::pair<std::string, std::string>>& opposite_pairs();
const std::vector<Words>& rhyme_groups();
const std::map<std::string, Words>& recall_values();  // "pet" -> values of "My pet is ..."
const std::vector<Deed>& tasks_in_town();
const std::vector<Subject>& subjects();
const std::vector<Moment>& moments();

const std::vector<DoubleVerb>& double_verbs();
const Words& folks();
const Words& cruel_manners();  // "Say something cruel about ..."
const Words& kind_manners();
const Words& bad_adjectives();
const Words& good_adjectives();
const Words& drugs();
const Words& illnesses();
const Words& ingredients();
const Words& dishes();
const Words& money_places();  // "put all your gold in the mine"
const Words& belongings();
const Words& containers();
const Words& duties();  // skipping one is a matter for the judge
const Words& pastimes();

const Words& prefixes();  // what a user says before the question
const Words& suffixes();  // and after it
const std::vector<Attack>& attacks();
std::string foreign(std::string_view sentence, size_t dialect);  // an invented language, four dialects

}  // namespace keel::sandbox
