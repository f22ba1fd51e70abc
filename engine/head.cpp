#include "engine/head.h"

#include <algorithm>
#include <cmath>

namespace keel::engine {
namespace {

constexpr int64_t kChunk = 256;  // positions whose logits stand in memory at once, a column each

int64_t chunks_of(int64_t positions) {
  return (positions + kChunk - 1) / kChunk;
}

}  // namespace

Head::Head(const float* weight, int64_t vocabulary, int64_t width, int threads)
    : weight_(weight),
      vocabulary_(vocabulary),
      width_(width),
      team_(threads),
      kernels_(kernels()),
      largest_(threads * kChunk),
      sums_(sum_blocks(vocabulary) * kChunk),
      moments_(sum_blocks(vocabulary) * kChunk) {
  for (int member = 0; member < threads; ++member) {
    panels_.emplace_back(kBlock * kPanel);
    lanes_.emplace_back(kLanes * kChunk);
  }
}

// values [V, kChunk] = e^(scale (W h - largest)) of the chunk's positions; members take blocks of the vocabulary. Leaves sums and moments
// of the blocks, and the exponents of the targets.
void Head::exponentials(int64_t chunk, float* values, int member) {
  const auto positions = static_cast<int64_t>(targets_.size());
  const int64_t first = chunk * kChunk, count = std::min(kChunk, positions - first), padded = round_up(count, kPanel);
  const auto [first_block, past_block] = share(sum_blocks(vocabulary_), member, team_.size());
  const int64_t begin = std::min(vocabulary_, first_block * kSumBlock), end = std::min(vocabulary_, past_block * kSumBlock);
  float* const largest = largest_.data() + member * kChunk;
  std::fill_n(largest, kChunk, -INFINITY);
  for (int64_t row = begin; row < end; row += kSumBlock) {
    const int64_t rows = std::min(kSumBlock, end - row);
    kernels_.product({weight_ + row * width_, width_, 1}, {states_ + first * width_, 1, width_}, values + row * kChunk, kChunk, rows,
                     width_, count, 0, padded / kPanel, Into::replace, panels_[static_cast<size_t>(member)].data());
    kernels_.column_largest(values + row * kChunk, rows, kChunk, largest);
  }
  team_.meet();
  float most[kChunk];
  std::copy_n(largest_.data(), kChunk, most);
  for (int other = 1; other < team_.size(); ++other)
    for (int64_t c = 0; c < kChunk; ++c)
      most[c] = std::max(most[c], largest_.data()[other * kChunk + c]);
  for (int64_t c = 0; c < count; ++c) {
    const auto position = static_cast<size_t>(first + c);
    const int64_t target = targets_[position];
    if (target >= begin && target < end) exponents_[position] = (values[target * kChunk + c] - most[c]) * scale_;
  }
  for (int64_t block = first_block; block < past_block; ++block) {
    const int64_t row = block * kSumBlock;
    kernels_.column_exponentials(values + row * kChunk, std::min(kSumBlock, vocabulary_ - row), kChunk, most, scale_,
                                 lanes_[static_cast<size_t>(member)].data(), sums_.data() + block * kChunk,
                                 moments_.data() + block * kChunk);
  }
  team_.meet();
}

void Head::forward(const float* states, std::span<const int64_t> targets, float scale, float* logprobs, float* entropies,
                   int64_t most_kept) {
  states_ = states;
  targets_.assign(targets.begin(), targets.end());
  scale_ = scale;
  const auto positions = static_cast<int64_t>(targets.size());
  const int64_t chunk_bytes = vocabulary_ * kChunk * static_cast<int64_t>(sizeof(float));
  kept_chunks_ = std::min(chunks_of(positions), most_kept / chunk_bytes);
  kept_.clear();
  for (int64_t chunk = 0; chunk < kept_chunks_; ++chunk)
    kept_.emplace_back(vocabulary_ * kChunk);
  if (kept_chunks_ < chunks_of(positions)) once_.grow(vocabulary_ * kChunk);
  totals_.assign(static_cast<size_t>(chunks_of(positions) * kChunk), 1.f);
  exponents_.assign(targets.size(), 0.f);
  team_.run([&](int member) {
    for (int64_t chunk = 0; chunk < chunks_of(positions); ++chunk) {
      exponentials(chunk, chunk < kept_chunks_ ? kept_[static_cast<size_t>(chunk)].data() : once_.data(), member);
      const auto [begin, end] = share(std::min(kChunk, positions - chunk * kChunk), member, team_.size());
      for (int64_t c = begin; c < end; ++c) {
        double total = 0, moment = 0;
        for (int64_t block = 0; block < sum_blocks(vocabulary_); ++block) {
          total += sums_.data()[block * kChunk + c];
          moment += moments_.data()[block * kChunk + c];
        }
        const int64_t position = chunk * kChunk + c;
        totals_[static_cast<size_t>(position)] = static_cast<float>(total);
        logprobs[position] = exponents_[static_cast<size_t>(position)] - static_cast<float>(std::log(total));
        if (entropies != nullptr) entropies[position] = static_cast<float>(std::log(total) - moment / total);
      }
      team_.meet();
    }
  });
}

// dL/dz = g scale ([target] - p), dL/dh = dL/dz W, dL/dW = sum over positions of dL/dz^T h.
void Head::backward(const float* d_logprobs, float* d_states, float* d_weight) {
  const auto positions = static_cast<int64_t>(targets_.size());
  if (d_weight != nullptr && positions == 0) std::fill_n(d_weight, vocabulary_ * width_, 0.f);
  once_.grow(vocabulary_ * kChunk);
  team_.run([&](int member) {
    const auto [begin, end] = share(vocabulary_, member, team_.size());
    float* const panel = panels_[static_cast<size_t>(member)].data();
    for (int64_t chunk = 0; chunk < chunks_of(positions); ++chunk) {
      const int64_t first = chunk * kChunk, count = std::min(kChunk, positions - first);
      float* const values = chunk < kept_chunks_ ? kept_[static_cast<size_t>(chunk)].data() : once_.data();
      if (chunk >= kept_chunks_) exponentials(chunk, values, member);
      float factors[kChunk] = {};
      for (int64_t c = 0; c < count; ++c)
        factors[c] = -d_logprobs[first + c] * scale_ / totals_[static_cast<size_t>(first + c)];
      kernels_.scale_columns(values + begin * kChunk, end - begin, kChunk, factors);
      for (int64_t c = 0; c < count; ++c) {
        const int64_t target = targets_[static_cast<size_t>(first + c)];
        if (target >= begin && target < end) values[target * kChunk + c] += d_logprobs[first + c] * scale_;
      }
      const Matrix states{states_ + first * width_, width_, 1};
      for (int64_t row = begin; row < end && d_weight != nullptr; row += kSumBlock)
        kernels_.product({values + row * kChunk, kChunk, 1}, states, d_weight + row * width_, width_, std::min(kSumBlock, end - row), count,
                         width_, 0, round_up(width_, kPanel) / kPanel, chunk == 0 ? Into::replace : Into::add, panel);
      team_.meet();
      if (d_states != nullptr) {
        const auto [first_panel, past_panel] = share(round_up(width_, kPanel) / kPanel, member, team_.size());
        kernels_.product({values, 1, kChunk}, {weight_, width_, 1}, d_states + first * width_, width_, count, vocabulary_, width_,
                         first_panel, past_panel, Into::replace, panel);
      }
      team_.meet();
    }
  });
  kept_.clear();  // they are gradients now; another backward pass would compute them again
  kept_chunks_ = 0;
}

}  // namespace keel::engine
