#include "evaluation/statistics/agreement.h"

#include <fmt/format.h>

#include <Eigen/Core>
#include <algorithm>
#include <boost/math/distributions/students_t.hpp>
#include <cmath>
#include <limits>

#include "core/error.h"

namespace keel::evaluation::statistics {
namespace {

using Eigen::ArrayXd;
using Eigen::Index;
using Eigen::MatrixXd;

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

double disagreement(AgreementWeights weights, double distance) {
  switch (weights) {
    case AgreementWeights::identity:
      return distance > 0 ? 1 : 0;
    case AgreementWeights::linear:
      return distance;
    case AgreementWeights::quadratic:
      return distance * distance;
    case AgreementWeights::ordinal:
      return distance * (distance + 1) / 2;
  }
  return kNone;
}

// w[k, l], [q, q]
MatrixXd weight_matrix(AgreementWeights weights, int categories) {
  return MatrixXd::NullaryExpr(categories, categories, [&](Index k, Index l) {
    return 1 - disagreement(weights, std::abs(static_cast<double>(k - l))) / disagreement(weights, categories - 1);
  });
}

// r[i, k], [n, q]: how many put item i into category k; items with a rating alone.
MatrixXd rating_counts(const std::vector<std::vector<int>>& ratings, int categories) {
  MatrixXd counts = MatrixXd::Zero(std::ssize(ratings), categories);
  Index items = 0;
  for (const auto& item : ratings) {
    for (const int category : item) {
      if (category < 0 || category >= categories)
        throw core::Error(core::Exit::internal,
                          fmt::format("[evaluation.statistics] a category must be 0..{}, got {}", categories - 1, category));
      counts(items, category) += 1;
    }
    items += item.empty() ? 0 : 1;
  }
  return counts.topRows(items);
}

}  // namespace

// The names are Gwet's: r, pi, T_w, p_a, p_e, gamma (the coefficient), and starred values of the linearised estimator.
Agreement gwet_agreement(const std::vector<std::vector<int>>& ratings, int categories, AgreementWeights weights) {
  if (categories < 2)
    throw core::Error(core::Exit::internal,
                      fmt::format("[evaluation.statistics] agreement needs a scale of two or more categories, got {}", categories));
  const MatrixXd r_ik = rating_counts(ratings, categories);
  const MatrixXd w = weight_matrix(weights, categories);
  const ArrayXd r_i = r_ik.rowwise().sum();
  const auto shared = (r_i >= 2).eval();
  const auto n = static_cast<double>(r_ik.rows()), n_shared = static_cast<double>(shared.count());
  Agreement result{.coefficient = {kNone, kNone, kNone},
                   .standard_error = kNone,
                   .observed = kNone,
                   .chance = kNone,
                   .items = r_ik.rows(),
                   .shared_items = shared.count()};
  if (result.items == 0) return result;

  const double scale = w.sum() / (categories * (categories - 1.0));  // T_w / (q (q - 1))
  const ArrayXd pi_k = (r_ik.array().colwise() / r_i).colwise().mean();
  const double p_e = scale * (pi_k * (1 - pi_k)).sum();
  result.chance = p_e;
  if (result.shared_items == 0) return result;

  const ArrayXd agreeing_pairs = (r_ik.array() * ((r_ik * w).array() - 1)).rowwise().sum();
  const ArrayXd p_ai = shared.select(agreeing_pairs / (r_i * (r_i - 1)).max(1), 0);
  const double p_a = p_ai.sum() / n_shared;
  const double gamma = (p_a - p_e) / (1 - p_e);  // p_e <= T_w / q^2 < 1
  result.observed = p_a;
  result.coefficient.mean = gamma;
  if (result.items < 2) return result;

  const ArrayXd gamma_i = shared.select(n / n_shared * (p_ai - p_e) / (1 - p_e), 0);
  const ArrayXd p_ei = scale * (r_ik * (1 - pi_k).matrix()).array() / r_i;
  const ArrayXd gamma_i_star = gamma_i - 2 * (1 - gamma) * (p_ei - p_e) / (1 - p_e);
  result.standard_error = std::sqrt((gamma_i_star - gamma).square().sum() / (n * (n - 1)));
  const double half = boost::math::quantile(boost::math::students_t(n - 1), 0.975) * result.standard_error;
  result.coefficient.low = gamma - half;
  result.coefficient.high = std::min(1.0, gamma + half);
  return result;
}

}  // namespace keel::evaluation::statistics
