# Writes a C++ source with the page's files in it: cmake -DOUT=FILE.cc -DFOLDER=FOLDER -DNAMES="a.html b.js" -P embed.cmake
#
# The source defines InspectorFiles() of client/http/inspector_files.h. An entity tag is a part of the content's SHA-256.
separate_arguments(NAMES)
set(types_html "text/html; charset=utf-8")
set(types_css "text/css; charset=utf-8")
set(types_js "text/javascript; charset=utf-8")
set(types_svg "image/svg+xml")

set(entries "")
foreach(name IN LISTS NAMES)
  string(REGEX MATCH "[a-z]+$" extension "${name}")
  if(NOT DEFINED types_${extension})
    message(FATAL_ERROR "embed.cmake knows no media type for ${name}")
  endif()
  file(READ "${FOLDER}/${name}" content)
  string(FIND "${content}" ")embedded\"" end_of_literal)
  if(NOT end_of_literal EQUAL -1)
    message(FATAL_ERROR "${name} must not have the characters that end a raw string")
  endif()
  # Of the file itself, because CMake's text of it may differ from it.
  file(SHA256 "${FOLDER}/${name}" hash)
  string(SHA256 hash_of_text "${content}")
  if(NOT hash STREQUAL hash_of_text)
    message(FATAL_ERROR "CMake cannot read ${name} without changing it")
  endif()
  string(SUBSTRING "${hash}" 0 16 tag)
  string(APPEND entries
         "    {R\"(${name})\", R\"(${types_${extension}})\", R\"(\"${tag}\")\",\n     R\"embedded(${content})embedded\"},\n")
endforeach()

set(source "// Written by embed.cmake.
#include \"client/http/inspector_files.h\"

namespace logitd::http {
namespace {

constexpr InspectorFile kFiles[] = {
${entries}};

}  // namespace

absl::Span<const InspectorFile> InspectorFiles() { return kFiles; }

}  // namespace logitd::http
")
file(WRITE "${OUT}" "${source}")
