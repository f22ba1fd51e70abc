#include "runtime/parallel.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ThreadLocalState.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <fmt/format.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <atomic>
#include <exception>
#include <thread>
#include <utility>
#include <vector>

#include "core/log.h"
#include "runtime/gradient_sums.h"

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

int64_t own_count(int64_t pieces) {
  return (pieces - dist::rank() + dist::size() - 1) / dist::size();
}

// The sum of the gradients of all ranks; a gradient that no rank has stays undefined.
void add_up_ranks(const std::vector<at::Tensor>& weights, std::vector<at::Tensor>& gradients) {
  at::Tensor owners = at::zeros({std::ssize(weights)}, at::kLong);
  for (size_t i = 0; i < weights.size(); ++i)
    owners[static_cast<int64_t>(i)] = gradients[i].defined() ? 1 : 0;
  dist::sum({owners});
  std::vector<at::Tensor> reached;
  for (size_t i = 0; i < weights.size(); ++i) {
    if (owners.const_data_ptr<int64_t>()[i] == 0) continue;
    gradients[i] = gradients[i].defined() ? gradients[i].clone() : at::zeros_like(weights[i]);  // autograd's may share memory
    reached.push_back(gradients[i]);
  }
  dist::sum(reached);
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

OneWorker::OneWorker(bool needed) : before_(inside_piece) {
  inside_piece = inside_piece || needed;
}

OneWorkerOn::OneWorkerOn(c10::Device device) : OneWorker(!device.is_cpu()) {}

OneWorker::~OneWorker() {
  inside_piece = before_;
}

void for_each_own_piece(int64_t pieces, const std::function<void(int64_t piece)>& work) {
  for_each_piece(own_count(pieces), [&](int64_t own) { work(dist::rank() + own * dist::size()); });
}

void accumulate_gradients(const Parameters& parameters, int64_t pieces, const std::function<at::Tensor(int64_t piece)>& loss) {
  const std::vector<at::Tensor> weights = tensors_of(parameters);
  const OneWorkerOn one(weights.empty() ? at::kCPU : weights.front().device());
  const auto workers = static_cast<size_t>(worker_count(own_count(pieces)));
  std::vector<GradientSums> sums(workers, GradientSums(weights));
  for_each_own_piece(pieces, [&](int64_t piece) {
    GradientSums& sum = sums[static_cast<size_t>(piece / dist::size()) % workers];
    const GradientSums::Open open(sum);
    const auto gradients = torch::autograd::grad({loss(piece)}, weights, {}, {}, /*create_graph=*/false, /*allow_unused=*/true);
    const at::NoGradGuard no_grad;
    sum.add(gradients);
  });
  const at::NoGradGuard no_grad;
  const bool alone = dist::size() == 1;
  std::vector<at::Tensor> totals(weights.size());  // with several ranks those of this call, which are added up before they join others
  for (size_t i = 0; i < weights.size(); ++i) {
    if (alone) totals[i] = weights[i].grad();
    for (auto& sum : sums) {  // one after the other, so that the total and all workers' sets are never held together
      const at::Tensor more = sum.take(i);
      if (more.defined()) totals[i] = totals[i].defined() ? totals[i] + more : more;
    }
    if (alone) weights[i].mutable_grad() = std::move(totals[i]);
  }
  if (alone) return;
  add_up_ranks(weights, totals);
  for (size_t i = 0; i < weights.size(); ++i) {
    at::Tensor& gradient = weights[i].mutable_grad();
    if (totals[i].defined()) gradient = gradient.defined() ? gradient + totals[i] : totals[i];
  }
}

}  // namespace keel::runtime
