// From pixels to the model's input, and from its raw output to boxes: docs/bundle-format.md, "Before the model" and
// "Behind the model", rule by rule. All arithmetic is in the precision that is written there.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <stdexcept>
#include <string>
#include <vector>

#include "json.h"

struct Picture {  // 8 bits, rows without padding, three channels in the order blue, green, red
  int height = 0, width = 0;
  std::vector<std::uint8_t> pixels;
};

struct Geometry {  // where a picture stands in the frame
  int source_height, source_width, height, width, top, left;
};

struct Detection {
  float x1, y1, x2, y2, score;
  int class_id;
};

inline int round_half_to_even(double value) { return static_cast<int>(std::nearbyint(value)); }

inline Geometry fit(int source_height, int source_width, const json::Value& letterbox) {
  const double frame_height = letterbox["size"].at(0).number, frame_width = letterbox["size"].at(1).number;
  const std::string resize = letterbox.has("resize") ? letterbox["resize"].string : "letterbox";
  if (resize == "stretch") {
    return {source_height, source_width, static_cast<int>(frame_height), static_cast<int>(frame_width), 0, 0};
  }
  if (resize != "letterbox") throw std::runtime_error("this example does not cut pictures");
  double ratio = std::min(frame_height / source_height, frame_width / source_width);
  if (!letterbox["scale_up"].boolean) ratio = std::min(ratio, 1.0);
  const int height = std::max(round_half_to_even(source_height * ratio), 1);
  const int width = std::max(round_half_to_even(source_width * ratio), 1);
  const bool center = letterbox["center"].boolean;
  const int top = center ? round_half_to_even((frame_height - height) / 2 - 0.1) : 0;
  const int left = center ? round_half_to_even((frame_width - width) / 2 - 0.1) : 0;
  return {source_height, source_width, height, width, top, left};
}

// Bilinear scaling in fixed point with 11 bits, as OpenCV's INTER_LINEAR computes it for 8-bit pictures.
class Scaling {
 public:
  static Picture scaled(const Picture& from, int height, int width) {
    if (from.height == height && from.width == width) return from;
    if (from.height == 2 * height && from.width == 2 * width) return halved(from);
    const std::vector<Tap> columns = taps(from.width, width, true), rows = taps(from.height, height, false);
    Picture to{height, width, std::vector<std::uint8_t>(std::size_t(height) * width * 3)};
    for (int y = 0; y < height; ++y) {
      const int above = std::clamp(rows[y].at, 0, from.height - 1), below = std::clamp(rows[y].at + 1, 0, from.height - 1);
      for (int x = 0; x < width; ++x) {
        for (int channel = 0; channel < 3; ++channel) {
          const int upper = across(from, above, columns[x], channel), lower = across(from, below, columns[x], channel);
          const int sum = (rows[y].first * (upper >> 4) >> 16) + (rows[y].second * (lower >> 4) >> 16);
          to.pixels[(std::size_t(y) * width + x) * 3 + channel] = static_cast<std::uint8_t>((sum + 2) >> 2);
        }
      }
    }
    return to;
  }

 private:
  struct Tap {
    int at, first, second;  // weights of the pixels `at` and `at + 1`, of 2048
  };

  static std::vector<Tap> taps(int from, int to, bool clamped) {
    const double scale = 1.0 / (static_cast<double>(to) / from);
    std::vector<Tap> found;
    for (int index = 0; index < to; ++index) {
      float fraction = static_cast<float>((index + 0.5) * scale - 0.5);
      int at = static_cast<int>(std::floor(fraction));
      fraction -= static_cast<float>(at);
      if (clamped && (at < 0 || at >= from - 1)) {
        at = at < 0 ? 0 : from - 1;
        fraction = 0;
      }
      found.push_back({at, round_half_to_even((1.f - fraction) * 2048.f), round_half_to_even(fraction * 2048.f)});
    }
    return found;
  }

  static int across(const Picture& from, int row, const Tap& tap, int channel) {
    const std::uint8_t* line = &from.pixels[std::size_t(row) * from.width * 3];
    const int next = std::min(tap.at + 1, from.width - 1);
    return line[tap.at * 3 + channel] * tap.first + line[next * 3 + channel] * tap.second;
  }

