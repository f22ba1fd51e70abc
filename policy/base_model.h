// The base model of a PEFT adapter: its folder, and its weights, held once by all that is built on it.
#pragma once

#include <filesystem>

#include "policy/llama.h"

namespace keel::policy {

// The base of every adapter that this process reads, in place of the one that its adapter_config.json names (--base); "" = as that names.
void use_base(const std::filesystem::path& folder);

// The model folder that an adapter adds to: that of use_base() or "base_model_name_or_path" of adapter_config.json, relative to the
// adapter's folder or to the working directory. UsageError, with the remedy, where neither names a model folder.
std::filesystem::path base_of(const std::filesystem::path& adapter);

// `folder` itself or, for an adapter, base_of().
std::filesystem::path weights_folder(const std::filesystem::path& folder);

enum class Head { language_model, none };

// Weights of a model folder, not to be trained in place: files that some model still holds are not read again, and the weights are shared
// as by share(). With Head::none the backbone alone, which may be that of a reward model. Throws as load_llama().
Llama shared_weights(const std::filesystem::path& folder, Head head);

// `fresh`, read from `folder`, with every weight replaced by an equal one of the same name that a model shared before still holds. So
// models that differ in a few projections, as merged adapters do, hold the others once. Not to be trained in place.
Llama share(const std::filesystem::path& folder, Llama fresh);

}  // namespace keel::policy
