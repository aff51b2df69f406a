#!/bin/sh
# Makes the base model of the quickstart again, from nothing: text, tokenizer, weights.
#
#     scripts/quickstart_base.sh
#
# Writes data/quickstart (instructions, tokenizer, weights in bf16) and works in runs/quickstart-base.
# Needs: the Rust toolchain alone, no network after the build. Time and result: configs/quickstart-base.toml.
# A stopped run goes on where it was when the script is started again; the same machine gives the same bytes.
set -eu
cd "$(dirname "$0")/.."
cargo run --release --example quickstart-base
cargo run --release -- train configs/quickstart-base.toml
cargo run --release -- export runs/quickstart-base runs/quickstart-base/exported --dtype bf16
cp runs/quickstart-base/exported/*.safetensors data/quickstart/base/
