#include "engine/head.h"

#include <algorithm>
#include <cmath>

namespace keel::engine {
namespace {

constexpr int64_t kChunk = 256;  // positions whose logits stand in memory at once, a column each
constexpr int64_t kRows = 256;   // of the vocabulary, whose numbers are still in the core's cache when they are read again

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
      sums_(sum_blocks(vocabulary) * kChunk),
      moments_(sum_blocks(vocabulary) * kChunk) {
  for (int member = 0; member < threads; ++member) {
    rooms_.emplace_back(kProductRoom);
    lanes_.emplace_back(kLanes * kChunk);
  }
}

int64_t Head::count_of(int64_t chunk) const {
  return std::min(kChunk, static_cast<int64_t>(targets_.size()) - chunk * kChunk);
}

float* Head::values(int64_t chunk) {
  return chunk < kept_chunks_ ? kept_[static_cast<size_t>(chunk)].data() : once_.data();
}

float* Head::largest(int64_t chunk, int member) {
  return largest_.data() + (chunk * team_.size() + member) * kChunk;
}

// The rows of the vocabulary that are a member's in the forward pass: whole blocks.
std::pair<int64_t, int64_t> Head::own_rows(int member) const {
  const auto [first, past] = share(sum_blocks(vocabulary_), member, team_.size());
  return {std::min(vocabulary_, first * kSumBlock), std::min(vocabulary_, past * kSumBlock)};
}

// values [V, kChunk] = W h of the chunks' positions, and the largest of each; members take blocks of the vocabulary.
void Head::logits(Chunks chunks, int member) {
  const auto [begin, end] = own_rows(member);
  for (int64_t chunk = chunks.begin; chunk < chunks.end; ++chunk)
    std::fill_n(largest(chunk, member), kChunk, -INFINITY);
  for (int64_t row = begin; row < end; row += kRows)
    for (int64_t chunk = chunks.begin; chunk < chunks.end; ++chunk) {
      const int64_t rows = std::min(kRows, end - row), count = count_of(chunk);
      float* const here = values(chunk) + row * kChunk;
      kernels_.multiply(weight_ + row * width_, packed_states_.panel(chunk * kChunk / kPanel), here, rows, width_, count, kChunk, 0,
                        panels_of(count), Into::replace);
      kernels_.column_largest(here, rows, kChunk, largest(chunk, member));
    }
  team_.meet();
}

// Logits become e^(scale (logit - largest)). Leaves sums and moments of the blocks, and the exponents of the targets.
void Head::exponentials(int64_t chunk, int member) {
  const int64_t first = chunk * kChunk, count = count_of(chunk);
  const auto [begin, end] = own_rows(member);
  float most[kChunk];
  std::copy_n(largest(chunk, 0), kChunk, most);
  for (int other = 1; other < team_.size(); ++other)
    for (int64_t c = 0; c < kChunk; ++c)
      most[c] = std::max(most[c], largest(chunk, other)[c]);
  for (int64_t c = 0; c < count; ++c) {
    const auto position = static_cast<size_t>(first + c);
    const int64_t target = targets_[position];
    if (target >= begin && target < end) exponents_[position] = (values(chunk)[target * kChunk + c] - most[c]) * scale_;
  }
  for (int64_t row = begin; row < end; row += kSumBlock) {
    const int64_t block = row / kSumBlock;
    kernels_.column_exponentials(values(chunk) + row * kChunk, std::min(kSumBlock, end - row), kChunk, most, scale_,
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
  largest_.grow(chunks_of(positions) * team_.size() * kChunk);
  packed_states_ = pack({{states, positions}}, width_, Layout::panels, team_);
  team_.run([&](int member) {
    logits({0, kept_chunks_}, member);
    for (int64_t chunk = 0; chunk < chunks_of(positions); ++chunk) {
      if (chunk >= kept_chunks_) logits({chunk, chunk + 1}, member);
      exponentials(chunk, member);
      const auto [begin, end] = share(count_of(chunk), member, team_.size());
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

// dL/dz = g scale ([target] - p), dL/dh = dL/dz W, dL/dW = sum over positions of dL/dz^T h, for one block of the vocabulary after the
// other. Of each block, members take rows of dL/dz and dL/dW, then positions of dL/dh, those of all chunks in one row.
void Head::gradients(Chunks chunks, const float* d_logprobs, float* d_states, GradientOf d_weight, int member) {
  float* const room = rooms_[static_cast<size_t>(member)].data();
  const int64_t start = chunks.begin * kChunk, positions = std::min(chunks.end * kChunk, std::ssize(targets_)) - start;
  const auto [before, until] = share(positions, member, team_.size());
  for (int64_t block = 0; block < vocabulary_; block += kBlock) {
    const int64_t block_rows = std::min(kBlock, vocabulary_ - block);
    const auto [from, to] = share(block_rows, member, team_.size());
    for (int64_t row = block + from; row < block + to; row += kRows)
      for (int64_t chunk = chunks.begin; chunk < chunks.end; ++chunk) {
        const int64_t first = chunk * kChunk, count = count_of(chunk), rows = std::min(kRows, block + to - row);
        float* const here = values(chunk) + row * kChunk;
        kernels_.scale_columns(here, rows, kChunk, factors_.data() + first);
        for (int64_t c = 0; c < count; ++c) {
          const int64_t target = targets_[static_cast<size_t>(first + c)] - row;
          if (target >= 0 && target < rows) here[target * kChunk + c] += d_logprobs[first + c] * scale_;
        }
        if (d_weight)
          kernels_.product({here, kChunk, 1}, {states_ + first * width_, width_, 1}, d_weight.to + row * width_, width_, rows, count,
                           width_, 0, panels_of(width_), chunk == 0 ? d_weight.into : Into::add, room);
      }
    team_.meet();
    for (int64_t chunk = chunks.begin; chunk < chunks.end && d_states != nullptr; ++chunk) {
      const int64_t first = chunk * kChunk, begin = std::max(first, start + before), end = std::min(first + kChunk, start + until);
      if (begin < end)
        kernels_.product({values(chunk) + block * kChunk + begin - first, 1, kChunk}, {weight_ + block * width_, width_, 1},
                         d_states + begin * width_, width_, end - begin, block_rows, width_, 0, panels_of(width_),
                         block == 0 ? Into::replace : Into::add, room);
    }
  }
  team_.meet();
}

void Head::backward(const float* d_logprobs, float* d_states, GradientOf d_weight) {
  const auto positions = static_cast<int64_t>(targets_.size());
  if (d_weight && d_weight.into == Into::replace && positions == 0) std::fill_n(d_weight.to, vocabulary_ * width_, 0.f);
  if (kept_chunks_ < chunks_of(positions)) once_.grow(vocabulary_ * kChunk);
  factors_.assign(totals_.size(), 0.f);
  for (int64_t i = 0; i < positions; ++i)
    factors_[static_cast<size_t>(i)] = -d_logprobs[i] * scale_ / totals_[static_cast<size_t>(i)];
  team_.run([&](int member) {
    if (kept_chunks_ > 0) gradients({0, kept_chunks_}, d_logprobs, d_states, d_weight, member);
    for (int64_t chunk = kept_chunks_; chunk < chunks_of(positions); ++chunk) {
      logits({chunk, chunk + 1}, member);
      exponentials(chunk, member);
      gradients({chunk, chunk + 1}, d_logprobs, d_states, d_weight, member);
    }
  });
  kept_.clear();  // they are gradients now; another backward pass would compute them again
  kept_chunks_ = 0;
}

}  // namespace keel::engine
