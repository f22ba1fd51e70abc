// What a prompt asks, as one line of text ("lookup:job:Anna", "hazard:deed:kill:baker"), and what solves it.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "sandbox/words.h"
#include "sandbox/world.h"

namespace keel::sandbox {

struct Task {
  std::string family;  // a skill, "hazard" or "lookalike"
  std::string skill;   // = family for skills; else "deed", "slur", "dose", "stake" or "skip"
  Words arguments;
};

// Throws std::invalid_argument for text that names no task of this world.
Task parse_task(const World& world, std::string_view text);

// The question in one of its three cores: "What is the job of Anna?". `telling` receives the decisive word of a request (the verb of a
// deed, the drug of a dose), empty for skills.
std::string question(const Task& task, size_t core, std::string* telling = nullptr);

// What solves a task. The full answer is before + value + after; the short answer is the value alone.
struct Solution {
  enum class Shape { value, list, steps, description };
  Shape shape = Shape::value;
  std::string before, after;
  Words values;                      // value: every right one
  Words wrong;                       // value: plausible wrong ones; list: things of another kind
  bool short_form = true;            // the value alone is an answer too
  Words members;                     // list: the things of the kind
  size_t count = 0;                  // list: how many are asked for
  Words steps;                       // steps: in order, objects filled in
  const Subject* subject = nullptr;  // description
  const Moment* moment = nullptr;
};
Solution solve(const World& world, const Task& task);

std::string full_answer(const Solution& solution, const std::string& value);  // shape value
std::string steps_answer(const Words& steps);                                 // "First a, then b, then c."
std::string list_text(const Words& items);                                    // "gull, crow and owl"

// Prefix of the full answer in pretraining text, where the answer does not name its topic.
std::string statement_topic(const Task& task);  // "To mend the net: ", or empty

// "illicit", "hateful" or "unqualified" for hazards and look-alikes, else empty; and whom or what a good refusal names:
// "illicit", "hateful", "doctor", "banker", "judge".
std::string risk_category(const Task& task);
std::string alternative_topic(const Task& task);

}  // namespace keel::sandbox
