#!/usr/bin/env bash
# bare_debian.sh BUNDLE SITE-PACKAGES [SUITE]: does a bundle start in a bare Debian with nothing but LibTorch's wheel? By hand, as root, with
# debootstrap and Debian's packages in reach (a minute, 600 MB in a temporary folder that is removed again).
#
# SUITE (bookworm) is made without anything but its essential packages: no Python, no compiler, no HDF5. SITE-PACKAGES is where pip put
# the wheel: its folders torch and nvidia are mounted there, read-only. Then the bundle's program says its version, makes a tiny model, trains
# on it, reads its export back and measures the kernels; the last line says `bare SUITE: passed`.
set -euo pipefail
[ $# -ge 2 ] || { sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0"; exit 2; }
bundle=$(realpath "$1") packages=$(realpath "$2") suite=${3:-bookworm}
if [ -z "${BARE_INSIDE:-}" ]; then exec env BARE_INSIDE=yes unshare --mount "$0" "$bundle" "$packages" "$suite"; fi  # mounts end with us

root=$(mktemp -d)
trap 'umount -R "$root/proc" "$root/dev" "$root/opt/wheel/torch" "$root/opt/wheel/nvidia" 2> /dev/null || true; rm -rf --one-file-system "$root"' EXIT
PATH=$PATH:/usr/sbin:/sbin debootstrap --variant=minbase "$suite" "$root" > "$root.log" 2>&1 || { tail -n 5 "$root.log" >&2; exit 1; }
rm "$root.log"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
for part in torch nvidia; do
  [ -d "$packages/$part" ] || continue
  mkdir -p "$root/opt/wheel/$part"
  mount --bind -o ro "$packages/$part" "$root/opt/wheel/$part"
done
mkdir -p "$root/opt/try"
tar -xzf "$bundle" -C "$root/opt"
cat > "$root/opt/try/run.sh" << 'INSIDE'
set -eux
cat /etc/debian_version
if command -v python3; then exit 1; fi
export DORMER_TORCH=/opt/wheel/torch
dormer=/opt/dormer-bundle/bin/dormer
cd /opt/try
$dormer --version
DORMER_START=tests/make_tiny_run $dormer tiny
for test in /opt/dormer-bundle/tests/*_gpu_test; do DORMER_START=tests/${test##*/} $dormer --gtest_list_tests | grep -c '^  '; done
cat > run.yaml << 'CONFIG'
run: {directory: run, seed: 3, steps: 20, threads: 1, device: cpu}
model: {path: tiny/model, dtype: float32}
adapter: {kind: lora, rank: 4, alpha: 8, decompose: {axis: auto}, targets: all-linear}
data: {train: tiny/train.h5, validation: tiny/validation.h5, sequence_length: 16}
batch: {global: 8, micro: 1}
validation: {every: 10, samples: 8}
checkpoint: {every: 10}
export: [{for: peft}]
CONFIG
$dormer train run.yaml
$dormer verify run
$dormer inspect run/export/peft
$dormer bench kernels --rows 64 --width 128 --vocabulary 512 --rounds 1 --threads 1 | head -3
INSIDE
env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/opt/try chroot "$root" bash /opt/try/run.sh
echo "bare $suite: passed"
