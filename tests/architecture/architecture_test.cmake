# Proves that the configure step refuses what docs/architecture.md forbids. Each case is a small project with stub rooms and a stub
# LibTorch that uses the real cmake/KeelLibrary.cmake and cmake/KeelArchitecture.cmake, like the top-level CMakeLists.txt does.
set(failures "")

# check_case(NAME EXPECTED LIBRARIES [FILE CONTENT]...): adds LIBRARIES and the files to the project and configures it. EXPECTED is a
# regular expression for the error, with single blanks where CMake may break the line; empty: configuring must succeed.
function(check_case name expected libraries)
  set(folder "${WORK}/${name}")
  file(REMOVE_RECURSE "${folder}")
  set(files ${ARGN})
  file(WRITE "${folder}/data/part.cpp" "#include <string>\n#include \"core/api.h\"\n")
  while(files)
    list(POP_FRONT files file content)
    file(WRITE "${folder}/${file}" "${content}\n")
  endwhile()
  file(WRITE "${folder}/CMakeLists.txt" "
    cmake_minimum_required(VERSION 3.25)
    project(${name} LANGUAGES CXX)
    include(${KEEL_SOURCE_DIR}/cmake/KeelLibrary.cmake)
    add_library(keel::torch INTERFACE IMPORTED)
    keel_add_library(core NO_TORCH)
    keel_add_library(runtime USES core PUBLIC keel::torch)
    keel_add_library(policy USES runtime)
    ${libraries}
    include(${KEEL_SOURCE_DIR}/cmake/KeelArchitecture.cmake)
    keel_check_architecture()")
  execute_process(COMMAND ${CMAKE_COMMAND} -S "${folder}" -B "${folder}/build" -DCMAKE_CXX_COMPILER_WORKS=ON
                  RESULT_VARIABLE code OUTPUT_VARIABLE output ERROR_VARIABLE output)
  string(REGEX REPLACE "[ \n]+" " " output "${output}")
  if((NOT expected AND code EQUAL 0) OR (expected AND NOT code EQUAL 0 AND output MATCHES "${expected}"))
    message("passed: ${name}")
  else()
    message("FAILED: ${name}: expected '${expected}', CMake ended with ${code} and said: ${output}")
    set(failures "${failures} ${name}" PARENT_SCOPE)
  endif()
endfunction()

check_case(what_is_agreed "" "keel_add_library(data NO_TORCH USES core)\nkeel_add_library(reward USES policy)"
           reward/model.h "#include \"policy/llama.h\"")
check_case(torch_in_a_torch_free_folder "data/ must not link LibTorch, but it is reached by keel_data -> keel::torch"
           "keel_add_library(data NO_TORCH USES core PRIVATE keel::torch)")
check_case(torch_through_a_third_party "data/ must not link LibTorch, but it is reached by keel_data -> json -> plugin -> keel::torch"
           "add_library(plugin INTERFACE)\ntarget_link_libraries(plugin INTERFACE keel::torch)
            add_library(json INTERFACE)\ntarget_link_libraries(json INTERFACE plugin)
            keel_add_library(data NO_TORCH USES core PRIVATE json)")
check_case(libtorch_by_its_file "data/ must not link LibTorch, but it is reached by keel_data -> /opt/lib/libtorch_cpu.so"
           "keel_add_library(data NO_TORCH USES core PRIVATE /opt/lib/libtorch_cpu.so)")
check_case(arrow_between_libraries "keel_add_library.policy.: policy -> reward is an arrow that its USES do not declare"
           "keel_add_library(reward)\ntarget_link_libraries(keel_policy INTERFACE keel_reward)")
check_case(nested_folders "" "keel_add_library(evaluation/statistics NO_TORCH USES core)\nkeel_add_library(evaluation USES evaluation/statistics policy)"
           evaluation/report.h "#include \"evaluation/statistics/interval.h\"\n#include \"runtime/device.h\"")
check_case(a_folder_is_not_its_parent "evaluation/statistics/a.h: evaluation/statistics/ may not enter evaluation/"
           "keel_add_library(evaluation/statistics NO_TORCH USES core)\nkeel_add_library(evaluation USES evaluation/statistics)"
           evaluation/statistics/a.h "#include \"evaluation/report.h\"")
check_case(arrow_upwards "USES reward, which is no folder declared before it" "keel_add_library(data USES reward)\nkeel_add_library(reward)")
check_case(private_arrow_between_libraries "keel_add_library.data.: data -> runtime is an arrow"
           "keel_add_library(data USES core PRIVATE keel_runtime)")
check_case(arrow_in_an_include "arrow_in_an_include/data/part.cpp: data/ may not enter policy/ .docs/architecture.md.: #include \"policy/llama.h\""
           "keel_add_library(data NO_TORCH USES core)" data/part.cpp "#include \"core/api.h\"\n#include \"policy/llama.h\"")
check_case(arrow_in_a_header_upwards "core/api.h: core/ may not enter data/" "keel_add_library(data NO_TORCH USES core)"
           core/api.h "#include <data/text.h>")
check_case(umbrella_header "policy/llama.h: <torch/torch.h> costs" "" policy/llama.h "#include <torch/torch.h>")

if(failures)
  message(FATAL_ERROR "failed:${failures}")
endif()
