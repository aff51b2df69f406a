#!/bin/sh
# What a build with CUDA says on a machine where a GPU cannot be used: one error, exit code 2, nothing touched.
#
#     scripts/check_without_gpu.sh [PROGRAM]      (default: where scripts/cuda-toolchain.sh's build leaves it)
#
# Libraries of our own that do nothing stand in for the driver's and CUDA's; each case leaves one out, or lets
# the driver answer badly. Prints every message, and fails where one does not name what is wrong. Needs gcc.
# A program that was linked with a toolkit's libraries stops at the loader instead, before it can say anything.
set -eu
cd "$(dirname "$0")/.."
program=$(realpath "${1:-target/x86_64-unknown-linux-gnu/release/albacore}")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/run"
cp -r configs data "$work/run"

cat > "$work/driver.c" <<'C'
#include <stdlib.h>
static int answer(const char *name, int usual) { char *set = getenv(name); return set ? atoi(set) : usual; }
#define NOTHING(name) int name(void) { return 0; }
#define MAKES(name) int name(void **made) { *made = (void *)16; return 0; }
int cuInit(unsigned flags) { return answer("STUB_INIT", 0); }
int cuDriverGetVersion(int *version) { *version = answer("STUB_VERSION", 13000); return 0; }
int cuDeviceGetCount(int *count) { *count = answer("STUB_COUNT", 1); return 0; }
int cuDeviceGet(int *device, int index) { *device = index; return 0; }
int cuDeviceGetAttribute(int *value, int attribute, int device) {
  const int capability = answer("STUB_CAPABILITY", 90);
  *value = attribute == 75 ? capability / 10 : attribute == 76 ? capability % 10 : 1;
  return 0;
}
int cuMemHostAlloc(void **made, size_t bytes, unsigned flags) { *made = malloc(bytes + 4096); return 0; }
int cuModuleLoadData(void **made, const void *image) { return 209; }
int cuGetErrorName(int error, const char **text) {
  *text = error == 100 ? "CUDA_ERROR_NO_DEVICE" : "CUDA_ERROR_NO_BINARY_FOR_GPU";
  return 0;
}
int cuGetErrorString(int error, const char **text) {
  *text = error == 100 ? "no CUDA-capable device is detected" : "no kernel image is available";
  return 0;
}
MAKES(cuDevicePrimaryCtxRetain) MAKES(cuCtxGetCurrent) MAKES(cuStreamCreate) MAKES(cuDeviceGetDefaultMemPool)
MAKES(cuEventCreate) NOTHING(cuDevicePrimaryCtxRelease_v2) NOTHING(cuCtxSetCurrent) NOTHING(cuCtxSynchronize)
NOTHING(cuStreamSynchronize) NOTHING(cuStreamDestroy_v2) NOTHING(cuMemPoolSetAttribute) NOTHING(cuMemFreeHost)
NOTHING(cuEventSynchronize) NOTHING(cuEventDestroy_v2) NOTHING(cuEventRecord) NOTHING(cuStreamWaitEvent)
C
cat > "$work/cuda.c" <<'C'
#define NOTHING(name) int name(void) { return 0; }
int cublasCreate_v2(void **made) { *made = (void *)16; return 0; }
int curandCreateGenerator(void **made, int kind) { *made = (void *)16; return 0; }
NOTHING(cublasDestroy_v2) NOTHING(cublasSetStream_v2) NOTHING(cublasSetMathMode) NOTHING(curandSetStream)
NOTHING(curandDestroyGenerator) NOTHING(curandSetPseudoRandomGeneratorSeed) NOTHING(curandSetGeneratorOffset)
C
library() { gcc -shared -fPIC -w -Wl,-soname,"$1" -o "$work/all/$1" "$work/$2" $3; }
mkdir "$work/all"
library libcuda.so.1 driver.c ""
library libcublasLt.so.13 cuda.c ""
# As the real one, it does not load without the other.
library libcublas.so.13 cuda.c "-Wl,--no-as-needed -L$work/all -l:libcublasLt.so.13"
library libcurand.so.10 cuda.c ""

# expect MISSING WANTED [NAME=VALUE]… -- OPTION…: without the library MISSING, the message has WANTED in it.
expect() {
  missing=$1 wanted=$2; shift 2
  rm -rf "$work/some"; cp -r "$work/all" "$work/some"; [ -z "$missing" ] || rm "$work/some/$missing"
  settings=
  while [ "$1" != -- ]; do settings="$settings $1"; shift; done; shift
  before=$(find "$work/run" | sort)
  code=0
  said=$(cd "$work/run" && env $settings LD_LIBRARY_PATH="$work/some" "$program" train configs/quickstart.toml "$@" 2>&1) || code=$?
  printf '%s\n%s\n\n' "--- without ${missing:-anything};$settings $*: exit code $code" "$said"
  [ "$code" = 2 ] || { echo "wanted exit code 2"; exit 1; }
  [ "$(printf '%s\n' "$said" | grep -c '^error: ')" = 1 ] || { echo "wanted one error"; exit 1; }
  case $said in *"$wanted"*) ;; *) echo "wanted: $wanted"; exit 1 ;; esac
  [ "$before" = "$(find "$work/run" | sort)" ] || { echo "something was written"; exit 1; }
}
expect libcuda.so.1 'cannot load `libcuda.so.1` (the NVIDIA driver)' -- --device cuda
expect libcublasLt.so.13 'cannot load `libcublasLt.so.13` (cuBLASLt)' -- --device cuda
expect libcublas.so.13 'cannot load `libcublas.so.13` (cuBLAS)' -- --device cuda
expect libcurand.so.10 'cannot load `libcurand.so.10` (cuRAND)' -- --device cuda
expect '' 'found a driver for CUDA 12.4, wanted 13.0 or newer' STUB_VERSION=12040 -- --device cuda
expect '' 'no CUDA-capable device is detected' STUB_INIT=100 -- --device cuda
expect '' 'cannot use GPU 0: found none' STUB_COUNT=0 -- --device cuda
expect '' 'cannot use GPU 3: found one alone' -- --device cuda:3
expect '' 'the kernels of this build do not load on sm_75' STUB_CAPABILITY=75 -- --device cuda
expect '' 'ALBACORE_CUDA_ARCHS=86' STUB_CAPABILITY=86 -- --device cuda
echo "all messages are as wanted"
