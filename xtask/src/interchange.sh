# What Linux does in `cargo xtask interchange`, under busybox's shell: checks the guest's disk
# (/dev/vda) and writes one for the guest (/dev/vdb). A check is a line `##x WHAT: ok` or
# `##x WHAT: WHY NOT`.
# All entries but the lists' own and those whose names a list cannot hold.
lf='
'
entries() {
    find . -mindepth 1 \( -path ./verify -prune \) -o \( -path "*$lf*" -o -path '*["\\]*' \) -o -type "$1" -print
}
names() {
    entries d | sed 's,^\./,d ,'
    entries f | sed 's,^\./,f ,'
    entries l | while read -r p; do echo "l ${p#./} -> $(readlink "$p")"; done
}
mount -t ext4 -o ro /dev/vda /mnt && echo '##x mounts the guest'\''s disk: ok' || { echo '##x mounts the guest'\''s disk: refused'; exit 1; }
cd /mnt
for list in sample.sha256 verify/*.sha256; do
    sha256sum -c "$list" >/tmp/sums 2>&1
    bad=$(grep -v ': OK$' /tmp/sums | head -n 5 | tr '\n' ';')
    good=$(grep -c ': OK$' /tmp/sums)
    [ "$good" = "$(wc -l <"$list")" ] && [ "$good" -gt 0 ] && [ -z "$bad" ] && bad=ok
    echo "##x reads the $good files of $list as the guest: ${bad:-some are missing}"
done
names | sort >/tmp/linux.names
sort verify/files.names >/tmp/guest.names
if cmp -s /tmp/linux.names /tmp/guest.names; then result=ok; else result=$(diff /tmp/guest.names /tmp/linux.names | head -n 8 | tr '\n' ';'); fi
echo "##x finds the $(wc -l </tmp/guest.names) names that the guest listed: ${result:-no list}"
cd / && umount /mnt || exit 1
if dmesg | grep -E 'EXT4-fs (error|warning)' | grep -v vdb; then result='the kernel complained'; else result=ok; fi
echo "##x has no complaint about the guest's disk: $result"

set -e
mount -t ext4 /dev/vdb /mnt
mkdir /mnt/linux && cd /mnt/linux
for n in 0 1 59 60 61 100 127 128 129 160 161 1000 4095 4096 4097 65537 3000000; do head -c $n /dev/urandom >size-$n; done
i=0; while [ $i -lt 60 ]; do echo "line $i" >>grown; i=$((i + 1)); done
mkdir many inline-dir
i=0; while [ $i -lt 2500 ]; do : >many/a-longer-name-$i; i=$((i + 1)); done
i=0; gone=; while [ $i -lt 2500 ]; do gone="$gone many/a-longer-name-$i"; i=$((i + 3)); done; rm $gone
for n in 1 2 3; do echo $n >inline-dir/$n; done; rm inline-dir/2
i=0; while [ $i -lt 400 ]; do dd if=/dev/urandom of=fragments bs=4096 count=1 seek=$((i * 2)) conv=notrunc 2>/dev/null; i=$((i + 1)); done
dd if=/dev/urandom of=sparse bs=1000 count=3 seek=2000 2>/dev/null; truncate -s 5000000 sparse
fallocate -l 200000 unwritten; dd if=/dev/urandom of=unwritten bs=1000 count=5 seek=50 conv=notrunc 2>/dev/null
head -c 3000 /dev/urandom >shrunk; truncate -s 30 shrunk
head -c 40 /dev/urandom >stretched; truncate -s 100000 stretched
echo first >replaced; echo second >other; mv other replaced
echo linked >link-a; ln link-a link-b
ln -s grown short-link; ln -s "$(printf '%0200d' 7)" long-link
mkdir -p a/b/c/d/e/f; echo deep >a/b/c/d/e/f/g
cd /mnt
find linux -type f -exec sha256sum {} + >verify/linux.sha256
names >verify/linux.names
cd / && umount /mnt
