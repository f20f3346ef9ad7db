# `cmake --install BUILD --component programs`: the programs. `--component client`: the C++ client library, the contract's
# generated headers, and the package that find_package(logitd) finds; docs/cpp.md says how to use it.
# tests/e2e/install_test.py uses both.
include(CMakePackageConfigHelpers)
include(GNUInstallDirs)

# A folder of their own: their names begin with client/, base/ and grpc/, as in this source tree.
set(include_dir ${CMAKE_INSTALL_INCLUDEDIR}/logitd)
set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/logitd)

set(targets logitd_client logitd_proto health_proto rpc_proto logitd_base)
set_target_properties(logitd_client PROPERTIES EXPORT_NAME client)
set_target_properties(logitd_proto PROPERTIES EXPORT_NAME proto)
foreach(target IN LISTS targets)
  target_include_directories(${target} SYSTEM PUBLIC $<INSTALL_INTERFACE:${include_dir}>)
endforeach()
target_compile_features(logitd_client PUBLIC cxx_std_20)

install(TARGETS ${targets} EXPORT logitd ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT client)
install(EXPORT logitd NAMESPACE logitd:: FILE logitd-targets.cmake DESTINATION ${package_dir} COMPONENT client)
install(DIRECTORY ${PROJECT_SOURCE_DIR}/client/logitd DESTINATION ${include_dir}/client COMPONENT client
        FILES_MATCHING PATTERN *.h)
install(FILES ${PROJECT_SOURCE_DIR}/base/status_macros.h DESTINATION ${include_dir}/base COMPONENT client)
install(DIRECTORY ${PROJECT_BINARY_DIR}/proto/logitd/v1 DESTINATION ${include_dir}/logitd COMPONENT client
        FILES_MATCHING PATTERN *.pb.h)
install(DIRECTORY ${PROJECT_BINARY_DIR}/proto/grpc/health DESTINATION ${include_dir}/grpc COMPONENT client
        FILES_MATCHING PATTERN *.pb.h)
install(DIRECTORY ${PROJECT_SOURCE_DIR}/proto/logitd/v1 DESTINATION ${CMAKE_INSTALL_DATADIR}/logitd/proto/logitd
        COMPONENT client FILES_MATCHING PATTERN *.proto)

# logitd looks for the others beside itself.
foreach(program IN ITEMS logitd logit logitd-http logitd-llama)
  if(TARGET ${program})
    install(TARGETS ${program} RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT programs)
  endif()
endforeach()

configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/logitd-config.cmake.in
                              ${PROJECT_BINARY_DIR}/logitd-config.cmake INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/logitd-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/logitd-config.cmake ${PROJECT_BINARY_DIR}/logitd-config-version.cmake
        DESTINATION ${package_dir} COMPONENT client)
