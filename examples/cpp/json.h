// A reader of JSON documents, as far as a bundle needs it: UTF-8 text in, a tree of values out.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

namespace json {

struct Value {
  enum class Kind { null, boolean, number, string, array, object };

  Kind kind = Kind::null;
  bool boolean = false;
  double number = 0;
  std::string string;
  std::vector<Value> array;
  std::map<std::string, Value> object;

  bool has(const std::string& key) const { return object.count(key) != 0; }

  const Value& operator[](const std::string& key) const {
    const auto found = object.find(key);
    if (found == object.end()) throw std::runtime_error("JSON: the key '" + key + "' is missing");
    return found->second;
  }

  const Value& operator[](const char* key) const { return (*this)[std::string(key)]; }
  const Value& at(std::size_t index) const { return array.at(index); }
};

class Parser {
 public:
  explicit Parser(const std::string& text) : text_(text) {}

  Value parse() {
    Value value = read_value(0);
    skip_space();
    if (at_ != text_.size()) fail("text behind the document");
    return value;
  }

 private:
  static constexpr int deepest = 64;

  [[noreturn]] void fail(const std::string& what) const {
    throw std::runtime_error("JSON: " + what + " at byte " + std::to_string(at_));
  }

  void skip_space() {
    while (at_ < text_.size() && std::string(" \t\r\n").find(text_[at_]) != std::string::npos) ++at_;
  }

  char peek() {
    skip_space();
    if (at_ == text_.size()) fail("unexpected end");
    return text_[at_];
  }

  bool take(const std::string& word) {
    if (text_.compare(at_, word.size(), word) != 0) return false;
    at_ += word.size();
    return true;
  }

  void expect(char wanted) {
    if (peek() != wanted) fail(std::string("expected '") + wanted + "'");
    ++at_;
  }

  Value read_value(int depth) {
    if (depth > deepest) fail("nested too deeply");
    Value value;
    const char first = peek();
    if (first == '{') {
      value.kind = Value::Kind::object;
      ++at_;
      while (peek() != '}') {
        if (!value.object.empty()) expect(',');
        if (peek() != '"') fail("expected a key");
        const std::string key = read_string();
        expect(':');
        if (!value.object.emplace(key, read_value(depth + 1)).second) fail("the key '" + key + "' twice");
      }
      ++at_;
    } else if (first == '[') {
      value.kind = Value::Kind::array;
      ++at_;
      while (peek() != ']') {
        if (!value.array.empty()) expect(',');
        value.array.push_back(read_value(depth + 1));
      }
      ++at_;
    } else if (first == '"') {
      value.kind = Value::Kind::string;
      value.string = read_string();
    } else if (take("true") || take("false")) {
      value.kind = Value::Kind::boolean;
      value.boolean = first == 't';
    } else if (!take("null")) {
      value.kind = Value::Kind::number;
      const std::size_t behind = std::min(text_.find_first_not_of("+-.0123456789Ee", at_), text_.size());
      const std::string digits = text_.substr(at_, behind - at_);
      char* end = nullptr;
      value.number = std::strtod(digits.c_str(), &end);
      if (digits.empty() || *end != 0) fail("expected a value");
      at_ = behind;
    }
    return value;
  }

  std::string read_string() {
    std::string out;
    for (++at_; at_ < text_.size() && text_[at_] != '"'; ++at_) {
      if (text_[at_] != '\\') {
        out += text_[at_];
      } else if (text_.compare(at_, 2, "\\u") == 0) {
        append_utf8(out, read_code_point());
      } else {
        static const std::string escapes = "\"\\/bfnrt", meant = "\"\\/\b\f\n\r\t";
        const std::size_t which = ++at_ < text_.size() ? escapes.find(text_[at_]) : std::string::npos;
        if (which == std::string::npos) fail("an unknown escape");
        out += meant[which];
      }
    }
    if (at_ == text_.size()) fail("a string without an end");
    ++at_;
    return out;
  }

  unsigned read_hex() {  // at_ is on the backslash of \uXXXX; leaves it on the last digit
    if (at_ + 5 >= text_.size()) fail("an escape without an end");
    const std::string digits = text_.substr(at_ + 2, 4);
    if (digits.find_first_not_of("0123456789abcdefABCDEF") != std::string::npos) fail("an escape that is not hexadecimal");
    at_ += 5;
    return static_cast<unsigned>(std::stoul(digits, nullptr, 16));
  }

  unsigned read_code_point() {
    const unsigned high = read_hex();
    if (high < 0xD800 || high > 0xDBFF || text_.compare(at_ + 1, 2, "\\u") != 0) return high;
    ++at_;
    return 0x10000 + ((high - 0xD800) << 10) + (read_hex() - 0xDC00);
  }

  static void append_utf8(std::string& out, unsigned code) {
    if (code < 0x80) {
      out += static_cast<char>(code);
      return;
    }
    const int more = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
    static const unsigned char leading[] = {0, 0xC0, 0xE0, 0xF0};
    out += static_cast<char>(leading[more] | (code >> (6 * more)));
    for (int rest = more - 1; rest >= 0; --rest) out += static_cast<char>(0x80 | ((code >> (6 * rest)) & 0x3F));
  }

  const std::string& text_;
  std::size_t at_ = 0;
};

inline Value parse(const std::string& text) { return Parser(text).parse(); }

}  // namespace json
