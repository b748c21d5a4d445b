#!/usr/bin/env bash
# Writes the contract's descriptor for the version in pyproject.toml to proto/releases. Run it once
# for each release. The descriptor of a release never changes: an existing one is not overwritten.
set -euo pipefail
cd "$(dirname "$0")/.."

version=$(sed -n '/^\[project\]/,/^\[/s/^version = "\(.*\)"$/\1/p' pyproject.toml)
target=proto/releases/$version.binpb
fresh=$(mktemp --suffix=.binpb)
trap 'rm -f "$fresh"' EXIT

buf build --exclude-source-info --output "$fresh"
if [ -e "$target" ] && ! cmp --quiet "$fresh" "$target"; then
    printf '%s exists and differs: raise the version in pyproject.toml first\n' "$target" >&2
    exit 1
fi
install -m 644 "$fresh" "$target"
printf 'wrote %s\n' "$target"
