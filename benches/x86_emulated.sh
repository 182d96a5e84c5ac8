#!/usr/bin/env bash
# Runs the kernels' tests as a Sapphire Rapids (AVX-VNNI, AVX-512 VNNI, AMX), on an x86-64 Debian machine (as root) that
# need not be one: Bochs boots Linux, whose first program is the tests.
#
#   x86_emulated.sh setup          once: a Debian root with a kernel, and Bochs, built from source with bochs.patch
#   x86_emulated.sh test [ARGS...] builds the engine's unit tests and runs those of the kernels (ARGS: others); minutes
set -euo pipefail

root=${X86_ROOT:-/opt/bochs-root}
suite=trixie

setup() {
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq
  apt-get install -y -qq debootstrap >/dev/null
  if [ ! -e "$root/etc/debian_version" ]; then
    # An older debootstrap does not know the suite by name; all recent ones are made alike.
    [ -e "/usr/share/debootstrap/scripts/$suite" ] || ln -s sid "/usr/share/debootstrap/scripts/$suite"
    debootstrap --variant=minbase "$suite" "$root" >/dev/null
  fi
  sed 's/^deb /deb-src /' "$root/etc/apt/sources.list" >"$root/etc/apt/sources.list.d/source.list"
  mkdir -p "$root/emulator"
  cp "$(dirname "$0")/bochs.patch" "$root/emulator/"
  chroot "$root" sh -euc '
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends bochsbios vgabios isolinux syslinux-common xorriso \
      busybox-static g++ make patch xz-utils >/dev/null
    cd /emulator
    rm -rf bochs-* bochs_* kernel
    apt-get source -qq --download-only bochs || true # only the original is needed
    tar -xf bochs_*.orig.tar.*
    kernel=$(apt-cache depends linux-image-amd64 | sed -n "s/.*Depends: \(linux-image-[0-9].*\)/\1/p" | head -1)
    apt-get download -qq "$kernel"
    dpkg -x linux-image-*.deb kernel
    cd bochs-*/
    patch -p1 <../bochs.patch
    ./configure --with-nogui --disable-docbook --enable-cpu-level=6 --enable-x86-64 --enable-avx --enable-evex \
      --enable-amx --enable-cet --enable-protection-keys --enable-uintr --enable-vmx=2 --enable-all-optimizations \
      --enable-pci --enable-cdrom --enable-3dnow --enable-memtype >/dev/null
    make -j"$(nproc)" bochs >/dev/null
    mv bochs /emulator/
  '
}

# An initial file system with the tests and their libraries. Threads do not interrupt each other: with threads that do,
# a test once ended with an invalid opcode in this emulator, and whose fault that is has not been found out.
initrd() {
  local files=$1 binary=$2 library; shift 2
  mkdir -p "$files"/{bin,proc,dev,tmp}
  cp "$root/bin/busybox" /usr/bin/chrt "$files/bin/"
  ln -s busybox "$files/bin/sh"
  cp "$binary" "$files/tests"
  strip "$files/tests"
  for library in $(ldd "$binary" | grep -o '/[^ ]*'); do
    install -D "$library" "$files$library"
  done
  cat >"$files/init" <<INIT
#!/bin/sh
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t devtmpfs dev /dev
echo -1 >/proc/sys/kernel/sched_rt_runtime_us
BABIL_ISA=amx /bin/chrt -f 1 /tests ${*@Q} --test-threads=1
echo "tests ended with \$?"
# Powering off does not wait for the serial line.
/bin/busybox sleep 3
/bin/busybox poweroff -f
INIT
  chmod +x "$files/init"
  (cd "$files" && find . | "$root/bin/busybox" cpio -o -H newc 2>/dev/null)
}

# Linux is told not to use what Bochs has not, or does otherwise: five levels of pages, branch tracking, `mwait`. Bochs
# logs nothing: a signal while it does can stop it.
tests() {
  [ -x "$root/emulator/bochs" ] || { echo "no Bochs at $root: run \`$0 setup\` first" >&2; exit 1; }
  local binary work
  binary=$(cargo test --release -p babil-runtime --lib --no-run --message-format=json-render-diagnostics |
    sed -n 's|.*"executable":"\([^"]*\)".*|\1|p' | tail -1)
  work=$root/emulator/run
  rm -rf "$work"
  mkdir -p "$work/cd"
  initrd "$work/files" "$binary" "${@:-kernels::}" >"$work/cd/initrd"
  cp "$root"/emulator/kernel/boot/vmlinuz-* "$work/cd/vmlinuz"
  cp "$root/usr/lib/ISOLINUX/isolinux.bin" "$root/usr/lib/syslinux/modules/bios/ldlinux.c32" "$work/cd/"
  cat >"$work/cd/isolinux.cfg" <<'CFG'
default linux
label linux
  kernel vmlinuz
  initrd initrd
  append console=ttyS0 mitigations=off nokaslr edd=off idle=poll no5lvl ibt=off tsc=reliable
CFG
  cat >"$work/bochsrc" <<'RC'
display_library: nogui
cpu: model=sapphire_rapids, ips=50000000
megs: 512
romimage: file=/usr/share/bochs/BIOS-bochs-latest
vgaromimage: file=/usr/share/vgabios/vgabios.bin
ata0-master: type=cdrom, path=/emulator/run/boot.iso, status=inserted
boot: cdrom
com1: enabled=1, mode=file, dev=/emulator/run/serial
log: /emulator/run/log
info: action=ignore
error: action=ignore
panic: action=fatal
RC
  chroot "$root" xorriso -as mkisofs -quiet -o /emulator/run/boot.iso -b isolinux.bin -c boot.cat -no-emul-boot \
    -boot-load-size 4 -boot-info-table /emulator/run/cd 2>/dev/null
  # Powering off ends the emulator with an error.
  chroot "$root" /emulator/bochs -q -f /emulator/run/bochsrc </dev/null >/dev/null 2>&1 || true
  sed -n '/^running/,$p' "$work/serial"
  grep -q '^tests ended with 0' "$work/serial"
}

case "${1:-}" in
  setup) setup ;;
  test) shift; tests "$@" ;;
  *) sed -n '2,6p' "$0"; exit 2 ;;
esac
