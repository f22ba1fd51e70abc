// A Llama as the engine computes it.
#pragma once

#include "engine/model.h"
#include "policy/llama.h"

namespace keel::policy {

engine::Shape shape_of(const LlamaConfig& config, int64_t outputs = 0);

// Pointers to contiguous fp32 weights and adapters; the head is left out. `frequencies`: contiguous rotary_frequencies().
engine::Weights weights_of(const Llama& model, const at::Tensor& frequencies);

// Whether the engine takes this model: fp32 on the CPU and small enough that the copy of its weights
// is no burden. Larger models spend their time in large products, which ATen computes as well.
bool can_be_packed(const Llama& model);

// Threads that are worth their meetings for a pass of so many multiply-adds, or over so many tokens: this thread's share of the process's,
// or 1 for short passes.
int threads_for(int64_t multiply_adds);
int threads_for(const Llama& model, int64_t tokens);

// Whether packed weights may stay in memory beside it: not those of a model with adapters, whose base may serve several models at once.
bool can_stay_packed(const Llama& model);

// Its weights and adapters, with a head of [outputs, D]: model.head, or a reward model's. Packed by the team. The embedding is not
// copied: `model` must outlive the result.
engine::Model packed_model(const Llama& model, const at::Tensor& head, engine::Team& team);

}  // namespace keel::policy
