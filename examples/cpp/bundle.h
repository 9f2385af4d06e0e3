// Opens a bundle: checks the seal, reads the zip's directory, hands out members. See docs/bundle-format.md, "The file".
#pragma once

#include <cstdint>
#include <fstream>
#include <iterator>
#include <map>
#include <stdexcept>
#include <string>

#include "json.h"
#include "sha256.h"

class Bundle {
 public:
  explicit Bundle(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    if (!file) throw std::runtime_error(path + ": cannot be opened");
    bytes_.assign(std::istreambuf_iterator<char>(file), {});
    const std::size_t comment = check_seal();
    read_directory(comment);
    manifest_ = json::parse(member("manifest.json"));
    if (manifest_["format"].string != "edgecompile-bundle" || manifest_["schema"].number != 1) {
      throw std::runtime_error("manifest.json: not a bundle of schema 1");
    }
    check_members();
  }

  const json::Value& manifest() const { return manifest_; }

  std::string member(const std::string& name) const {
    const auto found = members_.find(name);
    if (found == members_.end()) throw std::runtime_error("the bundle has no member '" + name + "'");
    return bytes_.substr(found->second.offset, found->second.size);
  }

 private:
  struct Place {
    std::size_t offset;
    std::size_t size;
  };

  // The archive comment is the last 92 bytes: a prefix of 28 and the SHA-256 of every byte before it.
  std::size_t check_seal() const {
    static const std::string prefix = "edgecompile-bundle-1 sha256:";
    if (bytes_.size() < prefix.size() + 64 + 22) throw std::runtime_error("not a bundle: too short");
    const std::size_t comment = bytes_.size() - prefix.size() - 64;
    if (bytes_.compare(comment, prefix.size(), prefix) != 0) throw std::runtime_error("not a bundle: no seal");
    if (sha256(bytes_.substr(0, comment)) != bytes_.substr(comment + prefix.size())) {
      throw std::runtime_error("the bundle is damaged: its content does not match its seal");
    }
    return comment;
  }

  // The end record (22 bytes) lies right before the comment; members are stored, so their bytes can be used as they are.
  void read_directory(std::size_t comment) {
    const std::size_t end = comment - 22;
    const std::size_t count = number(end + 10, 2);
    std::size_t at = number(end + 16, 4);
    for (std::size_t index = 0; index < count; ++index) {
      if (bytes_.compare(at, 4, "PK\1\2") != 0 || number(at + 10, 2) != 0) {
        throw std::runtime_error("the zip directory is not that of a bundle");
      }
      const std::size_t size = number(at + 24, 4), name_length = number(at + 28, 2), local = number(at + 42, 4);
      const std::size_t offset = local + 30 + name_length;  // no extra fields
      if (offset + size > end) throw std::runtime_error("a member reaches beyond the zip");
      members_[bytes_.substr(at + 46, name_length)] = {offset, size};
      at += 46 + name_length;
    }
  }

  void check_members() const {
    const json::Value& files = manifest_["files"];
    if (files.object.size() + 1 != members_.size()) throw std::runtime_error("the manifest does not list what is there");
    for (const auto& [name, file] : files.object) {
      if (sha256(member(name)) != file["sha256"].string) {
        throw std::runtime_error("'" + name + "' is not the file that the manifest names");
      }
    }
  }

  std::size_t number(std::size_t at, int bytes) const {
    if (at + bytes > bytes_.size()) throw std::runtime_error("the zip directory is truncated");
    std::size_t value = 0;
    for (int index = bytes - 1; index >= 0; --index) value = value << 8 | static_cast<unsigned char>(bytes_[at + index]);
    return value;
  }

  std::string bytes_;
  std::map<std::string, Place> members_;
  json::Value manifest_;
};
