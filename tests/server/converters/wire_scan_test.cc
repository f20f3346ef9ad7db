// ScanWire against protobuf: what it counts is what is there by reflection, and what it says that a message costs is
// what protobuf says that it takes.
#include "server/converters/wire_scan.h"

#include <gmock/gmock.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <gtest/gtest.h>

#include <random>
#include <string>

#include "core/errors.h"
#include "logitd/v1/decoding_service.pb.h"
#include "logitd/v1/generation_service.pb.h"
#include "logitd/v1/model_runner_service.pb.h"
#include "logitd/v1/model_service.pb.h"
#include "logitd/v1/scoring_service.pb.h"
#include "logitd/v1/server_service.pb.h"

namespace logitd::server {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

// Every message that anybody sends to the server.
std::vector<const Message*> Requests() {
  return {&v1::DecodeRequest::default_instance(),     &v1::ComputeDistributionRequest::default_instance(),
          &v1::GenerateRequest::default_instance(),   &v1::ScoreRequest::default_instance(),
          &v1::RankRequest::default_instance(),       &v1::ScoreLogitsRequest::default_instance(),
          &v1::ListModelsRequest::default_instance(), &v1::TokenizeRequest::default_instance(),
          &v1::DetokenizeRequest::default_instance(), &v1::GetServerInfoRequest::default_instance(),
          &v1::AttachRequest::default_instance()};
}

// In pieces of `piece_size`: fields lie across their ends.
absl::StatusOr<WireCost> Scan(const std::string& bytes, const Descriptor& type, int piece_size = -1) {
  google::protobuf::io::ArrayInputStream stream(bytes.data(), static_cast<int>(bytes.size()), piece_size);
  return ScanWire(stream, static_cast<int64_t>(bytes.size()), WireShape::Of(type));
}

// Sets fields at random, with values that the server knows.
void Fill(Message& message, std::mt19937& random, int depth = 0) {
  const Reflection& reflection = *message.GetReflection();
  const Descriptor& type = *message.GetDescriptor();
  for (int i = 0; i < type.field_count(); ++i) {
    const FieldDescriptor* field = type.field(i);
    if (random() % 3 == 0) continue;
    const unsigned most = depth < 2 ? 6 : 3;
    unsigned count = field->is_repeated() ? random() % most : 1;
    if (field->is_repeated() && random() % 8 == 0) count = random() % 300;
    for (unsigned k = 0; k < count; ++k) {
      const std::string text(random() % 4 == 0 ? random() % 3000 : random() % 20, 'x');
      const bool list = field->is_repeated();
      switch (field->cpp_type()) {
        case FieldDescriptor::CPPTYPE_MESSAGE:
          Fill(list ? *reflection.AddMessage(&message, field) : *reflection.MutableMessage(&message, field), random,
               depth + 1);
          break;
        case FieldDescriptor::CPPTYPE_STRING:
          list ? reflection.AddString(&message, field, text) : reflection.SetString(&message, field, text);
          break;
        case FieldDescriptor::CPPTYPE_ENUM: {
          const auto& values = *field->enum_type();
          const int value =
              values.value(static_cast<int>(random() % static_cast<unsigned>(values.value_count())))->number();
          list ? reflection.AddEnumValue(&message, field, value) : reflection.SetEnumValue(&message, field, value);
          break;
        }
        case FieldDescriptor::CPPTYPE_INT32: {
          const auto value = static_cast<int32_t>(random() >> random() % 32);
          list ? reflection.AddInt32(&message, field, value) : reflection.SetInt32(&message, field, value);
          break;
        }
        case FieldDescriptor::CPPTYPE_INT64:
          list ? reflection.AddInt64(&message, field, random()) : reflection.SetInt64(&message, field, random());
          break;
        case FieldDescriptor::CPPTYPE_UINT64:
          list ? reflection.AddUInt64(&message, field, random()) : reflection.SetUInt64(&message, field, random());
          break;
        case FieldDescriptor::CPPTYPE_DOUBLE:
          list ? reflection.AddDouble(&message, field, 0.5) : reflection.SetDouble(&message, field, 0.5);
          break;
        case FieldDescriptor::CPPTYPE_FLOAT:
          list ? reflection.AddFloat(&message, field, 0.5) : reflection.SetFloat(&message, field, 0.5);
          break;
        case FieldDescriptor::CPPTYPE_BOOL:
          list ? reflection.AddBool(&message, field, true) : reflection.SetBool(&message, field, true);
          break;
        default:
          FAIL() << field->full_name() << " is of a type that this test does not make";
      }
    }
  }
}

// Submessages, and texts in lists.
int64_t Elements(const Message& message) {
  const Reflection& reflection = *message.GetReflection();
  std::vector<const FieldDescriptor*> fields;
  reflection.ListFields(message, &fields);
  int64_t count = 0;
  for (const FieldDescriptor* field : fields) {
    const int size = field->is_repeated() ? reflection.FieldSize(message, field) : 1;
    if (field->cpp_type() == FieldDescriptor::CPPTYPE_STRING && field->is_repeated()) count += size;
    if (field->cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE) continue;
    for (int i = 0; i < size; ++i) {
      count += 1 + Elements(field->is_repeated() ? reflection.GetRepeatedMessage(message, field, i)
                                                 : reflection.GetMessage(message, field));
    }
  }
  return count;
}

TEST(WireScanTest, CountsWhatProtobufMakes) {
  std::mt19937 random(20);
  int64_t largest = 0;
  for (const Message* type : Requests()) {
    SCOPED_TRACE(type->GetTypeName());
    const std::unique_ptr<Message> made(type->New());
    for (int i = 0; i < 300; ++i) {
      made->Clear();
      Fill(*made, random);
      const std::string bytes = made->SerializeAsString();
      const auto cost = Scan(bytes, *type->GetDescriptor(), i % 3 == 0 ? -1 : 1 + i % 50);
      ASSERT_TRUE(cost.ok()) << cost.status();
      EXPECT_EQ(cost->element_count, Elements(*made));
      // A new one each time, so that it has no room left from the last.
      const std::unique_ptr<Message> fresh(type->New());
      ASSERT_TRUE(fresh->ParseFromString(bytes));
      const auto own = static_cast<int64_t>(type->SpaceUsedLong());
      const auto taken = static_cast<int64_t>(fresh->SpaceUsedLong()) - own;
      EXPECT_GE(cost->memory_bytes, taken);
      EXPECT_LE(cost->memory_bytes, 4 * taken + 100) << "too much is refused";
      largest = std::max(largest, taken);
    }
  }
  EXPECT_GT(largest, 100'000);
}

// A list of numbers may come one by one, packed, or in several pieces.
TEST(WireScanTest, CountsNumbersHoweverTheyAreWritten) {
  const Descriptor& type = *v1::TokenIds::descriptor();
  const std::string one_by_one("\x08\x01\x08\x80\x01\x08\x05", 7);
  const std::string packed("\x0a\x04\x01\x80\x01\x05", 6);
  const std::string pieces("\x0a\x03\x01\x80\x01\x08\x05", 7);
  for (const std::string& bytes : {one_by_one, packed, pieces}) {
    v1::TokenIds parsed;
    ASSERT_TRUE(parsed.ParseFromString(bytes));
    ASSERT_THAT(parsed.token_ids(), ::testing::ElementsAre(1, 128, 5));
    for (const int piece_size : {-1, 1, 2}) {
      const auto cost = Scan(bytes, type, piece_size);
      ASSERT_TRUE(cost.ok()) << cost.status();
      // The list's first allocation, and three numbers of 4 bytes, three times.
      EXPECT_EQ(cost->memory_bytes, 64 + 3 * 4 * 3);
    }
  }
}

// What is unknown in a hello is left out, at any depth, and costs what protobuf keeps of it.
TEST(WireScanTest, CountsWhatIsUnknownInAHello) {
  std::mt19937 random(12);
  const std::string fixed[] = {std::string("\xa0\x06\x05"), std::string("\xa5\x06") + "1234",
                               std::string("\xa1\x06") + "12345678", std::string("\xa2\x06\x03") + "abc"};
  for (int i = 0; i < 200; ++i) {
    const auto unknown = [&] {
      std::string bytes;
      for (unsigned k = random() % 50; k > 0; --k) bytes += fixed[random() % 4];
      if (random() % 2 == 0) bytes += "\xa2\x06\xc8\x01" + std::string(200, 'x');
      return bytes;
    };
    v1::AttachRequest request;
    v1::RunnerHello& hello = *request.mutable_hello();
    // The outer one first: parsing clears.
    ASSERT_TRUE(hello.ParseFromString(unknown()));
    ASSERT_TRUE(hello.mutable_model()->ParseFromString(unknown()));
    ASSERT_TRUE(hello.mutable_capabilities()->ParseFromString(unknown()));
    ASSERT_TRUE(hello.mutable_capacity()->ParseFromString(unknown()));
    hello.mutable_capabilities()->add_dtypes(static_cast<v1::LogitsDtype>(77));
    const std::string bytes = request.SerializeAsString();
    const auto cost = Scan(bytes, *v1::AttachRequest::descriptor(), i % 3 == 0 ? -1 : 1 + i % 50);
    ASSERT_TRUE(cost.ok()) << cost.status();
    v1::AttachRequest fresh;
    ASSERT_TRUE(fresh.ParseFromString(bytes));
    EXPECT_GE(cost->memory_bytes, static_cast<int64_t>(fresh.SpaceUsedLong() - v1::AttachRequest().SpaceUsedLong()));
  }
  // The same messages are not open elsewhere.
  EXPECT_FALSE(Scan(fixed[0], *v1::ModelInfo::descriptor()).ok());
}

struct Refused {
  std::string name;
  std::string bytes;
  ErrorReason reason;
  std::string field;
  std::string message;
};

TEST(WireScanTest, NamesWhatItRefuses) {
  const auto len = [](char tag, const std::string& inner) {
    return std::string(1, tag) + static_cast<char>(inner.size()) + inner;
  };
  // ScoreRequest: items = 2, record = 3 {layout = 10}, sampling = 4 {stage_order = 23 {stages = 2}}.
  const std::vector<Refused> cases = {
      {"unknown at the top", "\xf8\x01\x01", ErrorReason::kUnknownField, "request", "31"},
      {"unknown below", len('\x12', "") + len('\x12', len('\x12', std::string("\x38\x01"))), ErrorReason::kUnknownField,
       "items[1].context", "7"},
      {"known, as another type", std::string("\x10\x01"), ErrorReason::kUnknownField, "request", "2"},
      {"a number as a text", len('\x1a', len('\x0a', "x")), ErrorReason::kUnknownField, "record", "1"},
      {"a group", std::string("\x0b\x0c"), ErrorReason::kUnknownField, "request", "1"},
      {"a group of an unknown field", std::string("\x7b\x7c"), ErrorReason::kUnknownField, "request", "15"},
      {"an unknown text", std::string("\x7a\x00", 2), ErrorReason::kUnknownField, "request", "15"},
      {"an unknown enum value", len('\x1a', std::string("\x50\x63")), ErrorReason::kUnknownEnumValue, "record.layout",
       "99"},
      {"a packed unknown enum value", len('\x22', std::string("\xba\x01\x04\x12\x02\x01\x63")),
       ErrorReason::kUnknownEnumValue, "sampling.stage_order.stages[1]", "99"},
      {"the end of a group", std::string("\x0c"), ErrorReason::kMalformedMessage, "", "the message is not a ScoreReq"},
      {"wire type 6", std::string("\x0e"), ErrorReason::kMalformedMessage, "", ""},
      {"field 0", std::string("\x02\x00", 2), ErrorReason::kMalformedMessage, "", ""},
      {"a tag of zero", std::string("\0", 1), ErrorReason::kMalformedMessage, "", ""},
      {"cut in a length", std::string("\x12\x80"), ErrorReason::kMalformedMessage, "", ""},
      {"cut in a submessage", std::string("\x12\x05\x0a"), ErrorReason::kMalformedMessage, "", ""},
      {"a submessage beyond its parent", std::string("\x12\x02\x0a\x05") + "abcdef", ErrorReason::kMalformedMessage, "",
       ""},
      {"a length of 2^31", std::string("\x12\x80\x80\x80\x80\x08"), ErrorReason::kMalformedMessage, "", ""},
      {"a varint without end", "\x30" + std::string(11, '\x80'), ErrorReason::kMalformedMessage, "", ""},
  };
  for (const Refused& refused : cases) {
    SCOPED_TRACE(refused.name);
    for (const int piece_size : {-1, 1, 3}) {
      const auto cost = Scan(refused.bytes, *v1::ScoreRequest::descriptor(), piece_size);
      ASSERT_FALSE(cost.ok());
      const ErrorDetail detail = DetailOf(cost.status());
      EXPECT_EQ(detail.reason, refused.reason) << detail.message;
      EXPECT_EQ(detail.field, refused.field);
      EXPECT_THAT(detail.message, ::testing::HasSubstr(refused.message));
    }
  }
}

// A packed list that ends within a number.
TEST(WireScanTest, RefusesHalfANumber) {
  EXPECT_FALSE(Scan(std::string("\x0a\x01\x80"), *v1::TokenIds::descriptor()).ok());
  v1::LogitsBlock block;
  block.add_linear_max(1);
  std::string bytes = block.SerializeAsString();
  bytes[1] = 3;
  bytes.pop_back();
  EXPECT_FALSE(Scan(bytes, *v1::LogitsBlock::descriptor()).ok());
}

std::string Times(int64_t count, const std::string& bytes) {
  std::string all;
  all.reserve(static_cast<size_t>(count) * bytes.size());
  for (int64_t i = 0; i < count; ++i) all += bytes;
  return all;
}

TEST(WireScanTest, BoundsElementsAndMemory) {
  const Descriptor& score = *v1::ScoreRequest::descriptor();
  const std::string item("\x12\x00", 2);
  const auto most = Scan(Times(kMaxMessageElements, item), score);
  ASSERT_TRUE(most.ok()) << most.status();
  EXPECT_EQ(most->element_count, kMaxMessageElements);
  const ErrorDetail elements = DetailOf(Scan(Times(kMaxMessageElements + 1, item), score).status());
  EXPECT_EQ(elements.reason, ErrorReason::kLimitExceeded);
  EXPECT_EQ(elements.limit, "max_message_elements");
  EXPECT_EQ(elements.message, "request must be a message of at most 262144 submessages and texts in lists, got 262145");

  // 48 MiB of ids of one byte would be 576 MiB while the list grows.
  const int64_t count = int64_t{48} << 20;
  std::string packed("\x0a\x80\x80\x80\x18", 5);
  packed.append(static_cast<size_t>(count), '\1');
  const ErrorDetail memory = DetailOf(Scan(packed, *v1::TokenIds::descriptor()).status());
  EXPECT_EQ(memory.reason, ErrorReason::kLimitExceeded);
  EXPECT_EQ(memory.limit, "max_message_bytes");
  EXPECT_EQ(memory.value, std::to_string(64 + count * 12));

  // The largest rows are no more than themselves, and what protobuf needs to make a text of above 50 MB.
  v1::DecodeRequest rows;
  rows.set_payload(std::string(static_cast<size_t>(kMaxMessageBytes) - 100, '\0'));
  const auto cost = Scan(rows.SerializeAsString(), *v1::DecodeRequest::descriptor(), 64 << 10);
  ASSERT_TRUE(cost.ok()) << cost.status();
  EXPECT_LT(cost->memory_bytes, kMaxMessageBytes + 51'000'000);
}

}  // namespace
}  // namespace logitd::server
