# find_package(keel): targets keel::core, keel::data, keel::policy, keel::reward, keel::ppo ... one for each folder of docs/architecture.md.
# LibTorch is looked for as in keel's own build: -DKEEL_TORCH=DIR or -DKEEL_DEPS=DIR, else ~/.cache/keel. In the build tree programs find it
# by themselves; those that you install need its folder in their INSTALL_RPATH, ${KEEL_TORCH}/lib. To read Parquet, where keel was built with
# it, a program needs the folder of libkeel_parquet.so in its run path, PREFIX/lib/keel.
if(NOT CMAKE_CXX_STANDARD)
  set(CMAKE_CXX_STANDARD 20)
endif()
include("${CMAKE_CURRENT_LIST_DIR}/KeelThirdParty.cmake")
include("${CMAKE_CURRENT_LIST_DIR}/keelTargets.cmake")
