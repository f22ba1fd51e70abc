#include "runtime/dist/place.h"

#include <map>

#include "core/error.h"
#include "support/test.h"

namespace keel::runtime::dist {
namespace {

using Variables = std::map<std::string, std::string>;
using Catch::Matchers::ContainsSubstring;

Place place_of(const Variables& variables) {
  return place_from([&](const char* name) {
    const auto found = variables.find(name);
    return found == variables.end() ? nullptr : found->second.c_str();
  });
}

Variables with(Variables variables, const Variables& more) {
  for (const auto& [name, value] : more)
    variables[name] = value;
  return variables;
}

const Variables kStore = {{"MASTER_ADDR", "node1"}, {"MASTER_PORT", "29500"}};

}  // namespace

TEST_CASE("place: what each launcher sets is understood, the first complete one counts", "[runtime]") {
  const Variables torchrun = with(kStore, {{"RANK", "5"}, {"WORLD_SIZE", "8"}, {"LOCAL_WORLD_SIZE", "4"}, {"LOCAL_RANK", "1"}});
  const Variables slurm = {
      {"SLURM_PROCID", "3"}, {"SLURM_NTASKS", "4"}, {"SLURM_LOCALID", "1"}, {"SLURM_JOB_ID", "77"}, {"SLURM_STEP_NODELIST", "gpu[07-09]"}};
  const Variables open_mpi =
      with(kStore, {{"OMPI_COMM_WORLD_RANK", "1"}, {"OMPI_COMM_WORLD_SIZE", "2"}, {"OMPI_COMM_WORLD_LOCAL_SIZE", "2"}});
  const Variables pmi = with(kStore, {{"PMI_RANK", "6"}, {"PMI_SIZE", "7"}});

  const Place first = place_of(torchrun);
  CHECK((first.rank == 5 && first.size == 8 && first.local_size == 4 && first.local_rank == 1 && first.address == "node1" &&
         first.port == 29500));
  CHECK_FALSE(first.store_is_there);
  CHECK(place_of(with(torchrun, {{"TORCHELASTIC_USE_AGENT_STORE", "True"}, {"TORCHELASTIC_RESTART_COUNT", "2"}})).store_is_there);
  CHECK(place_of(with(torchrun, {{"TORCHELASTIC_RESTART_COUNT", "2"}})).attempt == "2");

  const Place second = place_of(slurm);
  CHECK((second.rank == 3 && second.size == 4 && second.address == "gpu07" && second.port == 20077));
  CHECK(second.local_rank == 1);
  const Place step = place_of(with(slurm, {{"SLURM_NTASKS", "64"}, {"SLURM_STEP_NUM_TASKS", "4"}, {"SLURM_STEP_ID", "2"}}));
  CHECK((step.size == 4 && step.port == 20077 + 2 * 997));
  CHECK(place_of(with(slurm, kStore)).address == "node1");
  CHECK(place_of(open_mpi).rank == 1);
  CHECK(place_of(open_mpi).local_size == 2);
  CHECK(place_of(pmi).size == 7);
  CHECK(place_of(with(open_mpi, slurm)).size == 4);
  CHECK(place_of(with(with(pmi, slurm), torchrun)).size == 8);
  CHECK(place_of(with(open_mpi, {{"RANK", "1"}})).size == 2);  // half a row is none
}

TEST_CASE("place: a process alone is rank 0 of 1, in a shell of SLURM too", "[runtime]") {
  CHECK(place_of({}).size == 1);
  CHECK(place_of({{"RANK", "0"}, {"WORLD_SIZE", "1"}}).size == 1);  // needs no place to meet
  CHECK(place_of({{"SLURM_PROCID", "0"}, {"SLURM_NTASKS", "8"}, {"SLURM_JOB_ID", "77"}}).size == 1);
}

TEST_CASE("place: what cannot be understood is refused by its name, with the remedy", "[runtime]") {
  const auto refusal = [](const Variables& variables) {
    try {
      place_of(variables);
    } catch (const core::UsageError& error) {
      return std::string(error.what());
    }
    return std::string("none");
  };
  CHECK_THAT(refusal({{"RANK", "0"}, {"WORLD_SIZE", "2"}}), ContainsSubstring("export MASTER_ADDR") && ContainsSubstring("MASTER_PORT"));
  CHECK_THAT(refusal({{"OMPI_COMM_WORLD_RANK", "0"}, {"OMPI_COMM_WORLD_SIZE", "2"}, {"MASTER_ADDR", "a"}}),
             ContainsSubstring("MASTER_PORT"));
  CHECK_THAT(refusal(with(kStore, {{"RANK", "2"}, {"WORLD_SIZE", "2"}})),
             ContainsSubstring("RANK must be a whole number from 0 to 1, got \"2\""));
  CHECK_THAT(refusal(with(kStore, {{"RANK", "1x"}, {"WORLD_SIZE", "2"}})), ContainsSubstring("got \"1x\""));
  CHECK_THAT(refusal(with(kStore, {{"RANK", "0"}, {"WORLD_SIZE", "0"}})), ContainsSubstring("WORLD_SIZE"));
  CHECK_THAT(refusal(with(kStore, {{"RANK", "0"}, {"WORLD_SIZE", "2"}, {"MASTER_PORT", "70000"}})), ContainsSubstring("MASTER_PORT"));
}

TEST_CASE("place: half of torchrun's pair is refused, since each process would then work as if it were alone", "[runtime]") {
  for (const Variables& half : {Variables{{"RANK", "1"}}, Variables{{"WORLD_SIZE", "2"}}, Variables{{"WORLD_SIZE", "2"}, {"RANK", ""}}})
    CHECK_THROWS_WITH(place_of(half), ContainsSubstring(half.contains("WORLD_SIZE") ? "WORLD_SIZE is set and RANK is not"
                                                                                    : "RANK is set and WORLD_SIZE is not"));
  CHECK(place_of({{"WORLD_SIZE", "1"}}).size == 1);
}

TEST_CASE("place: the first host of SLURM's lists", "[runtime]") {
  CHECK(first_host("node7") == "node7");
  CHECK(first_host("node7,node9") == "node7");
  CHECK(first_host("node[007-012,020],login1") == "node007");
  CHECK(first_host("node[3,5-8]") == "node3");
  CHECK(first_host("rack[1-2]-n1,x") == "rack1-n1");
  CHECK(first_host("").empty());
}

}  // namespace keel::runtime::dist
