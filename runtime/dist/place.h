// Where a process stands among those that a launcher started together: torchrun, srun or mpirun tell it by environment variables.
#pragma once

#include <functional>
#include <string>

namespace keel::runtime::dist {

struct Place {
  int rank = 0, size = 1;
  int local_size = 1;           // ranks on this machine, as far as the launcher says
  int local_rank = 0;           // this one's number among them: the device that it takes
  std::string address;          // of the store where ranks meet; empty for one rank
  int port = 0;                 // of it
  bool store_is_there = false;  // the launcher serves it; otherwise rank 0 does
  std::string attempt;          // tells apart the launcher's restarts, which may share a store
};

// A variable's value, or nullptr: std::getenv.
using Environment = std::function<const char*(const char*)>;

// The first launcher of whose variables rank and size are set: torchrun (RANK, WORLD_SIZE), srun inside a step (SLURM_PROCID,
// SLURM_NTASKS), Open MPI (OMPI_COMM_WORLD_RANK, OMPI_COMM_WORLD_SIZE), MPICH and Intel MPI (PMI_RANK, PMI_SIZE). One rank where none is.
// UsageError for a value that is no number or out of range; for RANK without WORLD_SIZE or the reverse, where no launcher is complete
// (other launchers set both themselves); and for several ranks without MASTER_ADDR and MASTER_PORT. Under srun these default to the first
// host of the step and a port made of the job's number.
Place place_from(const Environment& environment);

// The first host of SLURM's short form: "node007" of "node[007-012,020],login1".
std::string first_host(const std::string& list);

}  // namespace keel::runtime::dist
