// The engine's products and its head as a share of what one core can do with its registers, at the shapes of a 15 M model (bench/shape.h)
// and of the sandbox's, on one thread. Each iteration times both in turn, so that a busy machine slows down both.
#include <benchmark/benchmark.h>

#include <chrono>
#include <string_view>
#include <vector>

#include "engine/buffer.h"
#include "engine/head.h"
#include "engine/kernels.h"
#include "engine/model.h"

namespace keel::bench {
namespace {

using engine::Buffer;
using engine::Into;
using engine::kernels;
using engine::Matrix;

// `turns` x 10 fused multiplications and additions of whole registers, each sum apart from the others, so that none waits.
template <class Vector>
[[gnu::always_inline]] inline float burn(int64_t turns) {
  float factor = 0.999f, summand = 1e-3f;
  benchmark::DoNotOptimize(factor);  // a compiler that knows them leaves out a sum that they do not change
  benchmark::DoNotOptimize(summand);
  Vector sums[10];
  for (int64_t i = 0; i < 10; ++i)
    sums[i] = Vector{} + static_cast<float>(i);
  const Vector by = Vector{} + factor, plus = Vector{} + summand;
  for (int64_t turn = 0; turn < turns; ++turn)
#pragma GCC unroll 10
    for (auto& sum : sums)
      sum = sum * by + plus;
  Vector total = {};
  for (const auto& sum : sums)
    total += sum;
  return total[0];
}

using Wide = float __attribute__((vector_size(64)));
using Half = float __attribute__((vector_size(32)));
using Quarter = float __attribute__((vector_size(16)));

#ifdef __x86_64__
[[gnu::target("avx512f,prefer-vector-width=512")]] float burn_wide(int64_t turns) {
  return burn<Wide>(turns);
}
[[gnu::target("avx2,fma")]] float burn_half(int64_t turns) {
  return burn<Half>(turns);
}
#endif

float burn_with(std::string_view kernel, int64_t turns) {
#ifdef __x86_64__
  if (kernel.starts_with("avx512")) return burn_wide(turns);
  if (kernel == "avx2") return burn_half(turns);
#endif
  return burn<Quarter>(turns);
}

double floats_of(std::string_view kernel) {
  return kernel.starts_with("avx512") ? 16 : kernel == "avx2" ? 8 : 4;
}

double seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Times `work` of `operations` in turn with registers alone; `again`, after each, is not timed.
template <class Work, class Again = void (*)()>
void share_of_peak(
    benchmark::State& state, double operations, Work&& work, Again&& again = [] {}) {
  const std::string_view kernel = kernels().name;
  constexpr int64_t kTurns = 200'000;
  double burning = 0, working = 0;
  for (auto _ : state) {
    const double start = seconds();
    benchmark::DoNotOptimize(burn_with(kernel, kTurns));
    const double middle = seconds();
    work();
    const double end = seconds();
    burning += middle - start;
    working += end - middle;
    state.SetIterationTime(end - middle);
    again();
  }
  const auto rounds = static_cast<double>(state.iterations());
  const double peak = rounds * kTurns * 10 * 2 * floats_of(kernel) / burning, got = rounds * operations / working;
  state.counters["GFLOP/s"] = got / 1e9;
  state.counters["of peak"] = got / peak;
  state.SetLabel(kernel.data());
}

// A product of the pass over `tokens` tokens through a matrix [out, in]: y = x W^T (0), dx = dy W (1), dW = dy^T x (2).
void product(benchmark::State& state) {
  const int64_t tokens = state.range(0), in = state.range(1), out = state.range(2), which = state.range(3);
  Buffer x = Buffer::zeros(tokens * in), y = Buffer::zeros(tokens * out), weight = Buffer::zeros(out * in), room(engine::kProductRoom);
  const Matrix of_x{x.data(), in, 1}, of_y{y.data(), out, 1}, of_weight{weight.data(), in, 1};
  const auto turned = [](const Matrix& matrix) { return Matrix{matrix.data, matrix.column, matrix.row}; };
  const auto run = [&](const Matrix& a, const Matrix& b, Buffer& c, int64_t rows, int64_t terms, int64_t columns) {
    kernels().product(a, b, c.data(), columns, rows, terms, columns, 0, engine::panels_of(columns), Into::replace, room.data());
  };
  share_of_peak(state, 2.0 * static_cast<double>(tokens * in * out), [&] {
    if (which == 0) run(of_x, turned(of_weight), y, tokens, in, out);
    if (which == 1) run(of_y, of_weight, x, tokens, out, in);
    if (which == 2) run(turned(of_y), of_x, weight, out, tokens, in);
  });
}
BENCHMARK(product)
    ->ArgNames({"tokens", "in", "out", "which"})
    ->ArgsProduct({{1024}, {288}, {288, 768}, {0, 1, 2}})
    ->ArgsProduct({{1024}, {768}, {288}, {0, 1, 2}})
    ->ArgsProduct({{512}, {128}, {352}, {0, 1, 2}})
    ->ArgsProduct({{512}, {352}, {128}, {0, 1, 2}})
    ->ArgsProduct({{128}, {288}, {32000}, {0, 1, 2}})
    ->UseManualTime()
    ->Unit(benchmark::kMicrosecond);

// A product of generation: `rows` rows by a matrix [out, in] that was laid out before.
void packed(benchmark::State& state) {
  const int64_t rows = state.range(0), in = state.range(1), out = state.range(2);
  Buffer x = Buffer::zeros(rows * in), y(rows * out), weight = Buffer::zeros(out * in);
  engine::Team team(1);
  const engine::Packed panels = engine::pack({{weight.data(), out}}, in, engine::Layout::panels, team);
  share_of_peak(state, 2.0 * static_cast<double>(rows * in * out), [&] {
    kernels().multiply(x.data(), panels.panel(0), y.data(), rows, in, out, out, 0, engine::panels_of(out), Into::replace);
  });
}
BENCHMARK(packed)
    ->ArgNames({"rows", "in", "out"})
    ->ArgsProduct({{8, 64, 256}, {288}, {864, 1536, 32000}})
    ->ArgsProduct({{8, 64, 256}, {768}, {288}})
    ->UseManualTime()
    ->Unit(benchmark::kMicrosecond);

// The head over `positions` targets: forward (0), backward (1).
void head(benchmark::State& state) {
  const int64_t positions = state.range(0), width = state.range(1), vocabulary = state.range(2);
  Buffer states = Buffer::zeros(positions * width), weight = Buffer::zeros(vocabulary * width), d_states(positions * width),
         d_weight(vocabulary * width);
  std::vector<float> logprobs(static_cast<size_t>(positions)), gradients(static_cast<size_t>(positions), 1.f);
  engine::Head engine(weight.data(), vocabulary, width, 1);
  const auto forward = [&] {
    engine.forward(states.data(), std::vector<int64_t>(static_cast<size_t>(positions)), 1.f, logprobs.data(), nullptr, int64_t{256} << 20);
  };
  const double operations = 2.0 * static_cast<double>(positions * width * vocabulary);
  if (state.range(3) == 0) return share_of_peak(state, operations, forward);
  forward();
  share_of_peak(
      state, 2 * operations, [&] { engine.backward(gradients.data(), d_states.data(), {.to = d_weight.data()}); }, forward);
}
BENCHMARK(head)
    ->ArgNames({"positions", "width", "vocabulary", "backward"})
    ->ArgsProduct({{1024}, {288}, {32000}, {0, 1}})
    ->ArgsProduct({{512}, {128}, {1024}, {0, 1}})
    ->UseManualTime()
    ->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace keel::bench