  static Picture halved(const Picture& from) {
    Picture to{from.height / 2, from.width / 2, {}};
    const std::size_t line = std::size_t(from.width) * 3;
    for (int y = 0; y < to.height; ++y) {
      for (int x = 0; x < to.width * 3; ++x) {
        const std::size_t at = 2 * y * line + (x / 3 * 6 + x % 3);
        const int sum = from.pixels[at] + from.pixels[at + 3] + from.pixels[at + line] + from.pixels[at + line + 3];
        to.pixels.push_back(static_cast<std::uint8_t>((sum + 2) >> 2));
      }
    }
    return to;
  }
};

inline Picture letterboxed(const Picture& picture, const Geometry& at, const json::Value& letterbox) {
  if (letterbox["interpolation"].string != "linear") throw std::runtime_error("this example scales linearly only");
  const int height = static_cast<int>(letterbox["size"].at(0).number), width = static_cast<int>(letterbox["size"].at(1).number);
  const auto fill = static_cast<std::uint8_t>(letterbox["fill"].number);
  Picture frame{height, width, std::vector<std::uint8_t>(std::size_t(height) * width * 3, fill)};
  const Picture inside = Scaling::scaled(picture, at.height, at.width);
  for (int y = 0; y < at.height; ++y) {
    const auto row = inside.pixels.begin() + std::ptrdiff_t(y) * at.width * 3;
    std::copy(row, row + at.width * 3, frame.pixels.begin() + (std::ptrdiff_t(at.top + y) * width + at.left) * 3);
  }
  return frame;
}

// The numbers of one picture in the layout and colour order of the model: `Number` is float or std::uint8_t.
template <typename Number>
std::vector<Number> tensor_of(const Picture& frame, const json::Value& input) {
  const bool planes = input["layout"].string == "NCHW", reversed = input["color"].string == "RGB";
  if (!reversed && input["color"].string != "BGR") throw std::runtime_error("this example takes colour pictures only");
  const std::size_t area = std::size_t(frame.height) * frame.width;
  std::vector<Number> tensor(area * 3);
  for (std::size_t channel = 0; channel < 3; ++channel) {
    const double scale = input["scale"].number, mean = input["mean"].at(channel).number, std = input["std"].at(channel).number;
    Number table[256];
    for (int value = 0; value < 256; ++value) table[value] = static_cast<Number>((value * scale - mean) / std);
    for (std::size_t pixel = 0; pixel < area; ++pixel) {
      const std::uint8_t value = frame.pixels[pixel * 3 + (reversed ? 2 - channel : channel)];
      tensor[planes ? channel * area + pixel : pixel * 3 + channel] = table[value];
    }
  }
  return tensor;
}

// What no detection model gives is an error, not a detection. A comparison with a NaN is false.
inline void require_score(float score) {
  if (!(score >= -0.01f && score <= 1.01f)) throw std::runtime_error("the output holds a score outside of 0..1");
}

inline void require_box(const Detection& box) {
  for (const float corner : {box.x1, box.y1, box.x2, box.y2}) {
    if (!(std::abs(corner) <= 1e6f)) throw std::runtime_error("the output holds a box that is none");
  }
}

// "end2end": rows x1 y1 x2 y2 score class; the model has done the suppression.
inline std::vector<Detection> decode_rows(
    const float* output, std::size_t rows, std::size_t classes, const json::Value& nms) {
  for (std::size_t row = 0; row < rows; ++row) require_score(output[row * 6 + 4]);
  std::vector<Detection> found;
  for (std::size_t row = 0; row < rows && found.size() < nms["max_det"].number; ++row) {
    const float* at = output + row * 6;
    if (at[4] <= static_cast<float>(nms["conf"].number)) continue;
    if (!(at[5] >= 0 && at[5] < static_cast<float>(classes))) throw std::runtime_error("the output holds no class");
    found.push_back({at[0], at[1], at[2], at[3], at[4], static_cast<int>(at[5])});
    require_box(found.back());
  }
  return found;
}

