// The floating types that files hold weights in.
#pragma once

#include <filesystem>
#include <string>

#include "policy/llama.h"

namespace keel::policy {

// The type in which a reader returns weights. fp32; frozen: the same, but matrices of layers
// (may_be_bf16()) whose numbers are all bf16 numbers are kept in bf16, which halves their memory and changes no result; stored: as they
// are, where that is bf16 or fp16.
enum class Precision { fp32, frozen, stored };

// The one type of a list of weights; fp32 where they differ, for it holds every number of the others.
at::ScalarType common_dtype(const runtime::Parameters& weights);

std::string dtype_name(at::ScalarType type);  // "float32", "bfloat16" or "float16", as config.json's torch_dtype has it

// Puts all weights into the type of that name; "keep": into their common one. DataError naming `origin` and the weight when a number is
// beyond the range of the type.
void cast_weights(Llama& model, const std::string& name, const std::filesystem::path& origin);

}  // namespace keel::policy
