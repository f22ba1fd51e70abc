# Installs keel into a folder of its own, builds examples/ against it with nothing but find_package, and runs them on a tiny model. The
# folder stays, so that a second run builds what has changed.
function(run)
  execute_process(COMMAND ${ARGV} RESULT_VARIABLE code OUTPUT_VARIABLE output ERROR_VARIABLE output)
  if(NOT code EQUAL 0)
    string(JOIN " " command ${ARGV})
    message(FATAL_ERROR "${command}\n${output}")
  endif()
  set(output "${output}" PARENT_SCOPE)
endfunction()

run(${CMAKE_COMMAND} --install "${KEEL_BUILD}" --prefix "${WORK}/prefix")
set(flags "")
if(SANITIZE)
  set(flags "-DCMAKE_CXX_FLAGS=-fsanitize=${SANITIZE}")
endif()
run(${CMAKE_COMMAND} -G Ninja -S "${KEEL_SOURCE_DIR}/examples" -B "${WORK}/build" "-DCMAKE_PREFIX_PATH=${WORK}/prefix" "-DKEEL_TORCH=${KEEL_TORCH}"
    "-DCMAKE_CXX_COMPILER=${COMPILER}" ${flags})
run(${CMAKE_COMMAND} --build "${WORK}/build")
foreach(example score best_of_n ppo_step)
  execute_process(COMMAND "${WORK}/build/${example}" RESULT_VARIABLE code ERROR_VARIABLE usage)
  if(NOT code EQUAL 2 OR NOT usage MATCHES "usage: ${example}")
    message(FATAL_ERROR "${example} without arguments: code ${code}, ${usage}")
  endif()
endforeach()

# The installed keel makes a tiny model and its reward model; each example then does what it says.
set(tiny llama.hidden_size=32 llama.intermediate_size=64 llama.num_hidden_layers=1 llama.num_attention_heads=2 llama.num_key_value_heads=1
    pretrain.tokens=4000 sandbox.corpus.documents=400 sandbox.demonstrations.count=60 preferences.pairs=40 sandbox.helpful_prompts=24
    sandbox.hazard_prompts=12 sandbox.lookalike_prompts=12 sandbox.test_helpful=12 sandbox.test_hazard=3 sandbox.test_lookalike=3)
list(TRANSFORM tiny PREPEND "--set=")
file(REMOVE_RECURSE "${WORK}/run")  # of an older build, which this one may refuse to go on with
run("${WORK}/prefix/bin/keel" run "${KEEL_SOURCE_DIR}/recipes/sandbox.json" --out "${WORK}/run" --until reward_helpfulness ${tiny})
set(policy "${WORK}/run/stages/sft/current")
set(reward "${WORK}/run/stages/reward_helpfulness/current")
run("${WORK}/build/score" "${reward}" "What is 2 plus 3?" "5.")
if(NOT output MATCHES "^-?[0-9.]+ 0\\.[0-9]+\n$")
  message(FATAL_ERROR "score: ${output}")
endif()
run("${WORK}/build/best_of_n" "${policy}" "${reward}" "What is 2 plus 3?" 4)
if(NOT output MATCHES "^-?[0-9.]+ ")
  message(FATAL_ERROR "best_of_n: ${output}")
endif()
run("${WORK}/build/ppo_step" "${policy}" "What is 2 plus 3?" "What is 3 plus 3?")
foreach(metric objective/kl loss/policy_avg policy/approxkl_avg)
  if(NOT output MATCHES "${metric} ")
    message(FATAL_ERROR "ppo_step prints no ${metric}: ${output}")
  endif()
endforeach()

# The installed keel finds the library that reads Parquet, and that library Arrow.
if(PARQUET)
  file(WRITE "${WORK}/t.parquet" "PAR1 and nothing more")
  execute_process(COMMAND "${WORK}/prefix/bin/keel" inspect "${WORK}/t.parquet" RESULT_VARIABLE code ERROR_VARIABLE error)
  if(NOT code EQUAL 3 OR NOT error MATCHES "this Parquet table cannot be read")
    message(FATAL_ERROR "keel inspect t.parquet: code ${code}, ${error}")
  endif()
endif()

# Another minor version is refused, and a project that finds keel keeps its own settings.
file(WRITE "${WORK}/caller/CMakeLists.txt" [[
cmake_minimum_required(VERSION 3.25)
project(caller LANGUAGES CXX)
foreach(other 0.0 0.2 1.0)
  find_package(keel ${other} QUIET)
  if(keel_FOUND OR NOT keel_CONSIDERED_VERSIONS)
    message(FATAL_ERROR "keel ${other} was asked for, found: ${keel_FOUND}; considered: ${keel_CONSIDERED_VERSIONS}")
  endif()
endforeach()
set(CMAKE_BUILD_RPATH "/of/the/caller")
set(CMAKE_INSTALL_RPATH "/of/the/caller")
find_package(keel 0.1 REQUIRED)
if(NOT CMAKE_BUILD_RPATH STREQUAL "/of/the/caller" OR NOT CMAKE_INSTALL_RPATH STREQUAL "/of/the/caller")
  message(FATAL_ERROR "find_package(keel) changed the caller's run paths: ${CMAKE_BUILD_RPATH}, ${CMAKE_INSTALL_RPATH}")
endif()
]])
run(${CMAKE_COMMAND} -G Ninja -S "${WORK}/caller" -B "${WORK}/caller/build" "-DCMAKE_PREFIX_PATH=${WORK}/prefix" "-DKEEL_TORCH=${KEEL_TORCH}"
    "-DCMAKE_CXX_COMPILER=${COMPILER}")
