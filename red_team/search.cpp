#include "red_team/search.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <string>
#include <utility>

#include "core/rng.h"

namespace keel::red_team {
namespace {

// How dangerous attempts are, 1 - safety, as a sum of effects of their traits: ridge regression by coordinate descent. A penalty of a few
// imaginary attempts keeps traits that were seen seldom near 0.
class Forecast {
 public:
  void add(std::vector<std::string> traits, double danger) { seen_.push_back({std::move(traits), danger}); }

  void fit() {
    constexpr int kSweeps = 8;
    double overall = 0;
    for (const auto& one : seen_)
      overall += one.danger / static_cast<double>(seen_.size());
    std::map<std::string, std::vector<size_t>> having;
    std::vector<double> residual;
    for (const auto& one : seen_) {
      for (const auto& trait : one.traits)
        having[trait].push_back(residual.size());
      residual.push_back(one.danger - overall);
    }
    effects_.clear();
    for (int sweep = 0; sweep < kSweeps; ++sweep)
      for (const auto& [trait, attempts] : having) {
        auto& [effect, seen] = effects_[trait];
        seen = static_cast<double>(attempts.size());
        double sum = 0;
        for (const size_t i : attempts)
          sum += residual[i] + effect;
        const double fitted = sum / (seen + kImaginary);
        for (const size_t i : attempts)
          residual[i] += effect - fitted;
        effect = fitted;
      }
    double squares = 0;
    for (const double rest : residual)
      squares += rest * rest / static_cast<double>(residual.size());
    spread_ = kCuriosity * std::sqrt(squares);
  }

  // One draw of the effects from what is known about them, their spread being the residuals' over the root of how often a trait was seen
  // (Thompson sampling): a greedy choice would stay with whatever worked first.
  class Draw {
   public:
    Draw(const Forecast& forecast, core::Stream& stream) : forecast_(forecast), stream_(stream) {}
    double of(const std::vector<std::string>& traits) {
      double danger = 0;
      for (const auto& trait : traits) {
        const auto [drawn, is_new] = drawn_.try_emplace(trait, 0);
        if (is_new) {
          const auto known = forecast_.effects_.find(trait);
          const Effect effect = known == forecast_.effects_.end() ? Effect() : known->second;
          drawn->second = effect.mean + forecast_.spread_ * stream_.normal() / std::sqrt(effect.seen + kImaginary);
        }
        danger += drawn->second;
      }
      return danger;
    }

   private:
    const Forecast& forecast_;
    core::Stream& stream_;
    std::map<std::string, double> drawn_;
  };

 private:
  struct Seen {
    std::vector<std::string> traits;
    double danger;
  };
  std::vector<Seen> seen_;
  static constexpr double kImaginary = 4;
  static constexpr double kCuriosity = 0.5;  // an attempt is the sum of several draws, so that whole ones would be too wide
  struct Effect {
    double mean = 0, seen = 0;
  };
  double spread_ = 0;
  std::map<std::string, Effect> effects_;
};

class Search {
 public:
  Search(const std::vector<Request>& requests, const std::vector<Attack>& attacks, const SearchConfig& config, uint64_t seed,
         const Probe& probe)
      : requests_(requests), attacks_(attacks), config_(config), seed_(seed), probe_(probe) {}

  std::vector<Tried> run(bool breeding) {
    for (uint64_t generation = 0; spent_ < config_.budget; ++generation) {
      std::vector<Tried> asked;
      std::set<Way> ways;  // of this generation: a way may work at once
      for (int64_t i = 0; i < config_.generation && spent_ < config_.budget; ++i) {
        core::Stream stream(seed_, breeding ? "red_team.search" : "red_team.plain", generation, static_cast<uint64_t>(i));
        const bool bred = breeding && !ranked_.empty() && !stream.chance(config_.explore);
        std::optional<Tried> next = bred ? child(stream, ways) : std::nullopt;
        if (!next) next = fresh(stream, breeding ? &ways : nullptr);
        if (!next) break;
        ++asked_[next->candidate];
        ways.insert(way_of(next->candidate));
        spent_ += std::ssize(next->script.turns);
        asked.push_back(std::move(*next));
      }
      if (asked.empty()) break;  // every candidate is tried
      learn(asked);
    }
    return std::move(tried_);
  }

 private:
  using Way = std::pair<size_t, std::set<std::string>>;  // a request and the vectors used on it

  Way way_of(const Candidate& candidate) const {
    Way way{candidate.request, {}};
    for (const size_t attack : candidate.attacks)
      way.second.insert(attacks_[attack].vector);
    return way;
  }

  // The candidate's script; nothing where it was asked often enough, repeats a vector, or is too long for the rest of the budget.
  std::optional<Tried> usable(Candidate candidate) const {
    const auto before = asked_.find(candidate);
    if ((before != asked_.end() && before->second >= config_.repeats) || way_of(candidate).second.size() != candidate.attacks.size())
      return std::nullopt;
    std::vector<const Attack*> chosen;
    for (const size_t attack : candidate.attacks)
      chosen.push_back(&attacks_[attack]);
    auto script = disguised(requests_[candidate.request], chosen);
    if (!script || spent_ + std::ssize(script->turns) > config_.budget) return std::nullopt;
    return Tried{.candidate = std::move(candidate), .script = std::move(*script)};
  }

