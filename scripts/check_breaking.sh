#!/usr/bin/env bash
# Checks that the contract in the working tree breaks no caller of the last release. Compares it with
# the newest descriptor in proto/releases.
set -euo pipefail
cd "$(dirname "$0")/.."

last=$(find proto/releases -name '*.binpb' | sort --version-sort | tail -n 1)
if [ -z "$last" ]; then
    printf 'buf breaking: proto/releases has no descriptor to compare with\n' >&2
    exit 1
fi
printf 'buf breaking: against %s\n' "$last"
buf breaking --against "$last"
