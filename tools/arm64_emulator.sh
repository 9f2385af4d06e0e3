#!/usr/bin/env bash
# Makes a folder in which 64-bit Arm Python programs run on an x86-64 machine: outputs can be compared, never latency.
#
#   tools/arm64_emulator.sh DIR
#
# DIR gets qemu's user-mode emulator, Python 3.11 and the C library of Debian 12 for arm64 (what Raspberry Pi OS Bookworm
# is made of), and the arm64 wheels of the backends in the versions of constraints.txt. Needs a Debian or Ubuntu with
# apt-get and dpkg, no rights of an administrator, about 1 GB and a minute or two. Nothing outside of DIR is changed.
#
#   DIR/python SCRIPT ...                          runs as on a Raspberry Pi 5 (Cortex-A76)
#   EMULATED_CPU=cortex-a72 DIR/python SCRIPT ...  runs as on a Raspberry Pi 4
#   EDGECOMPILE_ARM64=DIR python -m pytest tests/test_emulated_arm64.py
set -euo pipefail

HERE=$(cd "$(dirname "$0")/.." && pwd)
DIR=$(realpath -m "${1:?usage: tools/arm64_emulator.sh DIR}")
PYTHON=${PYTHON:-$(command -v "$HERE/.venv/bin/python" || command -v python3)}
RELEASE=bookworm
VERSION=3.11

mkdir -p "$DIR"/{apt/lists/partial,apt/archives/partial,packages,root/proc,root/sys/devices/system/cpu,site}
cd "$DIR"
: > apt/status

# A Debian of its own for apt: this machine's own lists, packages and architecture stay as they are.
cat > apt/sources.list <<LIST
deb [arch=arm64,amd64 signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $(
  apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -v security | sort -u | head -n 1) $RELEASE main
LIST
cat > apt/apt.conf <<CONF
APT::Architecture "arm64";
APT::Architectures { "arm64"; "amd64"; };
Dir::State "$DIR/apt";
Dir::State::status "$DIR/apt/status";
Dir::Cache "$DIR/apt";
Dir::Etc::sourcelist "$DIR/apt/sources.list";
Dir::Etc::sourceparts "/dev/null";
CONF
export APT_CONFIG=$DIR/apt/apt.conf
apt-get update -qq
# what Python needs is asked of apt: the closure of its dependencies, downloaded and unpacked, not installed
apt-get install -qq --no-install-recommends --download-only -y \
  "python$VERSION:arm64" libgomp1:arm64 libstdc++6:arm64 > /dev/null
for package in apt/archives/*.deb; do
  dpkg -x "$package" root
done
(cd packages && apt-get download -qq qemu-user-static:amd64 2> /dev/null)
dpkg -x packages/qemu-user-static_*.deb emulator

# Programs that read the processor's features shall find those of a Raspberry Pi 5, not this machine's.
CORES=$(nproc)
for core in $(seq 0 $((CORES - 1))); do
  printf 'processor\t: %d\nFeatures\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm' "$core"
  printf ' lrcpc dcpop asimddp\nCPU implementer\t: 0x41\nCPU architecture: 8\nCPU variant\t: 0x4\nCPU part\t: 0xd0b\n\n'
done > root/proc/cpuinfo
for core in $(seq 0 $((CORES - 1))); do # OpenVINO's code generator reads this register, and crashes where it is not there
  mkdir -p "root/sys/devices/system/cpu/cpu$core/regs/identification"
  echo 0x00000000414fd0b1 > "root/sys/devices/system/cpu/cpu$core/regs/identification/midr_el1"
done
for list in possible present online; do
  echo "0-$((CORES - 1))" > "root/sys/devices/system/cpu/$list"
done

platforms=()
for glibc in 17 24 27 28 31 34 35 36; do
  platforms+=(--platform "manylinux_2_${glibc}_aarch64")
done
pinned() {
  grep -E "^$1==" "$HERE/constraints.txt" | head -n 1 | sed 's/;.*//; s/ *$//'
}
unset APT_CONFIG
"$PYTHON" -m pip install --quiet --no-deps --upgrade --only-binary=:all: --implementation cp --python-version "$VERSION" \
  "${platforms[@]}" --platform manylinux2014_aarch64 --target site \
  "$(pinned numpy)" "$(pinned opencv-python-headless)" "$(pinned onnxruntime)" "$(pinned openvino)" "$(pinned ncnn)" \
  "$(pinned flatbuffers)" "$(pinned protobuf)" "$(pinned packaging)"

cat > python <<RUN
#!/bin/sh
# Python $VERSION of an arm64 Debian. EMULATED_CPU: cortex-a76 (Raspberry Pi 5) or cortex-a72 (Raspberry Pi 4).
PYTHONPATH="$DIR/site\${PYTHONPATH:+:\$PYTHONPATH}" exec "$DIR/emulator/usr/bin/qemu-aarch64-static" \\
  -L "$DIR/root" -cpu "\${EMULATED_CPU:-cortex-a76}" "$DIR/root/usr/bin/python$VERSION" "\$@"
RUN
chmod +x python
./python -c 'import platform; print("ready:", platform.machine(), "Python", platform.python_version())'
