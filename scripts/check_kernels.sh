#!/bin/sh
# Compiles every kernel for every listed architecture and holds its registers to a budget: attention
# and the head must not spill to memory, the others at most 64 bytes a thread.
#
#     scripts/check_kernels.sh                    (needs nvcc: on the PATH, in NVCC, or . scripts/cuda-toolchain.sh)
#
# Prints a line for each kernel that uses more than 128 registers or spills, and the number of all.
set -eu
cd "$(dirname "$0")/../crates/kernels/src"
nvcc=${NVCC:-nvcc}
reports=$(mktemp -d)
trap 'rm -rf "$reports"' EXIT
for architecture in $(echo "${ALBACORE_CUDA_ARCHS:-80,89,90a}" | tr ',' ' '); do
  for source in *.cu; do
    "$nvcc" -std=c++17 -O3 -I . -gencode "arch=compute_$architecture,code=sm_$architecture" -Xptxas -v --cubin \
      -o "$reports/out.cubin" "$source" 2>> "$reports/report" || { cat "$reports/report"; exit 1; }
  done
done
awk '
  /Compiling entry function/ { split($0, quoted, "\047"); kernel = quoted[2]; architecture = quoted[4] }
  /bytes spill stores/ { for (i = 1; i <= NF; ++i) if ($(i + 1) == "bytes" && $(i + 2) == "spill" && $(i + 3) ~ /stores/) spilled = $i }
  /Used [0-9]+ registers/ {
    for (i = 1; i <= NF; ++i) if ($i == "Used") registers = $(i + 1)
    ++kernels
    budget = kernel ~ /^(attention|head)/ ? 0 : 64
    if (registers > 128 || spilled > 0) printf "%-44s %-7s %3d registers, %d bytes spilled\n", kernel, architecture, registers, spilled
    if (spilled > budget) { printf "error: %s spills %d bytes, at most %d are allowed\n", kernel, spilled, budget; failed = 1 }
  }
  END { printf "%d kernels compiled\n", kernels; if (!kernels) failed = 1; exit failed }
' "$reports/report"
