# librdkafka is built by cmake, which has a mind of its own about compilers.
set(CMAKE_SYSTEM_NAME Linux)
find_program(CMAKE_C_COMPILER tidegate-cc REQUIRED)
find_program(CMAKE_CXX_COMPILER tidegate-c++ REQUIRED)
find_program(CMAKE_AR tidegate-ar REQUIRED)
find_program(CMAKE_RANLIB tidegate-ranlib REQUIRED)
