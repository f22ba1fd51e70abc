#include "policy/layers.h"

#include <cmath>

#include "support/test.h"

using keel::policy::attention;
using keel::test::bools;
using keel::test::tensor;

namespace {

at::Tensor waves(at::IntArrayRef shape, double phase) {
  return (at::arange(c10::multiply_integers(shape), at::kDouble) * 1.7 + phase).sin().to(at::kFloat).view(shape);
}

// softmax(q k^T / sqrt(h)) v by loops over rows and heads, from the definition.
at::Tensor plain_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const at::Tensor& keep) {
  at::Tensor mixed = at::zeros_like(q);
  const int64_t group = q.size(1) / k.size(1);
  for (int64_t b = 0; b < q.size(0); ++b) {
    for (int64_t h = 0; h < q.size(1); ++h) {
      const at::Tensor scores = q[b][h].mm(k[b][h / group].t()) / std::sqrt(static_cast<double>(q.size(3)));
      mixed[b][h] = scores.masked_fill(keep[keep.size(0) == 1 ? 0 : b][0].logical_not(), -INFINITY).softmax(-1).mm(v[b][h / group]);
    }
  }
  return mixed;
}

}  // namespace

TEST_CASE("layers: RMSNorm divides by the root of the mean square plus epsilon", "[policy]") {
  const at::Tensor x = tensor({{3, 4}, {0, 0}});  // mean square 12.5
  CHECK_CLOSE(keel::policy::rms_norm(x, tensor({1, 2}), 0.25), tensor({{3 / std::sqrt(12.75), 8 / std::sqrt(12.75)}, {0, 0}}), 1e-6);
}

TEST_CASE("layers: the rotary embedding turns pair i by position / theta^(2i/h)", "[policy]") {
  const keel::policy::LlamaConfig config{.hidden_size = 4, .num_attention_heads = 1, .rope_theta = 100};
  const auto turns = keel::policy::rotary(config, at::tensor(std::vector<int64_t>{0, 3}).unsqueeze(0));  // angles 3 and 3 / 10
  CHECK(turns.cos.sizes() == at::IntArrayRef({1, 1, 2, 4}));
  const at::Tensor x = tensor({{1, 2, 3, 4}, {1, 2, 3, 4}}).view({1, 1, 2, 4});
  const double c = std::cos(3.), s = std::sin(3.), c2 = std::cos(.3), s2 = std::sin(.3);
  CHECK_CLOSE(keel::policy::rotate(x, turns)[0][0], tensor({{1, 2, 3, 4}, {c - 3 * s, 2 * c2 - 4 * s2, 3 * c + s, 4 * c2 + 2 * s2}}), 1e-6);
}

TEST_CASE("layers: a segment mask keeps the past of the own segment", "[policy]") {
  const at::Tensor keep = keel::policy::segment_mask(at::tensor(std::vector<int64_t>{-1, 0, 0, 1}).unsqueeze(0));
  CHECK(keep[0][0].equal(bools({{1, 0, 0, 0}, {0, 1, 0, 0}, {0, 1, 1, 0}, {0, 0, 0, 1}})));
}

TEST_CASE("layers: attention equals its definition with shared key heads, causal and masked", "[policy]") {
  const int64_t heads = GENERATE(1, 2, 4);
  const at::Tensor q = waves({2, 4, 5, 6}, 0), k = waves({2, heads, 5, 6}, 1), v = waves({2, heads, 5, 6}, 2);
  const at::Tensor causal = at::ones({1, 1, 5, 5}, at::kBool).tril();
  CHECK_CLOSE(attention(q, k, v, {}), plain_attention(q, k, v, causal), 1e-6);
  const at::Tensor segments = at::tensor(std::vector<int64_t>{0, 0, 1, 1, 1, 0, 1, 1, 2, -1}).view({2, 5});
  const at::Tensor keep = keel::policy::segment_mask(segments);
  CHECK_CLOSE(attention(q, k, v, keep), plain_attention(q, k, v, keep), 1e-6);
  const at::Tensor last = q.narrow(2, 4, 1), some = bools({{1, 1, 0, 1, 0}, {1, 0, 0, 0, 0}}).view({2, 1, 1, 5});
  CHECK_CLOSE(attention(last, k, v, some), plain_attention(last, k, v, some), 1e-6);  // the decoder's one query token
}

TEST_CASE("layers: SwiGLU is silu(gate) * up", "[policy]") {
  const at::Tensor made = keel::policy::swiglu(tensor({{1, -2}}), tensor({{6, 3}}));
  CHECK_CLOSE(made, tensor({{6 / (1 + std::exp(-1.)), -6 / (1 + std::exp(2.))}}), 1e-6);
}
