// Finds the objects on pictures with a bundle, in C++ and ONNX Runtime alone.
//
//   detect BUNDLE PICTURE.ppm ...     pictures: binary PPM (P6, 8 bits), the simplest format that holds RGB pixels
//
// Prints one JSON document a picture: boxes x1 y1 x2 y2 in pixels of the picture, scores, classes.
#include <onnxruntime_cxx_api.h>

#include <cstdio>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "bundle.h"
#include "detect.h"

namespace {

Picture read_ppm(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string magic;
  long width = 0, height = 0, most = 0;
  file >> magic >> width >> height >> most;
  file.get();
  if (!file || magic != "P6" || most != 255 || width < 1 || height < 1 || width * height > 64'000'000) {
    throw std::runtime_error(path + ": not a binary PPM picture of 8 bits");
  }
  Picture picture{static_cast<int>(height), static_cast<int>(width), std::vector<std::uint8_t>(width * height * 3)};
  file.read(reinterpret_cast<char*>(picture.pixels.data()), static_cast<std::streamsize>(picture.pixels.size()));
  if (!file) throw std::runtime_error(path + ": the picture is truncated");
  for (std::size_t pixel = 0; pixel < picture.pixels.size(); pixel += 3) {
    std::swap(picture.pixels[pixel], picture.pixels[pixel + 2]);  // red green blue to blue green red
  }
  return picture;
}

class Detector {
 public:
  explicit Detector(const std::string& path) : bundle_(path), spec_(json::parse(bundle_.member("spec.json"))) {
    const json::Value& target = bundle_.manifest()["target"];
    if (spec_["schema"].number != 1 || spec_["task"].string != "detect") throw std::runtime_error("unknown spec.json");
    if (target["backend"].string != "onnxruntime") {
      throw std::runtime_error("the bundle is for the backend '" + target["backend"].string + "'");
    }
    Ort::SessionOptions options;
    options.SetIntraOpNumThreads(static_cast<int>(target["threads"].number));
    options.SetInterOpNumThreads(1);
    options.AddConfigEntry("session.x64quantprecision", "1");  // no overflow on an x86 CPU without VNNI
    const std::string model = bundle_.member("artifact/model.onnx");
    session_ = Ort::Session(environment_, model.data(), model.size(), options);
  }

  std::vector<Detection> predict(const Picture& picture) {
    const json::Value &letterbox = spec_["letterbox"], &input = spec_["input"];
    const Geometry at = fit(picture.height, picture.width, letterbox);
    const Picture frame = letterboxed(picture, at, letterbox);
    std::vector<Detection> found = input["dtype"].string == "uint8"
                                       ? infer(tensor_of<std::uint8_t>(frame, input), frame)
                                       : infer(tensor_of<float>(frame, input), frame);
    restore(found, at);
    return found;
  }

