// Tokenizer and chat format of a model folder. A PEFT adapter's folder need not hold them: then they are those of its base model.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "data/chat_format.h"
#include "data/tokenizer.h"

namespace keel::inference {

// The folder that holds the tokenizer: a model folder itself or, for an adapter without a tokenizer, its base.
std::filesystem::path tokenizer_folder(const std::filesystem::path& folder);

// Its tokenizer, with the stops of generation_config.json (or config.json) that the model folder or, where an adapter has neither, its
// base has. Throws as data::load_tokenizer().
std::shared_ptr<const data::Tokenizer> load_tokenizer(const std::filesystem::path& folder);

// data::chat_format_of() of the folder or, for an adapter with neither keel.json nor a chat template, of its base.
data::ChatFormat chat_format_of(const std::filesystem::path& folder, const std::string& chat = {});

// data::warn_of_sampling_defaults() of the file that load_tokenizer() takes the stops from.
void warn_of_sampling_defaults(const std::filesystem::path& folder);

// The vocabulary, and files beside it that change ids, stops or templates.
std::vector<std::string> tokenizer_files();

// Copies those of a model folder that `to` does not have; an adapter's first, then what it lacks from its base.
void copy_tokenizer(const std::filesystem::path& from, const std::filesystem::path& to);

// SHA-256 of all that makes the ids of a dialogue: the tokenizer's own file, and what beside it adds tokens or blanks. "" for a folder
// without a tokenizer.
std::string tokenizer_digest(const std::filesystem::path& folder);

// DataError unless both folders have the same tokenizer files: otherwise the ids of one model mean something else to the other.
void require_same_tokenizer(const std::filesystem::path& folder, const std::filesystem::path& other);

// The same for tokenizer and chat format: what a reward model needs to score the policy's ids.
void require_same_text(const std::filesystem::path& folder, const std::filesystem::path& other);

}  // namespace keel::inference
