#!/bin/sh
# Makes the environment of PYTHON hold exactly the pins in LOCK,
#   UV=path/to/uv requirements/sync.sh PYTHON LOCK
# whose hashes uv checks where there are some. uv does not read pip's settings: where pip was told of
# an index or of a folder of wheels, uv is told the same. The CPU build of torch comes from such a
# folder, or else from PyTorch's own index.
set -eu
python=$1
lock=$2

[ -z "${PIP_INDEX_URL:-}" ] || export UV_DEFAULT_INDEX="${UV_DEFAULT_INDEX:-$PIP_INDEX_URL}"
[ -z "${PIP_EXTRA_INDEX_URL:-}" ] || export UV_INDEX="${UV_INDEX:-$PIP_EXTRA_INDEX_URL}"
# pip separates by spaces, uv by commas.
wheels=${UV_FIND_LINKS:-$(echo "${PIP_FIND_LINKS:-}" | tr ' ' ',')}
if [ -n "$wheels" ]; then
    export UV_FIND_LINKS="$wheels"
    exec "${UV:-uv}" pip sync --python "$python" "$lock"
fi
if grep -q '^torch==.*+cpu' "$lock"; then
    exec "${UV:-uv}" pip sync --torch-backend=cpu --python "$python" "$lock"
fi
exec "${UV:-uv}" pip sync --python "$python" "$lock"
