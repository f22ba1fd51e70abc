// Independent pieces of one computation on several threads. With models of less than a few million parameters, threads inside an operator
// gain nothing (handing the work over costs more than the work). Threads that each compute another piece of the batch give nearly the full
// speed-up. For larger ones OneWorker leaves all threads to each piece.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>

#include <cstdint>
#include <functional>
#include <thread>
#include <vector>

#include "runtime/dist/ranks.h"
#include "runtime/parameters.h"

namespace keel::runtime {

// Number of threads for `pieces`: at most the process's threads (runtime/device.h) and at most one a piece.
int worker_count(int64_t pieces);

// Calls work(i) for i in 0..pieces-1: worker w of W takes w, w + W, w + 2 W, ... in that order, with its share of the process's threads.
// Thread-local state (grad mode) is the caller's. A piece depends neither on its worker nor on its neighbours, so that equal thread counts
// give equal bits. When a piece throws, its worker stops, the others finish, and the exception of the lowest such piece is thrown again.
// Nested calls run on the thread of their piece. If a thread cannot be started, the caller computes the missing worker's pieces after its
// own, with the same bits.
void for_each_piece(int64_t pieces, const std::function<void(int64_t piece)>& work);

// The same with helper threads from `start`, for tests.
using StartThread = std::function<std::thread(std::function<void()> body)>;
void for_each_piece(int64_t pieces, const std::function<void(int64_t piece)>& work, const StartThread& start);

// While it lives, and where it is needed, this thread computes pieces one after the other, each with all the process's threads.
class OneWorker {
 public:
  explicit OneWorker(bool needed);
  OneWorker(const OneWorker&) = delete;
  OneWorker& operator=(const OneWorker&) = delete;
  ~OneWorker();

 private:
  bool before_;
};

// Needed on devices other than the CPU: workers would all hold activations there, and gain nothing.
class OneWorkerOn : public OneWorker {
 public:
  explicit OneWorkerOn(c10::Device device);
};

// for_each_piece() of the pieces of this rank (runtime/dist/ranks.h): all, in a process of its own.
void for_each_own_piece(int64_t pieces, const std::function<void(int64_t piece)>& work);

// Adds the gradient of sum_i loss(i) to the gradients of the parameters, on all ranks. loss(i) is the forward pass of micro-batch i and
// returns its share of the step's loss, 0-dim; the order of the sum depends on the numbers of threads and ranks alone. A parameter that no
// loss reaches gets no gradient. Memory: one set of gradients for each worker.
void accumulate_gradients(const Parameters& parameters, int64_t pieces, const std::function<at::Tensor(int64_t piece)>& loss);

// The same for a loss that also measures something, plain numbers: what it measured of each piece, on all ranks.
template <class Measures>
std::vector<Measures> accumulate_gradients(const Parameters& parameters, int64_t pieces,
                                           const std::function<at::Tensor(int64_t piece, Measures& measures)>& loss) {
  std::vector<Measures> measured(static_cast<size_t>(pieces));
  accumulate_gradients(parameters, pieces, [&](int64_t piece) { return loss(piece, measured[static_cast<size_t>(piece)]); });
  dist::share(measured);
  return measured;
}

}  // namespace keel::runtime
