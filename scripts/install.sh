#!/usr/bin/env bash
# The steps that fill .venv, called by the Makefile:
#
#   install.sh venv PYTHON VENV             make the virtual environment
#   install.sh torch VENV                   install torch's CPU build
#   install.sh requirements VENV FILE       install a complete, hashed requirements file
#   install.sh project VENV                 install genir itself, editable
set -euo pipefail

torch_version=2.13.0

say() { printf '==> %s\n' "$*"; }
fail() {
    printf 'genir: %s\n' "$@" >&2
    exit 1
}

# pip's output cut down to one line that changes (on a terminal) and whatever is neither progress
# nor success.
progress() {
    local terminal=0
    [ -t 1 ] && terminal=1
    awk -v terminal="$terminal" '
        function transient(text) {
            if (terminal) printf "\r\033[K    %s", substr(text, 1, 70)
            fflush()
        }
        /^ *(Collecting|Downloading|Using cached|Processing|Obtaining|Requirement already)/ {
            sub(/ --hash.*| \(from .*/, ""); transient($0); next
        }
        /^Installing collected packages/ { transient("unpacking"); next }
        /^ *(Looking in|Preparing|Getting|Checking|Building|Created|Stored|Attempting|Found existing|Uninstalling|Successfully|Installing)/ { next }
        # Other platforms'"'"' packages, and sources that lack a package: neither is news.
        /^Ignoring .*: markers|^WARNING: Location .* is ignored|^ *$/ { next }
        { if (terminal) printf "\r\033[K"; print; fflush() }
        END { if (terminal) printf "\r\033[K" }
    '
}

pip_install() {
    local venv=$1
    shift
    "$venv/bin/python" -m pip install --disable-pip-version-check --no-deps --progress-bar off "$@" \
        2>&1 | progress
}

make_venv() {
    local python=$1 venv=$2
    [ -n "$python" ] || fail 'no Python 3.11 or newer found; name one: make PYTHON=/path/to/python3.11'
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        fail "$python is older than Python 3.11; name another: make PYTHON=/path/to/python3.11"
    say "Making $venv with $("$python" --version)"
    "$python" -m venv "$venv" ||
        fail "$python cannot make virtual environments (on Debian and Ubuntu: install python3-venv)"
}

install_torch() {
    local venv=$1 wanted="torch==$torch_version+cpu" log
    say "Installing torch $torch_version, CPU build"
    log=$(mktemp)
    # shellcheck disable=SC2064
    trap "rm -f '$log'" EXIT
    if pip_install "$venv" --retries 1 "$wanted" >"$log"; then
        return
    fi
    say "pip's configured sources have none; trying $TORCH_INDEX"
    if pip_install "$venv" --index-url "$TORCH_INDEX" --timeout 20 --retries 1 "$wanted"; then
        return
    fi
    cat "$log" >&2
    fail "torch $torch_version+cpu was found neither in pip's configured sources nor at $TORCH_INDEX." \
        'Name an index that has it (make TORCH_INDEX=URL ...), or a folder with its wheel' \
        '(PIP_FIND_LINKS=FOLDER make ...).'
}

install_requirements() {
    local venv=$1 file=$2
    say "Installing $(grep -c '==' "$file") packages of $file"
    pip_install "$venv" --require-hashes --requirement "$file"
}

install_project() {
    say 'Installing genir'
    pip_install "$1" --no-build-isolation --no-index --editable .
    [ "$(uname -s)" != Linux ] || "$1/bin/python" -c 'import ctypes; ctypes.CDLL("libnuma.so.1")' 2>/dev/null ||
        say 'Warning: the system library libnuma.so.1 is missing, and the CPU engine cannot start' \
            'without it (Debian and Ubuntu: libnuma1, Fedora: numactl-libs)'
}

case ${1:-} in
    venv) make_venv "$2" "$3" ;;
    torch) install_torch "$2" ;;
    requirements) install_requirements "$2" "$3" ;;
    project) install_project "$2" ;;
    *) fail "unknown step: ${1:-none}" ;;
esac
