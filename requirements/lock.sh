#!/bin/sh
# Writes every pin with its hashes: UV=path/to/uv requirements/lock.sh [--upgrade]
# Without --upgrade, pins that still fit stay. Where pip was told of an index or of a folder of
# wheels, uv is told the same; the sets for GPUs must not see that folder: it holds CPU builds.
set -eu
cd "$(dirname "$0")/.."
upgrade=${1:-}
wheels=${UV_FIND_LINKS:-$(echo "${PIP_FIND_LINKS:-}" | tr ' ' ',')}
[ -z "${PIP_INDEX_URL:-}" ] || export UV_DEFAULT_INDEX="${UV_DEFAULT_INDEX:-$PIP_INDEX_URL}"
unset UV_FIND_LINKS

# lock NAME ARGUMENT...: into NAME.txt. PyTorch's CPU builds stay without a hash: their index has
# one wheel per platform, a folder of wheels only this machine's.
lock() {
    pins=requirements/$1.txt
    shift
    "${UV:-uv}" pip compile -q --no-header --no-annotate --python-version 3.11 --generate-hashes \
        $upgrade -o "$pins" "$@"
    awk '/\+cpu \\$/ { sub(/ \\$/, ""); print; skips = 1; next }
         skips && /^ / { next }
         { skips = 0; print }' "$pins" >"$pins.new"
    mv "$pins.new" "$pins"
}

# In a shell of its own: no other set may see the folder.
on_cpu() (
    [ -z "$wheels" ] || export UV_FIND_LINKS="$wheels"
    lock "$@" --overrides requirements/cpu-overrides.txt
)

on_gpu() {
    lock "$@" --python-platform x86_64-manylinux_2_28
}

on_cpu cpu pyproject.toml requirements/cpu.in --extra cpu --extra bench --extra dev
on_gpu gpu pyproject.toml requirements/gpu.in --extra gpu --extra bench --extra dev
for name in quantize autoawq; do
    on_cpu "$name" "requirements/$name.in"
    sed 's/+cpu//' "requirements/$name.in" |
        on_gpu "$name-gpu" - --overrides requirements/cpu-overrides.txt
done
for name in awscli litellm; do
    lock "$name" "requirements/$name.in"
done
