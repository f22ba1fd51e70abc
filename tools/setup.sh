#!/usr/bin/env bash
# Set-up: tools and libraries from Debian 12, Catch2 v3 from its backports, LibTorch from the PyPI wheel. Installs what is missing
# and nothing else; takes a moment when all is there. The groups lint, deb, fuzz, docs, model, parquet and cuda add what those make targets need.
#
# KEEL_DEPS   where Catch2, LibTorch and Arrow go (default: ${XDG_CACHE_HOME:-~/.cache}/keel)
# KEEL_TORCH  a LibTorch 2.11 that is already there (the folder with include/ and lib/); the wheel is then not fetched
# KEEL_ARROW  for parquet: an Arrow that is already there (the folder with include/ and libarrow.so.2600); it is then not fetched
# Exit codes: 0 done, 2 something is missing that set-up cannot or may not install (listed, nothing changed), 74 a download failed.
set -euo pipefail
export LC_ALL=C

readonly torch=2.11.0
readonly wheels=("torch==$torch" nvidia-cuda-runtime==13.0.96 nvidia-cuda-cupti==13.0.85)  # even on a CPU libtorch_cpu needs all three
readonly arrow=26.0.1  # of pyarrow's wheel, which carries Arrow's C++ libraries; cmake/KeelParquet.cmake names it too
# What libtorch_cuda.so loads, in the versions that it was built with.
readonly cuda=(nvidia-cublas==13.1.0.3 nvidia-cudnn-cu13==9.19.0.56 nvidia-cufft==12.0.0.61 nvidia-nccl-cu13==2.28.9
  nvidia-cusparselt-cu13==0.8.0 nvidia-cusparse==12.6.3.3 nvidia-nvshmem-cu13==3.4.5 nvidia-curand==10.4.0.35 nvidia-nvjitlink==13.0.88
  nvidia-cufile==1.15.1.6)
readonly suite=bookworm-backports

# Debian package | what must be there: a program (and its lowest version), a header, a Python module
requirements="
g++                      program g++ 12
cmake                    program cmake 3.25
ninja-build              program ninja
nlohmann-json3-dev       header nlohmann/json.hpp
libfmt-dev               header fmt/core.h
libspdlog-dev            header spdlog/spdlog.h
libssl-dev               header openssl/evp.h
zlib1g-dev               header zlib.h
libzstd-dev              header zstd.h
libpcre2-dev             header pcre2.h
libcld2-dev              header cld2/public/compact_lang_det.h
libsentencepiece-dev     header sentencepiece_processor.h
libcli11-dev             header CLI/CLI.hpp
libboost1.81-dev         header boost/math/distributions/students_t.hpp
libeigen3-dev            header eigen3/Eigen/Core
libbenchmark-dev         header benchmark/benchmark.h
libgoogle-perftools-dev  header gperftools/tcmalloc.h
libgloo-dev              header gloo/config.h
"
readonly pip_requirement="python3-pip  module pip
"

say() { echo "set-up: $*" >&2; }

have_torch() {
  [[ -n ${KEEL_TORCH-} ]] || [[ -e $libtorch/torch/lib/libtorch_cpu.so && -e $libtorch/nvidia/cu13/lib/libcupti.so.13 ]]
}

# Only where it is asked for: the group cuda.
have_cuda() { [[ -z $with_cuda || -n ${KEEL_TORCH-} || -e $libtorch/nvidia/cu13/lib/libcublas.so.13 ]]; }

# Only where it is asked for: the group parquet.
have_arrow() { [[ -z $with_arrow || -n ${KEEL_ARROW-} || -e $arrow_folder/libparquet.so.2600 ]]; }

have_catch2() { [[ -e $deps/catch2/usr/include/catch2/catch_test_macros.hpp ]] || have_header catch2/catch_test_macros.hpp; }

