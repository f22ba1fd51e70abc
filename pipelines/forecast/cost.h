// What a Llama costs by the counts of its products: FLOP (a multiplication and an addition are two) and bytes.
#pragma once

#include <cstdint>

#include "policy/config.h"
#include "policy/lora.h"

namespace keel::pipelines::forecast {

// D hidden size, F feed-forward width, L layers, V vocabulary, H h width of the heads, G h width of keys.
struct Cost {
  double trunk = 0;      // parameters of the layers' products: L (2 D H h + 2 D G h + 3 D F)
  double head = 0;       // V D
  double weights = 0;    // all parameters, the embedding included
  double attention = 0;  // FLOP of a token a position that it sees: 4 L H h
  double keys = 0;       // numbers that a token keeps for later ones: 2 L G h
  double width = 0;      // D
  double kept = 0;       // numbers a token and layer that the backward pass reads: 4 D + 2 G h + 2 F
  double layers = 0, vocabulary = 0;
};

Cost cost_of(const policy::LlamaConfig& shape);

// Parameters of adapters, those of the matrices that have one, and what they add to Cost::kept.
struct AdapterCost {
  double weights = 0, adapted = 0, kept = 0;
};
AdapterCost adapter_cost(const policy::LlamaConfig& shape, const policy::LoraConfig& lora);

// FLOP of a forward pass over `tokens` in rows of `length`, the head computed at `scored` of them.
double read_flop(const Cost& cost, double tokens, double length, double scored = 0);

// What a training trains.
struct Trained {
  double share = 1;       // of the layers, where the lower ones are frozen: the backward pass runs through these
  bool adapters = false;  // which save the gradients of the frozen weights
  bool again = false;     // gradient checkpointing: the trunk's forward pass once more (a little less: not the last product of a block)
};

// FLOP of a forward and backward pass, the head at `targets` of the tokens.
double trained_flop(const Cost& cost, double tokens, double length, double targets, const Trained& what = {});

// FLOP of writing `tokens` one after another, each of which sees `context` positions.
double written_flop(const Cost& cost, double tokens, double context);

}  // namespace keel::pipelines::forecast
