#!/usr/bin/env bash
# lint.sh [BUILD_FOLDER [COMMIT]]: formatting of all sources, sizes of files and of pipelines' folders; with a configured build folder (no unity
# build) also clang-tidy on the folders without LibTorch, whose headers clang-tidy of Debian 12 does not take; with a commit only on what has changed since it.
# lint.sh --fix formats instead of complaining.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
mapfile -t torch_free < <(sed -nE 's/^keel_add_library\(([a-z_/]+) (PROGRAM )?NO_TORCH.*/\1/p' CMakeLists.txt)  # as declared there
mapfile -t sources < <(find . -path ./build -prune -o \( -name '*.h' -o -name '*.cpp' \) -printf '%P\n' | sort)

if [[ ${1-} == --fix ]]; then
  clang-format -i "${sources[@]}"
  exit 0
fi

failed=0
clang-format --dry-run -Werror "${sources[@]}" || failed=1
while read -r lines file; do
  most=500
  [[ $file == pipelines/* ]] && most=350
  if [[ $file != total ]] && ((lines > most)); then
    echo "$file: $lines lines; $most are allowed" >&2
    failed=1
  fi
done < <(wc -l "${sources[@]}")
while read -r count folder; do
  if ((count > 15)); then
    echo "$folder: $count sources, those of a header and its source counted once; 15 are allowed" >&2
    failed=1
  fi
done < <(printf '%s\n' "${sources[@]}" | grep '^pipelines/' | sed 's/\.[^.]*$//' | sort -u | sed 's|/[^/]*$||' | uniq -c)
if LC_ALL=C grep -nP '[^\x00-\x7F]' "${sources[@]}"; then
  echo "sources are ASCII: write the characters above as escapes" >&2
  failed=1
fi
if [[ -n ${1-} ]]; then
  tidied=()
  for folder in "${torch_free[@]}"; do
    for file in "$folder"/*.cpp; do [[ -e $file ]] && tidied+=("$file"); done
  done
  if grep -q core/parquet/ "$1/compile_commands.json"; then tidied+=(core/parquet/*.cpp); fi  # where Arrow is there
  if [[ -n ${2-} ]]; then  # a changed header is seen through the source of its name
    changed=$(git diff --name-only --relative "$2" -- '*.cpp' '*.h' | sed 's/\.h$/.cpp/')
    mapfile -t tidied < <(printf '%s\n' "${tidied[@]}" | grep -Fx -e "$changed" || true)
    ((${#tidied[@]})) || exit $failed
  fi
  # One file a process: clang-tidy 14 judges the last finding of a file by the settings of the next one's folder.
  printf '%s\n' "${tidied[@]}" | xargs -P "$(nproc)" -n 1 clang-tidy --quiet --extra-arg=-Wno-unknown-warning-option -p "$1" || failed=1
fi
exit $failed
