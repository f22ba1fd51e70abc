// Where results come from, and which may go.
#include "pipelines/lineage.h"

#include <algorithm>

#include "pipelines/prune.h"
#include "pipelines/toy_run.h"

namespace keel::pipelines {
namespace {

namespace fs = std::filesystem;
using Catch::Matchers::ContainsSubstring;
using keel::test::run_toy;
using keel::test::Toy;

std::vector<std::string> stages_of(const std::vector<Artefact>& artefacts) {
  std::vector<std::string> names;
  for (const auto& artefact : artefacts)
    names.push_back(artefact.manifest.stage);
  return names;
}

struct Place {
  test::TemporaryFolder folder;
  fs::path root = folder / "run";
  Toy toy;
  Place() { toy.trace = folder / "trace"; }
  void run() const { run_toy(root, toy); }
  size_t results(const std::string& stage) const {
    return static_cast<size_t>(std::count_if(fs::directory_iterator(root / "stages" / stage), fs::directory_iterator(),
                                             [](const auto& entry) { return !entry.is_symlink(); }));
  }
};

}  // namespace

TEST_CASE("lineage: a file names the steps that made it, inputs first, and a changed byte is noticed", "[pipelines]") {
  const Place place;
  place.run();
  const fs::path file = place.root / "stages" / "summary" / "current" / "summary.txt";
  const Artefact summary = artefact_of(file);
  CHECK(stages_of(ancestry(summary)) == std::vector<std::string>{"numbers", "sums", "summary"});
  CHECK(summary.manifest.inputs.at("sums").key == ancestry(summary)[1].manifest.key);
  CHECK(stages_of(ancestry(artefact_of(place.root / "stages" / "sums" / "current"))) == std::vector<std::string>{"numbers", "sums"});

  test::write_text(fs::canonical(file), "toy: 247\n");
  CHECK_THROWS_WITH(artefact_of(file), ContainsSubstring("was changed after stage 'summary' made it"));
  test::write_text(fs::canonical(file.parent_path()) / "other.txt", "x");
  CHECK_THROWS_AS(artefact_of(file.parent_path() / "other.txt"), core::DataError);
  CHECK_THROWS_AS(artefact_of(place.folder / "nothing"), core::UsageError);
  CHECK_THROWS_AS(artefact_of(place.toy.trace), core::UsageError);
}

TEST_CASE("prune: results in use, the newest ones and all they were made from stay", "[pipelines]") {
  Place place;
  place.run();
  place.toy.title = "second";  // another summary of the same sums
  place.run();
  place.toy.count = 5;  // everything anew
  place.run();
  REQUIRE((place.results("numbers") == 2 && place.results("sums") == 2 && place.results("summary") == 3));

  RunDirectory run(place.root);
  CHECK(prune(run, {.keep_last = 3, .keep_best = {}, .dry_run = false}).empty());
  CHECK(prune(run, {.keep_last = 2, .keep_best = {}, .dry_run = true}).size() <= 1);  // finished in one second, any of three may be newest
  CHECK(prune(run, {.keep_last = 0, .keep_best = {}, .dry_run = true}).size() == 4);
  CHECK(place.results("summary") == 3);
  CHECK_THROWS_AS(prune(run, {.keep_last = 0, .keep_best = "gold_helpfulness", .dry_run = true}), core::UsageError);  // no report
  const auto removed = prune(run, {.keep_last = 0, .keep_best = {}, .dry_run = false});
  CHECK(removed.size() == 4);
  CHECK((place.results("numbers") == 1 && place.results("sums") == 1 && place.results("summary") == 1));
  take_trace(place.toy);
  place.run();  // what is in use is whole
  CHECK_FALSE(fs::exists(place.toy.trace));
}

TEST_CASE("prune: going back to an older recipe makes its results the ones in use", "[pipelines]") {
  Place place;
  place.run();
  place.toy.count = 5;
  place.run();
  place.toy.count = 4;
  place.run();
  RunDirectory run(place.root);
  prune(run, {.keep_last = 0, .keep_best = {}, .dry_run = false});
  take_trace(place.toy);
  place.run();
  CHECK_FALSE(fs::exists(place.toy.trace));
}

}  // namespace keel::pipelines
