// Safety preprompts (Llama 2 paper, 4.2.4 and table 39): instructions under which a model answers hazardous prompts more safely.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "core/rng.h"

namespace keel::distillation {

struct Preprompt {
  std::string text;      // a slot {adjective} or more is filled at random, each with another adjective
  std::string category;  // of the prompts that it is for; empty: any
  int64_t line = 0;      // in its file
};

// General ones, and for each risk category of the paper (illicit, hateful, unqualified) one that says what a good answer holds.
const std::vector<Preprompt>& built_in_preprompts();
const std::vector<std::string>& adjectives();

// Rows {"text"} with "category" where it is for one kind of prompt. DataError with file:line for a malformed row, an empty text, an
// unknown slot, more slots than there are adjectives, and a file without rows.
std::vector<Preprompt> read_preprompts(const std::filesystem::path& path);

// The texts for a prompt of `category`: those of the category, or the general ones where there is none of it. std::invalid_argument where
// neither exists.
std::vector<std::string> fitting_preprompts(const std::vector<Preprompt>& all, const std::string& category);

// One of fitting_preprompts(), its slots filled; "a" before a slot becomes "an" where the adjective wants it, and "an" becomes "a".
std::string draw_preprompt(const std::vector<Preprompt>& all, const std::string& category, core::Stream& stream);

}  // namespace keel::distillation