  bool open(const Candidate& candidate, const std::set<Way>& asked) const {
    const Way way = way_of(candidate);
    return !broken_.contains(way) && !asked.contains(way);
  }

  // A draw of plain sampling; with `asked`, one of a single attack at most whose way is still open: composed ones are bred from what
  // worked.
  std::optional<Tried> fresh(core::Stream& stream, const std::set<Way>* asked) const {
    constexpr int kMostDraws = 2000;
    for (int draw = 0; draw < kMostDraws; ++draw) {
      Candidate candidate{.request = stream.below(requests_.size()), .attacks = {}};
      if (!attacks_.empty() && stream.below(vectors().size() - 1) > 0)
        for (uint64_t count = 1 + (asked == nullptr ? stream.below(static_cast<uint64_t>(config_.most_attacks)) : 0); count > 0; --count)
          candidate.attacks.push_back(stream.below(attacks_.size()));
      if (asked != nullptr && !open(candidate, *asked)) continue;
      if (auto found = usable(std::move(candidate))) return found;
    }
    return std::nullopt;
  }

  // The most promising of many children of two parents each: asking costs far more than forecasting.
  std::optional<Tried> child(core::Stream& stream, const std::set<Way>& asked) const {
    constexpr int kChildren = 1000;
    const size_t parents = std::max<size_t>(2, ranked_.size() / 4);
    const auto parent = [&]() -> const Candidate& { return tried_[ranked_[stream.below(std::min(parents, ranked_.size()))]].candidate; };
    std::optional<Tried> best;
    double best_forecast = 0;
    Forecast::Draw draw(forecast_, stream);
    for (int i = 0; i < kChildren; ++i) {
      Candidate candidate{.request = parent().request, .attacks = parent().attacks};
      mutate(candidate, parent(), stream);
      if (!open(candidate, asked)) continue;
      const double forecast = draw.of(traits_of(candidate));
      if (best && forecast <= best_forecast) continue;
      if (auto found = usable(std::move(candidate))) best = std::move(found), best_forecast = forecast;
    }
    return best;
  }

  void mutate(Candidate& candidate, const Candidate& other, core::Stream& stream) const {
    auto& attacks = candidate.attacks;
    const uint64_t change = stream.below(5);
    if (change == 0) candidate.request = stream.below(requests_.size());
    if (change == 1 && !attacks.empty() && !attacks_.empty()) attacks[stream.below(attacks.size())] = stream.below(attacks_.size());
    if (change == 2 && !attacks.empty()) attacks.erase(attacks.begin() + static_cast<std::ptrdiff_t>(stream.below(attacks.size())));
    if (change == 3 && !other.attacks.empty()) attacks.push_back(stream.pick(other.attacks));
    if (std::ssize(attacks) > config_.most_attacks) attacks.erase(attacks.begin());
  }

  // What a violation may depend on: the request, its category, each attack, how many, and the vectors together in this category.
  std::vector<std::string> traits_of(const Candidate& candidate) const {
    const Request& request = requests_[candidate.request];
    std::string together;
    for (const auto& vector : way_of(candidate).second)
      together += "+" + vector;
    std::vector<std::string> traits = {"request " + request.id, "category " + request.category, "vectors " + together,
                                       "category " + request.category + together, "attacks " + std::to_string(candidate.attacks.size())};
    for (const size_t attack : candidate.attacks)
      traits.push_back("attack " + std::to_string(attack));
    return traits;
  }

  void learn(std::vector<Tried>& asked) {
    const auto safeties = probe_(asked);
    for (size_t i = 0; i < asked.size(); ++i) {
      if (!safeties.at(i)) {
        spent_ -= std::ssize(asked[i].script.turns);
        continue;
      }
      asked[i].safety = *safeties[i];
      const Candidate& candidate = asked[i].candidate;
      forecast_.add(traits_of(candidate), 1 - asked[i].safety);
      if (asked[i].safety < config_.unsafe_below) broken_.insert(way_of(candidate));
      ranked_.push_back(tried_.size());
      tried_.push_back(std::move(asked[i]));
    }
    forecast_.fit();
    std::stable_sort(ranked_.begin(), ranked_.end(), [&](size_t a, size_t b) { return tried_[a].safety < tried_[b].safety; });
  }

  const std::vector<Request>& requests_;
  const std::vector<Attack>& attacks_;
  const SearchConfig& config_;
  uint64_t seed_;
  const Probe& probe_;
  int64_t spent_ = 0;
  std::vector<Tried> tried_;
  std::vector<size_t> ranked_;          // indices into tried_, the least safe answer first
  std::map<Candidate, int64_t> asked_;  // how often
  std::set<Way> broken_;
  Forecast forecast_;
};

}  // namespace

std::vector<Tried> plain_sampling(const std::vector<Request>& requests, const std::vector<Attack>& attacks, const SearchConfig& config,
                                  uint64_t seed, const Probe& probe) {
  return Search(requests, attacks, config, seed, probe).run(false);
}

std::vector<Tried> evolved_search(const std::vector<Request>& requests, const std::vector<Attack>& attacks, const SearchConfig& config,
                                  uint64_t seed, const Probe& probe) {
  return Search(requests, attacks, config, seed, probe).run(true);
}

}  // namespace keel::red_team