have_header() {
  local folder folders
  IFS=: read -ra folders <<<"${CPATH-}"
  for folder in "${folders[@]}" /usr/local/include /usr/include /usr/include/*-linux-gnu; do
    if [[ -e $folder/$1 ]]; then return 0; fi
  done
  return 1
}

# The last version number in the first line of `PROGRAM --version` counts: "g++ (Debian 12.2.0-14) 12.2.0".
have_program() {  # have_program NAME [LOWEST_VERSION]
  local version
  command -v "$1" >/dev/null || return 1
  [[ -n ${2-} ]] || return 0
  version=$("$1" --version | head -n 1 | grep -oE '[0-9]+(\.[0-9]+)+' | tail -n 1)
  [[ $(printf '%s\n' "$2" "$version" | sort -V | head -n 1) == "$2" ]]
}

have_module() { python_with "$1" >/dev/null; }

# The user's own Python or Debian's, whichever has the module. Python unpacks wheels and does nothing else here.
python_with() {
  local candidate
  for candidate in python3 /usr/bin/python3; do
    if "$candidate" -c "import importlib.util, sys; sys.exit(importlib.util.find_spec('$1') is None)" 2>/dev/null; then
      echo "$candidate"
      return 0
    fi
  done
  return 1
}

# Sets `packages` to Debian's names of what is missing and `missing` to the lines that tell the user.
find_missing() {
  local package kind need version
  packages=()
  missing=()
  while read -r package kind need version; do
    if [[ -z $package ]] || "have_$kind" "$need" "$version"; then continue; fi
    packages+=("$package")
    missing+=("$(printf '%-7s %-28s (Debian package %s)' "$kind" "$need${version:+ >= $version}" "$package")")
  done <<<"$requirements"
}

refuse() {  # refuse REASON: what is missing and what to do about it
  say "$1. Missing:"
  printf '  %s\n' "${missing[@]}" >&2
  if ((${#packages[@]})); then
    printf '%s\n' "On Debian 12, as root:" "  apt-get update" "  apt-get install --no-install-recommends ${packages[*]}" >&2
  fi
  echo "Install these, then run the same command again; docs/getting-started.md says more about other systems." >&2
  exit 2
}

may_install() { ((EUID == 0)) || { command -v sudo >/dev/null && { sudo -n true 2>/dev/null || { [[ -t 0 ]] && sudo -v; }; }; }; }

as_root() {
  local run=(env DEBIAN_FRONTEND=noninteractive "http_proxy=${http_proxy-}" "https_proxy=${https_proxy-}" "$@")
  if ((EUID == 0)); then "${run[@]}" >&2; else sudo "${run[@]}" >&2; fi
}

install_packages() {
  say "installing ${packages[*]}"
  local install=(apt-get -q -o Dpkg::Use-Pty=0 install --yes --no-install-recommends "${packages[@]}")
  if apt-get install --simulate "${packages[@]}" >/dev/null 2>&1 && as_root "${install[@]}"; then return; fi
  as_root apt-get -q update || say "apt-get update failed, trying with the package lists there are"
  as_root "${install[@]}" || { say "apt-get could not install the packages, see above"; exit 74; }
}

# The backports stand in a package list of our own that is thrown away: the user's package sources stay as they are.
fetch_catch2() {
  say "fetching Catch2 v3 from $suite into $deps/catch2"
  local own mirror
  mkdir -p "$work/lists/partial" "$work/cache/archives/partial"
  local options=(-q -o "Dir::State::Lists=$work/lists" -o "Dir::Cache=$work/cache" -o "Dir::Etc::SourceList=$work/sources.list"
    -o Dir::Etc::SourceParts=/dev/null -o APT::Sandbox::User=root)
  # shellcheck disable=SC2016  # the dollar signs are apt's
  own=$(apt-get indextargets --format '$(RELEASE) $(REPO_URI)' 'Created-By: Packages' 2>/dev/null | sed -n '/^bookworm /{s///p;q}')
  own=${own%/}
  for mirror in ${own/#http:\/\/deb.debian.org\/debian/} http://deb.debian.org/debian; do
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite main" >"$work/sources.list"
    if apt-get "${options[@]}" update >&2 && (cd "$work" && apt-get "${options[@]}" download libcatch2-dev >&2); then
      dpkg -x "$work"/libcatch2-dev_*.deb "$work/catch2"
      rm -rf "$deps/catch2"
      mv "$work/catch2" "$deps/catch2"
      return
    fi
  done
  say "apt-get could not download libcatch2-dev from $suite, see above"
  exit 74
}

fetch_wheels() {  # fetch_wheels FOLDER MB_NEEDED WHEEL...: unpacked into a folder below $work
  local folder=$work/$1 needed=$2 free_mb platforms=(--platform manylinux2014_x86_64) glibc
  shift 2
  free_mb=$(df -Pm "$work" | awk 'NR == 2 {print $4}')
  ((free_mb >= needed)) || { say "needs $needed MB free in $deps, there are $free_mb MB; KEEL_DEPS can name another folder"; exit 74; }
  for glibc in 17 18 24 25 26 27 28; do platforms+=(--platform "manylinux_2_${glibc}_x86_64"); done
  # The wheels of one fixed Python, so that any Python with pip can fetch them. TMPDIR beside the target makes pip's last step a rename.
  TMPDIR=$work PIP_REQUIRE_VIRTUALENV=false "$(python_with pip)" -m pip install --target "$folder" --no-deps --no-compile \
    --no-cache-dir --disable-pip-version-check --root-user-action=ignore --only-binary=:all: --python-version 3.11 \
    --implementation cp --abi cp311 --abi none "${platforms[@]}" "$@" >&2 ||
    { say "pip could not fetch the wheels, see above"; exit 74; }
}

fetch_torch() {
  say "fetching ${wheels[*]} into $libtorch (0.5 GB to download, 1.2 GB on disk)"
  fetch_wheels libtorch 2500 "${wheels[@]}"
  rm -rf "$libtorch"
  mv "$work/libtorch" "$libtorch"
}

# Into the folder of LibTorch, whose libraries look for them there.
fetch_cuda() {
  say "fetching CUDA's libraries into $libtorch (1.7 GB to download, 2.3 GB on disk)"
  fetch_wheels cuda 5000 "${cuda[@]}"
  cp -a --link --force "$work/cuda/nvidia" "$libtorch/"
}

# Of the wheel two libraries, the headers and the licence stay.
fetch_arrow() {
  say "fetching pyarrow==$arrow into $arrow_folder (55 MB to download, 65 MB on disk)"
  fetch_wheels pyarrow 300 "pyarrow==$arrow"
  mkdir "$work/arrow"
  mv "$work"/pyarrow/pyarrow/{include,libarrow.so.2600,libparquet.so.2600} "$work"/pyarrow/pyarrow-*.dist-info/licenses/*.txt "$work/arrow"
  rm -rf "$arrow_folder"
  mv "$work/arrow" "$arrow_folder"
}

deps=$(realpath -m "${KEEL_DEPS:-${XDG_CACHE_HOME:-${HOME:?set HOME or KEEL_DEPS}/.cache}/keel}")
libtorch=$deps/libtorch-$torch
arrow_folder=$deps/arrow-$arrow
with_arrow=
with_cuda=
# shellcheck source=/dev/null
system=$(. /etc/os-release 2>/dev/null && echo "${ID-} ${VERSION_ID-}") || system="unknown"

for group in "$@"; do
  case $group in
    lint) requirements+=$'clang-format  program clang-format\nclang-tidy  program clang-tidy\n' ;;
    deb) requirements+=$'dpkg-dev  program dpkg-shlibdeps\nfile  program file\n' ;;
    fuzz) requirements+=$'clang  program clang++\n' ;;
    docs) requirements+=$'doxygen  program doxygen\n' ;;
    model) requirements+=$pip_requirement ;;
    parquet) with_arrow=yes ;;
    cuda) with_cuda=yes ;;
    *) say "usage: tools/setup.sh [lint] [deb] [fuzz] [docs] [model] [parquet] [cuda]"; exit 2 ;;
  esac
done
{ have_torch && have_arrow && have_cuda; } || requirements+=$pip_requirement

# First everything that could stop set-up is found out, then it begins to change things.
if [[ -n ${KEEL_TORCH-} && ! -e $KEEL_TORCH/lib/libtorch_cpu.so ]]; then
  say "KEEL_TORCH=$KEEL_TORCH holds no lib/libtorch_cpu.so; it must be the folder of a LibTorch $torch with include/ and lib/"
  exit 2
fi
if [[ -n $with_arrow && -n ${KEEL_ARROW-} && ! -e $KEEL_ARROW/libparquet.so.2600 ]]; then
  say "KEEL_ARROW=$KEEL_ARROW holds no libparquet.so.2600; it must be the folder of pyarrow $arrow, with include/ and its libraries"
  exit 2
fi
find_missing
on_debian() { [[ $system == "debian 12" ]] && command -v apt-get >/dev/null; }
have_catch2 || on_debian || missing+=("library Catch2 v3 (its headers and CMake files, in the system or under $deps/catch2/usr)")
have_torch || [[ $(uname -m) == x86_64 ]] || missing+=("library LibTorch $torch for $(uname -m): set KEEL_TORCH to its folder")
have_arrow || [[ $(uname -m) == x86_64 ]] || missing+=("library Arrow $arrow for $(uname -m): set KEEL_ARROW to its folder")
if ((${#missing[@]})); then
  on_debian || refuse "packages can be installed on Debian 12 only, and this system is: $system"
  ((${#missing[@]} == ${#packages[@]})) || refuse "this machine needs something that Debian does not have"
  may_install || refuse "packages can be installed by root or with sudo only"
  install_packages
  find_missing
  ((${#missing[@]} == 0)) || refuse "the packages were installed, yet something is not where it should be"
fi
if have_catch2 && have_torch && have_arrow && have_cuda; then exit 0; fi

# Fetch into a folder beside the final one and rename: an interrupted set-up leaves nothing half-done. One set-up at a time.
mkdir -p "$deps" || exit 74
exec 9>"$deps/.lock"
flock 9
rm -rf "$deps"/.partial-*
work=$(mktemp -d "$deps/.partial-XXXXXX")
trap 'rm -rf "$work"' EXIT
have_catch2 || fetch_catch2
have_torch || fetch_torch
have_arrow || fetch_arrow
have_cuda || fetch_cuda
say "done"
