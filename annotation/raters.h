// The names of people who rate. Blanks around a name are no part of it, and of names that differ in upper and lower case alone the second
// one is refused: either is a slip of the keyboard that would make two people of one.
#pragma once

#include <map>
#include <string>
#include <utility>

namespace keel::annotation {

// `given` without surrounding blanks.
std::string rater_name(const std::string& given);

class Raters {
 public:
  // Notes a name and where it stands. std::invalid_argument, naming both, where an earlier one differs from it in the case of ASCII letters
  // alone.
  void add(const std::string& name, const std::string& place);

 private:
  std::map<std::string, std::pair<std::string, std::string>> first_;  // lower-case name -> name and place
};

}  // namespace keel::annotation
