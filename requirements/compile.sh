#!/bin/sh
# Resolves cpu.in, dev.in and bench.in into the .txt files of the same names, complete and with
# hashes, for Python 3.11 and up. Needs uv: `UV=/path/to/uv requirements/compile.sh`.
set -eu
cd "$(dirname "$0")"
for name in cpu dev bench; do
    "${UV:-uv}" pip compile --quiet --universal --python-version 3.11 --generate-hashes \
        --override overrides.txt --no-header --no-annotate \
        --no-emit-package torch --no-emit-package torchvision --no-emit-package torchaudio \
        --no-emit-package torchcodec --no-emit-package triton \
        --no-emit-package llm --no-emit-package llama-cpp-python \
        "$name.in" --output-file "$name.txt"
done
