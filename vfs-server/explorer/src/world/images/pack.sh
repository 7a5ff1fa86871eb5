#!/bin/sh
# Makes the packed images of this folder anew: ./pack.sh, with e2fsprogs and python3.
# The images are the same each time: fixed UUID, hash seed and clock.
set -e
cd "$(dirname "$0")"
image=$(mktemp)
trap 'rm -f "$image"' EXIT

pack() {
    python3 - "$image" "$1" <<'PYTHON'
import struct, sys
image = open(sys.argv[1], "rb").read()
packed = struct.pack("<I", len(image))
grain, at = 32, 0
while at < len(image):
    end = at
    while end < len(image) and any(image[end:end + grain]):
        end += grain
    if end > at:
        packed += struct.pack("<II", at, end - at) + image[at:end]
    at = end + grain
open(sys.argv[2], "wb").write(packed)
PYTHON
}

export E2FSPROGS_FAKE_TIME=1767225600
truncate -s 256K "$image"
mke2fs -q -F -t ext4 -b 1024 -I 256 -N 16 -m 0 \
    -O inline_data,^has_journal,^resize_inode,^huge_file,^64bit,^orphan_file \
    -U 00000000-0000-4000-8000-000000000001 \
    -E hash_seed=00000000-0000-4000-8000-000000000002,root_owner=0:0,lazy_itable_init=0,nodiscard "$image"
pack ext4-tiny.packed
