#!/bin/sh
# Makes the tiny T5 of the quickstart again, from nothing: text, tokenizer, weights.
#
#     scripts/quickstart_t5.sh
#
# Writes data/quickstart-t5 (tokenizer, weights in bf16) and, as scripts/quickstart_base.sh, what lies beside the weights
# in data/quickstart; works in runs/quickstart-t5-base.
# Needs: the Rust toolchain alone, no network after the build. Time and result: configs/quickstart-t5-base.toml.
# A stopped run goes on where it was when the script is started again; the same machine gives the same bytes.
set -eu
cd "$(dirname "$0")/.."
cargo run --release --example quickstart-base
cargo run --release -- train configs/quickstart-t5-base.toml
cargo run --release -- export runs/quickstart-t5-base runs/quickstart-t5-base/exported --dtype bf16
cp runs/quickstart-t5-base/exported/*.safetensors data/quickstart-t5/