// "suppressed": the model has done all of it; the first `count` places of each output hold the objects, best first.
inline std::vector<Detection> read_suppressed(
    const float* boxes, const float* scores, const std::int64_t* numbers, std::int64_t count, std::size_t classes) {
  std::vector<Detection> found;
  for (std::int64_t place = 0; place < count; ++place) {
    const float* at = boxes + place * 4;
    require_score(scores[place]);
    if (numbers[place] < 0 || numbers[place] >= static_cast<std::int64_t>(classes)) {
      throw std::runtime_error("the output holds no class");
    }
    found.push_back({at[0], at[1], at[2], at[3], scores[place], static_cast<int>(numbers[place])});
    require_box(found.back());
  }
  return found;
}

// "yolo": 4 + classes lines of `anchors` numbers each: centre x, centre y, width, height, then a score for each class.
inline std::vector<Detection> decode_anchors(
    const float* output, std::size_t classes, std::size_t anchors, const json::Value& nms) {
  std::vector<Detection> candidates;
  for (std::size_t anchor = 0; anchor < anchors; ++anchor) {
    std::size_t best = 0;
    const auto score = [&](std::size_t number) { return output[(4 + number) * anchors + anchor]; };
    for (std::size_t number = 1; number < classes; ++number) {
      if (std::isnan(score(number)) || score(number) > score(best)) best = number;  // the first of equal ones
    }
    require_score(score(best));
    if (score(best) <= static_cast<float>(nms["conf"].number)) continue;
    const float x = output[anchor], y = output[anchors + anchor];
    const float half_width = output[2 * anchors + anchor] / 2, half_height = output[3 * anchors + anchor] / 2;
    candidates.push_back(
        {x - half_width, y - half_height, x + half_width, y + half_height, score(best), static_cast<int>(best)});
  }
  std::stable_sort(candidates.begin(), candidates.end(),
                   [](const Detection& one, const Detection& two) { return one.score > two.score; });
  if (candidates.size() > 30000) candidates.resize(30000);
  return candidates;
}

// Greedy suppression of candidates that are sorted by score. Boxes of different classes are moved apart, not skipped:
// that is the arithmetic of which the golden detections are the result.
inline std::vector<Detection> suppressed(const std::vector<Detection>& candidates, const json::Value& nms) {
  const auto limit = static_cast<float>(nms["iou"].number);
  std::vector<Detection> moved = candidates;
  if (!nms["class_agnostic"].boolean) {
    for (Detection& box : moved) {
      const auto offset = static_cast<float>(box.class_id * 7680);
      box.x1 += offset, box.y1 += offset, box.x2 += offset, box.y2 += offset;
    }
  }
  const auto area = [](const Detection& box) { return (box.x2 - box.x1) * (box.y2 - box.y1); };
  std::vector<std::size_t> kept;
  for (std::size_t index = 0; index < moved.size() && kept.size() < nms["max_det"].number; ++index) {
    const Detection& box = moved[index];
    const bool dropped = std::any_of(kept.begin(), kept.end(), [&](std::size_t other) {
      const Detection& better = moved[other];
      const float width = std::max(std::min(better.x2, box.x2) - std::max(better.x1, box.x1), 0.f);
      const float height = std::max(std::min(better.y2, box.y2) - std::max(better.y1, box.y1), 0.f);
      const float inter = width * height;
      return inter / (area(better) + area(box) - inter) > limit;
    });
    if (!dropped) kept.push_back(index);
  }
  std::vector<Detection> found;
  for (const std::size_t index : kept) {
    require_box(candidates[index]);
    found.push_back(candidates[index]);
  }
  return found;
}

// From pixels of the frame to pixels of the picture, cut at its border.
inline void restore(std::vector<Detection>& boxes, const Geometry& at) {
  const auto across = static_cast<float>(static_cast<double>(at.width) / at.source_width);
  const auto down = static_cast<float>(static_cast<double>(at.height) / at.source_height);
  const auto placed = [](float value, int border, float ratio, int most) {
    return std::clamp((value - static_cast<float>(border)) / ratio, 0.f, static_cast<float>(most));
  };
  for (Detection& box : boxes) {
    box.x1 = placed(box.x1, at.left, across, at.source_width);
    box.x2 = placed(box.x2, at.left, across, at.source_width);
    box.y1 = placed(box.y1, at.top, down, at.source_height);
    box.y2 = placed(box.y2, at.top, down, at.source_height);
  }
}
