// What examples/cpp uses of ONNX Runtime's C++ API, declared over the library's own table of functions.
//
// The wheel of ONNX Runtime brings the library and no headers. The places of functions in that table never change: new
// ones are only added behind. So the example can be compiled, and run with the real library, where the official header
// is not installed; tests/runtime/test_cpp_example.py takes the official one where it is, and compares these places with it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

enum OrtLoggingLevel { ORT_LOGGING_LEVEL_ERROR = 3 };
enum OrtAllocatorType { OrtArenaAllocator = 1 };
enum OrtMemType { OrtMemTypeDefault = 0 };

namespace places {
enum Place : std::size_t {
  GetErrorMessage = 2, CreateEnv = 3, CreateSessionFromArray = 8, Run = 9, CreateSessionOptions = 10,
  SetIntraOpNumThreads = 24, SetInterOpNumThreads = 25, CreateTensorWithDataAsOrtValue = 49, GetTensorMutableData = 51,
  GetDimensionsCount = 61, GetDimensions = 62, GetTensorTypeAndShape = 65, CreateCpuMemoryInfo = 69, ReleaseEnv = 92,
  ReleaseStatus = 93, ReleaseMemoryInfo = 94, ReleaseSession = 95, ReleaseValue = 96,
  ReleaseTensorTypeAndShapeInfo = 99, ReleaseSessionOptions = 100, AddSessionConfigEntry = 130
};
}

struct OrtApiBase {
  void* const* (*GetApi)(std::uint32_t version);
  const char* (*GetVersionString)();
};
extern "C" const OrtApiBase* OrtGetApiBase();

namespace Ort {

template <typename Result, typename... Arguments>
Result called(places::Place place, Arguments... arguments) {
  static void* const* const table = OrtGetApiBase()->GetApi(14);
  return reinterpret_cast<Result (*)(Arguments...)>(table[place])(arguments...);
}

template <typename... Arguments>
void checked(places::Place place, Arguments... arguments) {
  if (void* status = called<void*>(place, arguments...)) {
    const std::string message = called<const char*, const void*>(places::GetErrorMessage, status);
    called<void>(places::ReleaseStatus, status);
    throw std::runtime_error(message);
  }
}

template <places::Place Release>
class Handle {
 public:
  explicit Handle(std::nullptr_t = nullptr) {}
  Handle(Handle&& other) noexcept : held(std::exchange(other.held, nullptr)) {}
  Handle& operator=(Handle&& other) noexcept {
    std::swap(held, other.held);
    return *this;
  }
  ~Handle() {
    if (held) called<void>(Release, held);
  }
  void* held = nullptr;
};

struct RunOptions {
  explicit RunOptions(std::nullptr_t) {}
};

struct Env : Handle<places::ReleaseEnv> {
  Env(OrtLoggingLevel level, const char* name) { checked(places::CreateEnv, int{level}, name, &held); }
};

struct SessionOptions : Handle<places::ReleaseSessionOptions> {
  SessionOptions() { checked(places::CreateSessionOptions, &held); }
  void SetIntraOpNumThreads(int count) { checked(places::SetIntraOpNumThreads, held, count); }
  void SetInterOpNumThreads(int count) { checked(places::SetInterOpNumThreads, held, count); }
  void AddConfigEntry(const char* key, const char* value) { checked(places::AddSessionConfigEntry, held, key, value); }
};

struct MemoryInfo : Handle<places::ReleaseMemoryInfo> {
  static MemoryInfo CreateCpu(OrtAllocatorType allocator, OrtMemType type) {
    MemoryInfo info;
    checked(places::CreateCpuMemoryInfo, int{allocator}, int{type}, &info.held);
    return info;
  }
};

struct TensorTypeAndShapeInfo : Handle<places::ReleaseTensorTypeAndShapeInfo> {
  std::vector<std::int64_t> GetShape() const {
    std::size_t axes = 0;
    checked(places::GetDimensionsCount, held, &axes);
    std::vector<std::int64_t> shape(axes);
    checked(places::GetDimensions, held, shape.data(), axes);
    return shape;
  }
};

template <typename Number>
struct ElementType;
template <>
struct ElementType<float> {
  static constexpr int value = 1;
};
template <>
struct ElementType<std::uint8_t> {
  static constexpr int value = 2;
};
template <>
struct ElementType<std::int64_t> {
  static constexpr int value = 7;
};

struct Value : Handle<places::ReleaseValue> {
  template <typename Number>
  static Value CreateTensor(
      const MemoryInfo& memory, Number* data, std::size_t count, const std::int64_t* shape, std::size_t axes) {
    Value value;
    checked(places::CreateTensorWithDataAsOrtValue, memory.held, static_cast<void*>(data), count * sizeof(Number), shape,
            axes, int{ElementType<Number>::value}, &value.held);
    return value;
  }
  TensorTypeAndShapeInfo GetTensorTypeAndShapeInfo() const {
    TensorTypeAndShapeInfo info;
    checked(places::GetTensorTypeAndShape, held, &info.held);
    return info;
  }
  template <typename Number>
  const Number* GetTensorData() const {
    void* data = nullptr;
    checked(places::GetTensorMutableData, held, &data);
    return static_cast<const Number*>(data);
  }
};

struct Session : Handle<places::ReleaseSession> {
  explicit Session(std::nullptr_t) {}
  Session(const Env& environment, const void* model, std::size_t size, const SessionOptions& options) {
    checked(places::CreateSessionFromArray, environment.held, model, size, options.held, &held);
  }
  std::vector<Value> Run(const RunOptions&, const char* const* inputs, const Value* fed, std::size_t input_count,
                         const char* const* outputs, std::size_t output_count) {
    std::vector<void*> given(output_count, nullptr), values;
    for (std::size_t index = 0; index < input_count; ++index) values.push_back(fed[index].held);
    checked(places::Run, held, static_cast<void*>(nullptr), inputs, static_cast<void* const*>(values.data()),
            input_count, outputs, output_count, given.data());
    std::vector<Value> results(output_count);
    for (std::size_t index = 0; index < output_count; ++index) results[index].held = given[index];
    return results;
  }
};

}  // namespace Ort
