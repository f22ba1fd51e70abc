#include "runtime/parallel.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ThreadLocalState.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <atomic>
#include <exception>
#include <thread>
#include <utility>
#include <vector>

#include "core/log.h"

namespace keel::runtime {
namespace {

thread_local bool inside_piece = false;

// The piece of a worker that threw, and the exception.
struct Failure {
  int64_t piece = 0;
  std::exception_ptr error;
};

void run_worker(int worker, int workers, int64_t pieces, const std::function<void(int64_t)>& work, Failure& failure) {
  inside_piece = true;
  for (int64_t piece = worker; piece < pieces && !failure.error; piece += workers) {
    try {
      work(piece);
    } catch (...) {
      failure = {piece, std::current_exception()};
    }
  }
  inside_piece = false;
}

}  // namespace

int worker_count(int64_t pieces) {
  return inside_piece ? 1 : static_cast<int>(std::clamp<int64_t>(pieces, 1, at::get_num_threads()));
}

void for_each_piece(int64_t pieces, const std::function<void(int64_t piece)>& work) {
  for_each_piece(pieces, work, [](std::function<void()> body) { return std::thread(std::move(body)); });
}

void for_each_piece(int64_t pieces, const std::function<void(int64_t piece)>& work, const StartThread& start) {
  const int workers = worker_count(pieces);
  if (workers == 1) {
    for (int64_t piece = 0; piece < pieces; ++piece)
      work(piece);
    return;
  }
  const int threads = at::get_num_threads();
  const at::ThreadLocalState caller;
  std::vector<Failure> failures(static_cast<size_t>(workers));
  std::vector<std::thread> helpers;
  helpers.reserve(static_cast<size_t>(workers));  // push_back after a thread's start must not throw
  at::set_num_threads(threads / workers);
  int started = 1;
  try {
    for (; started < workers; ++started)
      helpers.push_back(start([&, worker = started] {
        const at::ThreadLocalStateGuard state(caller);
        at::set_num_threads(threads / workers);
        run_worker(worker, workers, pieces, work, failures[static_cast<size_t>(worker)]);
      }));
  } catch (const std::exception& error) {   // std::system_error at a limit of threads, std::bad_alloc
    static std::atomic<bool> told = false;  // warn once, not at every step
    if (!told.exchange(true))
      core::log_warn(fmt::format("{} of {} threads could be started ({}): they do the work of all", started, workers, error.what()));
  }
  run_worker(0, workers, pieces, work, failures[0]);
  for (int worker = started; worker < workers; ++worker)
    run_worker(worker, workers, pieces, work, failures[static_cast<size_t>(worker)]);
  for (auto& helper : helpers)
    helper.join();
  at::set_num_threads(threads);
  const auto first = std::min_element(failures.begin(), failures.end(), [](const Failure& a, const Failure& b) {
    return std::pair(a.error == nullptr, a.piece) < std::pair(b.error == nullptr, b.piece);
  });
  if (first->error) std::rethrow_exception(first->error);
}

void accumulate_gradients(const Parameters& parameters, int64_t pieces, const std::function<at::Tensor(int64_t piece)>& loss) {
  const std::vector<at::Tensor> weights = tensors_of(parameters);
  const auto workers = static_cast<size_t>(worker_count(pieces));
  std::vector<std::vector<at::Tensor>> sums(workers, std::vector<at::Tensor>(weights.size()));
  for_each_piece(pieces, [&](int64_t piece) {
    const auto gradients = torch::autograd::grad({loss(piece)}, weights, {}, {}, /*create_graph=*/false, /*allow_unused=*/true);
    const at::NoGradGuard no_grad;
    auto& sum = sums[static_cast<size_t>(piece) % workers];
    for (size_t i = 0; i < weights.size(); ++i) {
      if (gradients[i].defined()) sum[i] = sum[i].defined() ? sum[i] + gradients[i] : gradients[i];  // two gradients may share storage
    }
  });
  const at::NoGradGuard no_grad;
  for (size_t i = 0; i < weights.size(); ++i) {
    at::Tensor& total = weights[i].mutable_grad();
    for (auto& sum : sums) {
      if (sum[i].defined()) total = total.defined() ? total + sum[i] : sum[i];
      sum[i].reset();  // frees memory, so that the total and all workers' sets are never held together
    }
  }
}

}  // namespace keel::runtime
