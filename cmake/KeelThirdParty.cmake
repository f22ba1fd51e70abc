# Third parties as imported targets. LibTorch comes from a wheel unpacked in the cache folder (tools/setup.sh puts it there) or from
# any LibTorch that -DKEEL_TORCH=DIR points at: the folder that holds include/ and lib/.
if(NOT KEEL_DEPS)
  if(DEFINED ENV{XDG_CACHE_HOME})
    set(KEEL_DEPS "$ENV{XDG_CACHE_HOME}/keel")
  else()
    set(KEEL_DEPS "$ENV{HOME}/.cache/keel")
  endif()
endif()
set(KEEL_TORCH "$ENV{KEEL_TORCH}" CACHE PATH "LibTorch 2.11 folder with include/ and lib/; empty: the wheel in KEEL_DEPS")
if(NOT KEEL_TORCH)
  set(KEEL_TORCH "${KEEL_DEPS}/libtorch-2.11.0/torch")
endif()
if(NOT EXISTS "${KEEL_TORCH}/lib/libtorch_cpu.so")
  message(FATAL_ERROR "no LibTorch at ${KEEL_TORCH}: run 'make setup' (it fetches torch 2.11.0), or pass -DKEEL_TORCH=DIR")
endif()

find_package(nlohmann_json 3.11 REQUIRED)
find_package(fmt REQUIRED)
find_package(spdlog REQUIRED)
find_package(OpenSSL REQUIRED COMPONENTS Crypto)
find_package(ZLIB REQUIRED)
find_package(Eigen3 REQUIRED)
find_package(CLI11 REQUIRED)
find_package(Threads REQUIRED)

function(keel_import name header library)
  find_path(KEEL_${name}_INCLUDE ${header} REQUIRED)
  find_library(KEEL_${name}_LIBRARY ${library} REQUIRED)
  add_library(keel::${name} INTERFACE IMPORTED GLOBAL)
  target_include_directories(keel::${name} SYSTEM INTERFACE "${KEEL_${name}_INCLUDE}")
  target_link_libraries(keel::${name} INTERFACE "${KEEL_${name}_LIBRARY}" ${ARGN})
endfunction()

keel_import(zstd zstd.h zstd)
keel_import(pcre2 pcre2.h pcre2-8)
find_library(KEEL_SENTENCEPIECE_TRAIN sentencepiece_train REQUIRED)
keel_import(sentencepiece sentencepiece_processor.h sentencepiece "${KEEL_SENTENCEPIECE_TRAIN}")

# The wheel ships fmt 12, which would shadow Debian's fmt 9 and break spdlog: hence -idirafter. Only libtorch_cpu is linked.
add_library(keel::torch INTERFACE IMPORTED GLOBAL)
target_compile_options(keel::torch INTERFACE "SHELL:-idirafter ${KEEL_TORCH}/include"
                                             "SHELL:-idirafter ${KEEL_TORCH}/include/torch/csrc/api/include")
target_compile_definitions(keel::torch INTERFACE _GLIBCXX_USE_CXX11_ABI=1)
# --as-needed is Debian's default and would drop libtorch_cpu's registration of kernels from a binary that calls only c10.
target_link_options(keel::torch INTERFACE -Wl,--no-as-needed)
target_link_libraries(keel::torch INTERFACE "${KEEL_TORCH}/lib/libtorch_cpu.so" "${KEEL_TORCH}/lib/libc10.so" Threads::Threads)
set(CMAKE_BUILD_RPATH "${KEEL_TORCH}/lib")
set(CMAKE_INSTALL_RPATH "${KEEL_TORCH}/lib")
