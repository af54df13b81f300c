#!/bin/bash
# What a person does by hand for one push: clone, build, test, push. Says for each how long it took.
#
#   byhand.sh URL BRANCH IMAGE TEST_COMMAND TAG...
#
# $DOCKER is the client to use. The builder is the classic one, with BUILDKIT=1 the other. What the commands print goes to
# stderr.
# ISOLATED=1 tests as the runner does: without a network, within limits, without privileges, the results fetched.
set -euo pipefail
url=$1 branch=$2 image=$3 suite=$4
shift 4
docker=${DOCKER:-docker}
export DOCKER_BUILDKIT=${BUILDKIT:-0}

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

timed() { # NAME COMMAND...: a line "NAME seconds"
    local name=$1 start=$EPOCHREALTIME
    shift
    "$@" >&2
    echo "$name $(((${EPOCHREALTIME/./} - ${start/./})))"
}

isolated() {
    local name=by-hand-$$
    "$docker" create --name "$name" --network none --init --memory 2g --memory-swap 2g --pids-limit 4096 \
        --security-opt no-new-privileges --log-driver none "$image" "$suite"
    "$docker" start --attach "$name"
    "$docker" cp "$name:/results" "$folder/results"
    "$docker" rm --force --volumes "$name"
}

push() {
    for tag in "$@"; do
        "$docker" tag "$image" "$image:$tag"
        "$docker" push "$image:$tag"
    done
}

timed checkout git clone --quiet --depth=1 --branch "$branch" "$url" "$folder/tree"
timed build "$docker" build --tag "$image" "$folder/tree"
if [ -n "${ISOLATED:-}" ]; then
    timed test isolated
else
    timed test "$docker" run --rm "$image" "$suite"
fi
timed push push "$@"
