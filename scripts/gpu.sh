#!/bin/sh
# Everything that only a GPU can tell, on a machine with a GPU and PyTorch and without Rust.
#
#     scripts/gpu.sh [PART …]            parts: twin parity repeat memory profile peers ranking; all of them if none is named
#
#   twin     every kernel against its CPU twin, and a whole LLaMA's and T5's gradients and answers (3 minutes)
#   parity   `albacore train` against PyTorch on this card: losses and gradients, f32 and bf16; and of a T5 tuned as Flan's
#            were, with Adafactor, z-loss and label smoothing
#   repeat   two runs byte-equal; SIGKILL and resume byte-equal; both again with 8-bit offloaded state and bf16 weights, and
#            of a T5 with Adafactor, its momentum, z-loss and dropout
#   memory   the memory that a dry run foretells beside what the driver reports: within 10 %
#   profile  time, share and achieved bandwidth or FLOP/s of every kernel in a step
#   peers    tokens/s and memory of the PyTorch peers, and of albacore beside them
#   ranking  groups/s and memory of ranking steps: prompts shared, copied, and a padded PyTorch loop
#
# Binaries come from `scripts/gpu_build.sh`, in target/gpu (or GPU_BIN). MODEL may name a Hugging Face
# folder, and T5 that of a T5; without one, a LLaMA of SmolLM2-135M's shape, or a T5 of Flan-T5-small's, with random weights is made. Results: a table on
# the screen, and JSON under OUT (default benches/results/DEVICE-DATE).
set -u
cd "$(dirname "$0")/.."
bin=${GPU_BIN:-target/gpu}
python=${PYTHON:-python3}

# The CUDA libraries that PyTorch brought, or else those of a toolkit: never some of each. The program looks
# for names without a version first, so the chosen files get such names in a folder of their own.
libraries=$(mktemp -d)
trap 'rm -rf "$libraries"' EXIT
for library in libcublas.so.13 libcublasLt.so.13 libcurand.so.10; do
  file=$("$python" -c 'import glob, sys
places = [place + "/nvidia/*/lib/" for place in sys.path] + ["/usr/local/cuda/lib64/", "/usr/lib/x86_64-linux-gnu/"]
print(next((found for place in places for found in glob.glob(place + sys.argv[1])), ""))' "$library")
  [ -n "$file" ] || { echo "error: found no $library: install PyTorch for CUDA 13, or CUDA 13" >&2; exit 2; }
  ln -s "$file" "$libraries/$library"
  ln -s "$file" "$libraries/${library%.so.*}.so"
done
LD_LIBRARY_PATH="$libraries:$(dirname "$file")${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}:/usr/local/nvidia/lib64"
export LD_LIBRARY_PATH
device=$(nvidia-smi --query-gpu=name --format=csv,noheader | head -1 | tr ' ' '-')
out=${OUT:-benches/results/$device-$(date +%F)}
mkdir -p "$out"
failed=0

part() { # name, command …
  name=$1
  shift
  printf '\n== %s\n' "$name"
  start=$(date +%s)
  "$@" > "$out/$name.txt" 2>&1 && result=ok || { result=FAILED; failed=1; }
  grep -vE '^(running|test .* ok$|$)' "$out/$name.txt" | tail -60
  printf '== %s: %s after %d s\n' "$name" "$result" $(($(date +%s) - start))
}

for wanted in ${*:-twin parity repeat memory profile peers ranking}; do
  case $wanted in
    twin)
      part kernels env ALBACORE_TEST_GPU=0 "$bin/kernels-tests" emulated offloaded on_a_gpu --nocapture --test-threads 1
      part model env ALBACORE_TEST_GPU=0 "$bin/twin-tests" --nocapture --test-threads 1
      ;;
    parity)
      part parity "$python" scripts/check_gpu.py parity --albacore "$bin/albacore" --output "$out/parity.json" ${MODEL:+--model "$MODEL"}
      part flan "$python" scripts/check_gpu.py flan --albacore "$bin/albacore" --output "$out/flan.json" ${T5:+--model "$T5"}
      ;;
    repeat)
      part repeat "$python" scripts/check_gpu.py repeat --albacore "$bin/albacore" --output "$out/repeat.json" ${MODEL:+--model "$MODEL"}
      part narrow "$python" scripts/check_gpu.py repeat --narrow --albacore "$bin/albacore" --output "$out/narrow.json" ${MODEL:+--model "$MODEL"}
      part repeat-t5 "$python" scripts/check_gpu.py repeat --t5 --albacore "$bin/albacore" --output "$out/repeat-t5.json" ${T5:+--model "$T5"}
      ;;
    memory | profile) part "$wanted" "$python" benches/gpu_profile.py --albacore "$bin/albacore" --only "$wanted" --output "$out/$wanted.json" ;;
    peers) part peers "$python" benches/gpu_peers.py --albacore "$bin/albacore" --output "$out/peers.json" ;;
    ranking)
      # Two sizes: the one that the CPU's rows are of, and a model that fills the card.
      for row in "smollm2-135m 120 100 16" "llama-3.2-1b 256 64 16"; do
        set -- $row
        part "ranking-$1" "$python" benches/ranking.py --device cuda --albacore "$bin/albacore" --shape "$1" --prompt "$2" --response "$3" \
          --groups "$4" --groups-per-batch "$4" --steps 10 --warmup 3 --recompute none --rounds 1 --output "$out/ranking-$1.json"
      done
      ;;
    *)
      echo "error: no part is called $wanted" >&2
      exit 2
      ;;
  esac
done
exit $failed
