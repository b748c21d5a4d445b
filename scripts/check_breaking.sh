#!/usr/bin/env bash
# Compares the contract in the working tree with that of an earlier commit: one that callers may
# already have. BASE names the commit; by default it is
#   - origin/main, if that is another commit than HEAD (a change that has yet to land);
#   - else HEAD's first parent (main itself: what the last commit changed, and what is not committed).
# Without an earlier commit that holds protos there is nothing to compare with.
set -euo pipefail
cd "$(dirname "$0")/.."

skip() {
    printf 'buf breaking: skipped, %s\n' "$1"
    exit 0
}

command -v git >/dev/null || skip 'git is not installed'
git rev-parse --quiet --verify HEAD >/dev/null 2>&1 || skip 'this is no git checkout with a commit'

base=${BASE:-}
if [ -z "$base" ]; then
    landed=$(git rev-parse --quiet --verify 'origin/main^{commit}' || true)
    if [ -n "$landed" ] && [ "$landed" != "$(git rev-parse HEAD)" ]; then
        base=$landed
    else
        base=$(git rev-parse --quiet --verify 'HEAD^1' || true)
    fi
fi
[ -n "$base" ] || skip 'there is no earlier commit'
git cat-file -e "$base:proto" 2>/dev/null || skip "$base holds no protos"

earlier=$(mktemp -d)
trap 'rm -rf "$earlier"' EXIT
git archive "$base" proto buf.yaml | tar -x -C "$earlier"
printf 'buf breaking: against %s\n' "$(git log -1 --format='%h %s' "$base")"
buf breaking --against "$earlier"
