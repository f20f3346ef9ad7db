// Renders conversations with one template, for tests/e2e/chat_template_test.py.
//
//   chat_template_probe FILE BOS_TOKEN EOS_TOKEN <CHATS
//
// Standard input has one logitd.v1.Chat in protobuf's JSON a line. For each of them a line of JSON comes back: {"text":
// ..., "written": [[begin, end], ...]} with ranges of bytes, or {"error": ...}. The first line is {"wants_parts": ...},
// or
// {"error": ...} if the template is not understood.
#include <google/protobuf/util/json_util.h>

#include <cstdio>
#include <ctime>
#include <fstream>
#include <iostream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>

#include "client/runner/llama/chat_template.h"
#include "logitd/v1/chat.pb.h"

int main(int argc, char** argv) {
  if (argc != 4) {
    std::fprintf(stderr, "usage: chat_template_probe FILE BOS_TOKEN EOS_TOKEN\n");
    return 2;
  }
  std::ifstream file(argv[1], std::ios::binary);
  const std::string source(std::istreambuf_iterator<char>(file), {});
  const auto chat_template = logitd::runner::ChatTemplate::Parse(source, argv[2], argv[3]);
  if (!chat_template.ok()) {
    std::cout << nlohmann::json{{"error", std::string(chat_template.status().message())}} << std::endl;
    return 0;
  }
  std::cout << nlohmann::json{{"wants_parts", chat_template->wants_parts()}} << std::endl;
  const std::time_t now = std::time(nullptr);
  std::string line;
  while (std::getline(std::cin, line)) {
    logitd::v1::Chat chat;
    const auto parsed = google::protobuf::util::JsonStringToMessage(line, &chat);
    if (!parsed.ok()) {
      std::fprintf(stderr, "chat_template_probe: %s\n", std::string(parsed.message()).c_str());
      return 1;
    }
    const auto text = chat_template->Render(chat, now);
    if (!text.ok()) {
      std::cout << nlohmann::json{{"error", std::string(text.status().message())}} << std::endl;
      continue;
    }
    nlohmann::json written = nlohmann::json::array();
    for (const auto& span : text->written) written.push_back({span.begin, span.end});
    std::cout << nlohmann::json{{"text", text->text}, {"written", written}} << std::endl;
  }
}
