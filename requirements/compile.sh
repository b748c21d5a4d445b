#!/bin/sh
# Resolves cpu.in, dev.in, bench.in and gpu.in into the .txt files of the same names, and server.txt,
# complete and with hashes, for Python 3.11 and up. Needs uv: `UV=/path/to/uv requirements/compile.sh`.
set -eu
cd "$(dirname "$0")"

compile() {
    name=$1
    shift
    "${UV:-uv}" pip compile --quiet --universal --python-version 3.11 --generate-hashes \
        --no-header --no-annotate "$@" "$name.in" --output-file "$name.txt"
}

for name in cpu dev bench; do
    compile "$name" --override overrides.txt \
        --no-emit-package torch --no-emit-package torchvision --no-emit-package torchaudio \
        --no-emit-package torchcodec --no-emit-package triton \
        --no-emit-package llm --no-emit-package llama-cpp-python
done

# uv keeps the versions that it finds in the output wherever they fit. So both engines run with the
# same packages, except where vLLM's builds require others.
cp cpu.txt gpu.txt
compile gpu --override gpu-overrides.txt

# What the server needs beside an engine, for the image's target gpu: the same versions as cpu.txt.
"${UV:-uv}" pip compile --quiet --universal --python-version 3.11 --generate-hashes \
    --override overrides.txt --no-header --no-annotate --constraint cpu.txt \
    --extra server ../pyproject.toml --output-file server.txt
