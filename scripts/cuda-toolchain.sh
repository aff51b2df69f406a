#!/bin/sh
# Makes a CUDA compiler out of public wheels, for a machine without a CUDA toolkit (or a GPU).
#
#     . scripts/cuda-toolchain.sh [FOLDER]        (default: target/cuda)
#     cargo build --release --features cuda --target x86_64-unknown-linux-gnu
#
# Sourced, it also sets what the build reads. The binary then finds CUDA's libraries when it starts
# (`LD_LIBRARY_PATH` must reach libcublas.so.13 and libcurand.so.10 on the machine with the GPU).
# With a toolkit installed, none of this is needed: `cargo build --release --features cuda`.
#
# Needs: Python with pip, gcc, 105 MB of downloads, 280 MB of disk. CUDA 13.0 is pinned: its PTX is the
# newest that a driver of the 580 series reads.

cuda_toolchain=${1:-target/cuda}
if [ ! -x "$cuda_toolchain/nvidia/cu13/bin/nvcc" ]; then
  # All wheels in one call: a second one would not merge its files with the first's.
  python3 -m pip install --quiet --root-user-action=ignore --no-deps --no-compile --target "$cuda_toolchain" \
    nvidia-cuda-nvcc==13.0.88 nvidia-nvvm==13.0.88 nvidia-cuda-crt==13.0.88 \
    nvidia-cuda-runtime==13.0.96 nvidia-cuda-cccl==13.0.85 || return 1
fi
CUDA_HOME=$(cd "$cuda_toolchain/nvidia/cu13" && pwd)

# The libraries are opened at run time: the linker gets empty ones.
mkdir -p "$CUDA_HOME/lib/stubs"
for library in cuda nvrtc curand cublas cublasLt; do
  ar rcs "$CUDA_HOME/lib/stubs/lib$library.a"
done
cp "$CUDA_HOME/lib/libcudart_static.a" "$CUDA_HOME/lib/stubs/libcudart.a"

# Candle's kernels for quantised and mixture-of-experts models take most of its build, and are not
# used here: an object without content stands for each.
cat > "$CUDA_HOME/bin/nvcc-slim" <<'END'
#!/bin/sh
here=$(dirname "$0")
for argument; do
  case $argument in
    *mmq_*.cu | *mmvq*.cu | *moe_*.cu) slim=1 ;;
  esac
done
if [ -n "$slim" ]; then
  output=
  for argument; do
    [ "$previous" = -o ] && output=$argument
    previous=$argument
  done
  if [ -n "$output" ]; then
    : > "$output.c" && cc -c "$output.c" -o "$output" && rm "$output.c"
    exit
  fi
fi
exec "$here/nvcc" "$@"
END
chmod +x "$CUDA_HOME/bin/nvcc-slim"

export CUDA_HOME
export NVCC="$CUDA_HOME/bin/nvcc-slim"
export PATH="$CUDA_HOME/bin:$PATH"
export CUDARC_CUDA_VERSION=13000
export CUDA_COMPUTE_CAP="${CUDA_COMPUTE_CAP:-80}"
export CUDAFORGE_THREADS="${CUDAFORGE_THREADS:-2}"
export RUSTFLAGS="--cfg feature=\"dynamic-loading\" ${RUSTFLAGS:-}"
