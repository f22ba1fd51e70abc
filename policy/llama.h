// Llama (Touvron et al. 2023, section 2.2): pre-norm RMSNorm, SwiGLU, rotary embeddings, grouped-query attention, no biases.
//
// Legend: B rows, T tokens, D hidden size, H query heads, G key/value heads, h head size, F feed-forward width, V vocabulary.
// Weights stand as Hugging Face stores them: [out, in] matrices, q and k in the rotate-half order.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <string>
#include <vector>

#include "engine/projections.h"
#include "policy/config.h"
#include "runtime/batch.h"
#include "runtime/parameters.h"

namespace keel::policy {

// A low-rank addition to a projection (policy/lora.h): y = W x + scale B A x.
struct LowRank {
  at::Tensor a;      // [r, in]; undefined: no addition
  at::Tensor b;      // [out, r]
  double scale = 1;  // alpha / r
};

struct LlamaLayer {
  at::Tensor input_norm;  // [D]
  at::Tensor q, k, v;     // [H h, D], [G h, D], [G h, D]; the seven matrices may be bf16 where they are frozen
  at::Tensor o;           // [D, H h]
  at::Tensor post_norm;   // [D]
  at::Tensor gate, up;    // [F, D]
  at::Tensor down;        // [D, F]
  engine::Projections<LowRank> adapters = {};
};

struct Llama {
  LlamaConfig config;
  at::Tensor embedding;  // [V, D]
  std::vector<LlamaLayer> layers;
  at::Tensor norm;  // [D]
  at::Tensor head;  // [V, D]; the embedding itself when tied; undefined in a backbone without a language-model head
  bool gradient_checkpointing = false;
};

// Keeps of each transformer block its input alone and computes the rest once more in the backward pass (Chen et al. 2016, "Training deep
// nets with sublinear memory cost"); the same gradients.
Llama with_gradient_checkpointing(Llama model, bool on);

inline void gradient_checkpointing_field(bool& on, core::Fields& fields) {
  fields("gradient_checkpointing", on,
         "keep each block's input alone and compute the rest again backwards; memory against speed, same result");
}

// Fresh weights, fp32: matrices N(0, 0.02), those that write into the residual stream (o, down) scaled by 1/sqrt(2 layers), norms 1.
// Each tensor has a random stream of its own, keyed by (seed, its name).
Llama make_llama(const LlamaConfig& config, uint64_t seed);

// Uninitialised weights of the right shapes; on the meta device shapes alone.
Llama empty_llama(const LlamaConfig& config, c10::Device device = c10::kCPU);

// Calls `visit` with the name and the handle of every weight once, in file order; `visit` may replace the tensor. A tied head follows the
// embedding.
void visit_weights(Llama& model, const std::function<void(const std::string& name, at::Tensor& tensor)>& visit);

// The same for existing adapters, under the names of the projections: "model.layers.0.self_attn.q_proj".
void visit_adapters(Llama& model, const std::function<void(const std::string& name, LowRank& adapter)>& visit);

// Whether a weight of this name may be kept in bf16 while it is frozen: a matrix of a layer. All others are fp32.
bool may_be_bf16(const std::string& name);

// A copy in fp32, adapters included, that shares no storage and needs no gradients.
Llama frozen_copy(const Llama& model);

// The same weights without the language-model head: the base of a reward model or a critic. Shares storage.
Llama backbone_of(const Llama& model);

// Every weight once, under its Hugging Face name, in file order. A tied head is not listed, nor are adapters (policy/lora.h).
runtime::Parameters parameters(const Llama& model);

// The model on `device`, adapters included: shares storage where it is there already.
Llama moved(const Llama& model, c10::Device device);

// Final hidden states, after the last norm, where the weights lie: [B, T, D]. The batch may lie on the host.
at::Tensor hidden_states(const Llama& model, const runtime::TokenBatch& batch);

// Logits of hidden states [..., D]: [..., V] fp32.
at::Tensor logits_of(const Llama& model, const at::Tensor& hidden);

// log p(target) in nats, of softmax(logits / temperature).
//   logits   [N, V] float
//   targets  [N] int64
// Returns [N] fp32.
at::Tensor target_logprobs(const at::Tensor& logits, const at::Tensor& targets, double temperature = 1.0);

}  // namespace keel::policy
