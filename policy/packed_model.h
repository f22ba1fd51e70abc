// A Llama as the engine computes it.
#pragma once

#include "engine/model.h"
#include "policy/llama.h"

namespace keel::policy {

engine::Shape shape_of(const LlamaConfig& config, int64_t outputs = 0);

// Pointers to weights and adapters that engine_takes(); the head is left out. `frequencies`: contiguous rotary_frequencies().
engine::Weights weights_of(const Llama& model, const at::Tensor& frequencies);

// Where the engine puts a weight's gradient: into the sum that is open for it (runtime/gradient_sums.h), or else into `made`, a new tensor.
engine::GradientOf gradient_of(const at::Tensor& weight, at::Tensor& made);

// Whether the engine computes this model: contiguous weights on the CPU in fp32, or in bf16 where they are matrices of layers and frozen,
// with fp32 adapters. What a token gets from it is a function of the ids of its sequence up to there, to the bit. Others are computed by
// plain operators.
bool engine_takes(const Llama& model);

// Threads that are worth their meetings for a pass of so many multiply-adds, or over so many tokens: this thread's share of the process's,
// or 1 for short passes.
int threads_for(int64_t multiply_adds);
int threads_for(const Llama& model, int64_t tokens);

// Whether threads train faster, or as fast with less memory, if all of them compute one micro-batch together: models whose operators are
// long enough. Then activations and gradients are there once, and no number depends on how many threads there are.
bool threads_share(const Llama& model);
bool threads_share(const LlamaConfig& shape);  // of a model that engine_takes()

// Whether its weights are few enough to be copied into panels while it answers; more are read as they lie. And whether the copy may stay
// in memory beside it: not that of a model with adapters, whose base may serve several models at once.
bool can_be_packed(const Llama& model);
bool can_stay_packed(const Llama& model);

// The model with a head of [outputs, D]: model.head, or a reward model's. Copied by the team. Model and head must outlive the result.
engine::Model packed_model(const Llama& model, const at::Tensor& head, engine::Layout layout, engine::Team& team);

}  // namespace keel::policy
