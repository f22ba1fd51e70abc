// Independent pieces of one computation on several threads. Models of a few million parameters gain nothing from threads inside an operator
// (handing the work over costs more than the work), but nearly all from threads that each compute another piece of the batch.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <thread>

#include "runtime/parameters.h"

namespace keel::runtime {

// How many threads share `pieces`: never more than the process has (runtime/device.h), nor than there are pieces.
int worker_count(int64_t pieces);

// Calls work(i) for i in 0..pieces-1: worker w of W takes w, w + W, w + 2 W, ... in that order, with its share of the process's threads.
// Thread-local state (grad mode) is the caller's. A piece depends neither on its worker nor on its neighbours, so that equal thread counts
// give equal bits. When a piece throws, its worker stops, the others finish, and the exception of the lowest such piece is thrown again.
// Inside a piece further calls run on its own thread. Where the machine gives no more threads, the caller does the work of the missing
// workers after its own, with the same bits.
void for_each_piece(int64_t pieces, const std::function<void(int64_t piece)>& work);

// The same with helper threads from `start`, for tests.
using StartThread = std::function<std::thread(std::function<void()> body)>;
void for_each_piece(int64_t pieces, const std::function<void(int64_t piece)>& work, const StartThread& start);

// Adds the gradient of sum_i loss(i) in the parameters to what is there. loss(i) is the forward pass of micro-batch i and returns its
// share of the step's loss, 0-dim; the sum runs in an order that depends on the thread count alone. A parameter that no loss reaches gets
// no gradient. Memory: a set of gradients for each worker, until they are added.
void accumulate_gradients(const Parameters& parameters, int64_t pieces, const std::function<at::Tensor(int64_t piece)>& loss);

}  // namespace keel::runtime