 private:
  template <typename Number>
  std::vector<Detection> infer(std::vector<Number> tensor, const Picture& frame) {
    const json::Value &input = spec_["input"], &output = spec_["output"];
    std::vector<std::int64_t> shape = {batch(), frame.height, frame.width, 3};
    if (input["layout"].string == "NCHW") shape = {batch(), 3, frame.height, frame.width};
    tensor.resize(tensor.size() * static_cast<std::size_t>(batch()));  // other places of a fixed batch stay black
    const auto memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
    std::vector<Ort::Value> fed;
    fed.push_back(Ort::Value::CreateTensor<Number>(memory, tensor.data(), tensor.size(), shape.data(), shape.size()));
    std::vector<const char*> inputs = {input["name"].string.c_str()};
    float conf = static_cast<float>(spec_["nms"]["conf"].number), iou = static_cast<float>(spec_["nms"]["iou"].number);
    auto most = static_cast<std::int64_t>(spec_["nms"]["max_det"].number);
    if (spec_.has("parameters")) {  // thresholds are inputs: give your own, up to max_det
      const std::int64_t one = 1;
      for (const char* name : {"conf", "iou", "max_det"}) inputs.push_back(name);
      fed.push_back(Ort::Value::CreateTensor<float>(memory, &conf, 1, &one, 1));
      fed.push_back(Ort::Value::CreateTensor<float>(memory, &iou, 1, &one, 1));
      fed.push_back(Ort::Value::CreateTensor<std::int64_t>(memory, &most, 1, &one, 1));
    }
    std::vector<const char*> names = {output["name"].string.c_str()};
    const bool whole = output["decode"].string == "suppressed";
    for (const char* key : {"scores", "classes", "counts"}) {
      if (whole) names.push_back(output[key].string.c_str());
    }
    const std::vector<Ort::Value> results =
        session_.Run(Ort::RunOptions{nullptr}, inputs.data(), fed.data(), fed.size(), names.data(), names.size());

    const std::vector<std::int64_t> given = results[0].GetTensorTypeAndShapeInfo().GetShape();
    const float* numbers = results[0].GetTensorData<float>();  // the first picture of the batch
    if (given.size() != 3) throw std::runtime_error("the output has not three axes");
    const auto lines = static_cast<std::size_t>(given[1]), columns = static_cast<std::size_t>(given[2]);
    const std::size_t classes = spec_["names"].array.size();
    if (whole) {
      const std::int64_t count = *results[3].GetTensorData<std::int64_t>();
      if (columns != 4 || count < 0 || count > given[1]) throw std::runtime_error("unknown output");
      return read_suppressed(
          numbers, results[1].GetTensorData<float>(), results[2].GetTensorData<std::int64_t>(), count, classes);
    }
    if (output["decode"].string == "end2end" && columns == 6) return decode_rows(numbers, lines, classes, spec_["nms"]);
    if (output["decode"].string != "yolo" || lines != 4 + classes) throw std::runtime_error("unknown output");
    return suppressed(decode_anchors(numbers, classes, columns, spec_["nms"]), spec_["nms"]);
  }

  // Pictures of one run: as the model was built, or where it may change, the fewest.
  std::int64_t batch() const {
    const json::Value& input = spec_["input"];
    const double fixed = input["shape"].at(0).number;
    if (fixed > 0) return static_cast<std::int64_t>(fixed);
    return input.has("profile") ? static_cast<std::int64_t>(input["profile"]["min"].at(0).number) : 1;
  }

  Bundle bundle_;
  json::Value spec_;
  Ort::Env environment_{ORT_LOGGING_LEVEL_ERROR, "detect"};
  Ort::Session session_{nullptr};
};

void print(const std::vector<Detection>& found) {
  const auto joined = [&](auto text_of) {
    std::string all;
    for (const Detection& box : found) all += (all.empty() ? "" : ", ") + text_of(box);
    return all;
  };
  const auto number = [](double value) {
    char text[32];
    std::snprintf(text, sizeof text, "%.6f", value);
    return std::string(text);
  };
  const std::string boxes = joined([&](const Detection& box) {
    return "[" + number(box.x1) + ", " + number(box.y1) + ", " + number(box.x2) + ", " + number(box.y2) + "]";
  });
  const std::string scores = joined([&](const Detection& box) { return number(box.score); });
  const std::string classes = joined([](const Detection& box) { return std::to_string(box.class_id); });
  std::printf("{\"boxes\": [%s], \"scores\": [%s], \"classes\": [%s]}\n", boxes.c_str(), scores.c_str(), classes.c_str());
}

}  // namespace

int main(int count, char** words) {
  if (count < 3) {
    std::fprintf(stderr, "usage: detect BUNDLE PICTURE.ppm ...\n");
    return 2;
  }
  try {
    Detector detector(words[1]);
    for (int index = 2; index < count; ++index) print(detector.predict(read_ppm(words[index])));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "detect: %s\n", error.what());
    return 7;
  }
  return 0;
}
