#!/bin/sh
# Builds what `scripts/gpu.sh` runs on a machine with a GPU and no Rust: the program and two test suites,
# stripped, in target/gpu (or FOLDER).
#
#     scripts/gpu_build.sh [FOLDER]
#
# Needs: Rust, and nvcc or what scripts/cuda-toolchain.sh needs. 6 minutes on 2 cores the first time.
set -eu
cd "$(dirname "$0")/.."
out=${1:-target/gpu}
# In a function: a sourced file would take this script's arguments for its own.
toolchain() { . scripts/cuda-toolchain.sh; }
[ -n "${CUDA_HOME:-}" ] || toolchain
target=x86_64-unknown-linux-gnu
mkdir -p "$out"
executable() { # the path of the one test executable that cargo made
  python3 -c 'import json, sys
for line in sys.stdin:
    message = json.loads(line)
    if message.get("executable") and message["profile"]["test"]: print(message["executable"])'
}
cargo build --release --locked --features cuda --target $target --message-format json |
  python3 -c 'import json, sys
for line in sys.stdin:
    message = json.loads(line)
    if message.get("executable"): print(message["executable"])' > "$out/program"
kernels=$(cargo test --release --locked --features cuda --target $target --no-run -p albacore-kernels --lib --message-format json | executable)
twin=$(cargo test --release --locked --features cuda --target $target --no-run -p albacore-model --test twin --message-format json | executable)
strip -o "$out/albacore" "$(cat "$out/program")"
strip -o "$out/kernels-tests" "$kernels"
strip -o "$out/twin-tests" "$twin"
rm "$out/program"
ls -l "$out"
