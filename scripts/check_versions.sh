#!/usr/bin/env bash
# Runs the unit tests that need neither torch nor vLLM with several versions of what genir requires:
#
#   check_versions.sh [SET...]      the default is every set
#
#   client      the lowest versions that pyproject.toml allows without the server
#   server      the lowest versions that pyproject.toml allows, with the server
#   protobuf6   the newest of everything, but protobuf 6
#   newest      the newest of everything
#
# Each set gets a temporary environment with genir, as pip would install it. Needs uv
# (UV=/path/to/uv) and the network.
set -euo pipefail
cd "$(dirname "$0")/.."
# The tests are to import what is installed.
unset PYTHONPATH

uv=${UV:-uv}
tools=(pytest pytest-asyncio pytest-timeout pytest-xdist hypothesis h2 cryptography pyyaml)
sets=("$@")
[ $# -gt 0 ] || sets=(client server protobuf6 newest)

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
failed=()

for set in "${sets[@]}"; do
    tests=(tests/unit/contract tests/unit/client tests/unit/transport)
    options=()
    # What is installed instead of what the project requires.
    overrides=$folder/$set.overrides
    touch "$overrides"
    case $set in
        client)
            options=(--resolution lowest-direct)
            # The server, which the client's tests call, requires a newer one.
            grep -o 'grpcio>=[0-9.]*' pyproject.toml | head -n 1 >"$overrides"
            tests=(tests/unit/client)
            ;;
        server) options=(--resolution lowest-direct) ;;
        protobuf6)
            echo 'protobuf<7' >"$folder/protobuf6.in"
            options=(--constraint "$folder/protobuf6.in")
            ;;
        newest) ;;
        *) echo "unknown set of versions: $set" >&2 && exit 2 ;;
    esac
    venv=$folder/$set
    "$uv" venv --quiet --python "${PYTHON:-python3}" "$venv"
    "$uv" pip compile --quiet --python "$venv/bin/python" "${options[@]}" \
        --override "$overrides" --extra server --extra otel pyproject.toml \
        --output-file "$venv.txt"
    "$uv" pip install --quiet --python "$venv/bin/python" --override "$overrides" \
        --constraint "$venv.txt" '.[server,otel]' "${tools[@]}"
    echo "==> $set: $(grep -E '^(grpcio|protobuf|typer)==' "$venv.txt" | tr '\n' ' ')"
    "$venv/bin/python" -m pytest -n "${WORKERS:-2}" -p no:cacheprovider -q "${tests[@]}" ||
        failed+=("$set")
done

echo "sets of versions that failed: ${failed[*]:-none}"
[ ${#failed[@]} -eq 0 ]
