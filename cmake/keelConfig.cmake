# find_package(keel): targets keel::core, keel::data, keel::policy, keel::reward, keel::ppo ... one for each folder of docs/architecture.md.
# LibTorch is looked for as in keel's own build: -DKEEL_TORCH=DIR or -DKEEL_DEPS=DIR, else ~/.cache/keel.
if(NOT CMAKE_CXX_STANDARD)
  set(CMAKE_CXX_STANDARD 20)
endif()
include("${CMAKE_CURRENT_LIST_DIR}/KeelThirdParty.cmake")
include("${CMAKE_CURRENT_LIST_DIR}/keelTargets.cmake")
