// manifest.json: the record of a committed stage. A stage folder without one does not count as a result.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace keel::pipelines::run {

struct OutputFile {
  std::string path;  // relative to the stage's folder, '/' between its parts
  int64_t bytes = 0;
  std::string sha256;
};

// Which result of an input stage was read.
struct InputRecord {
  std::string key;     // of the stage that made it: follow it for the lineage
  std::string digest;  // content_digest of its outputs
};

struct Manifest {
  std::string stage;
  std::string key;
  std::string material;  // JSON text of everything that went into the key: config, seed, numerics, digests
  std::map<std::string, InputRecord> inputs;
  std::vector<OutputFile> outputs;              // sorted by path
  std::map<std::string, std::string> versions;  // "keel", "torch", "compiler" ...
  int threads = 1;
  int attempts = 1;     // 1 = never interrupted
  double seconds = 0;   // wall clock of all attempts except killed ones
  std::string started;  // UTC, of the first attempt
  std::string finished;
};

// Syncs and hashes every file under `folder`, sorted by path. Left out: `scratch`, manifest.json and attempt.json at its top, and names
// that begin with '.' (temporaries of a write that was killed). Throws IoError, and an internal Error for links and devices.
std::vector<OutputFile> collect_outputs(const std::filesystem::path& folder, const std::vector<std::string>& scratch);

// Deletes what collect_outputs() leaves out, manifest.json excepted. IoError.
void remove_leftovers(const std::filesystem::path& folder, const std::vector<std::string>& scratch);

// SHA-256 over path and SHA-256 of each output, so that equal contents give equal digests. Files with times do not count: *.log,
// timings.json, timings.jsonl, events.out.tfevents.*
std::string content_digest(const std::vector<OutputFile>& outputs);

void write_manifest(const std::filesystem::path& folder, const Manifest& manifest);

// Nothing when the folder or its manifest.json is missing. DataError when the file is damaged.
std::optional<Manifest> read_manifest(const std::filesystem::path& folder);

// UsageError when `path`, which may not exist yet, lies in a finished result.
void check_outside_results(const std::filesystem::path& path);

enum class OutputCheck {
  sizes,    // sizes alone: fast
  touched,  // and the SHA-256 of files modified after the manifest; in a folder copied without its times that is every file
  digests   // and every SHA-256
};

// Compares the files with their records in the manifest. Throws DataError naming the file and the remedy.
void check_outputs(const std::filesystem::path& folder, const Manifest& manifest, OutputCheck check);

}  // namespace keel::pipelines::run
