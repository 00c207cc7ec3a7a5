#!/usr/bin/env python3
"""Makes the archive of the built native library for this machine, dist/viva_tensor_nif-VERSION-TARGET.tar.gz, and
priv/checksums.txt, the list of all archives of this version in dist/.

Before that the library is looked at: what it is built for, which libraries it needs, how new a glibc has to be, and
whether the GPU code for any model, kernels/generic.ptxs, is in it and for old enough drivers; of a Mac's, how new a
macOS has to be. The surprise: on Linux the archive's copy differs from the built one in a few bytes. The linker marks
a version of glibc as needed even where every symbol of it is weak and does not need to be there; the copy says so. With --list, priv/checksums.txt is all that is written: so a release
collects the archives of several machines, and says with --expect how many there have to be.
"""

import argparse
import gzip
import hashlib
import io
import platform
import re
import struct
import subprocess
import sys
import tarfile
import zlib
from pathlib import Path
from typing import Optional

ROOT = Path(__file__).resolve().parent.parent
DIST = ROOT / "dist"
CHECKSUMS = ROOT / "priv" / "checksums.txt"
LIBRARY = "viva_tensor_nif.so"
# Debian 12, Ubuntu 22.04 and Red Hat 9 have it or newer.
GLIBC_FLOOR = (2, 34)
SYSTEM_LIBRARIES = re.compile(r"lib(c|m|gcc_s|dl|pthread|rt)\.so\.\d+|ld-linux[-\w]*\.so\.\d+")
# That of CUDA 12.0, for drivers from 525.60 on.
PTX = ("8.0", "sm_80")
MACHINES = {"x86_64": 62, "aarch64": 183}
# Mach-O's numbers, and those of the commands in its header that are read.
CPUS = {"x86_64": 0x01000007, "aarch64": 0x0100000C}
LOAD_DYLIB, LOAD_WEAK_DYLIB, REEXPORT_DYLIB, BUILD_VERSION, MIN_MACOS = 0xC, 0x80000018, 0x8000001F, 0x32, 0x24
MACOS_FLOOR = (11, 0)
VERNEED_WEAK = 2


class Failure(Exception):
    """Something about the library that must not be released."""


def version() -> str:
    return re.search(r'^version = "(.*)"', (ROOT / "gleam.toml").read_text(encoding="utf-8"), re.MULTILINE).group(1)


def this_target() -> str:
    """As viva_tensor_install:target/0 calls it."""
    machine = {"arm64": "aarch64", "AMD64": "x86_64"}.get(platform.machine(), platform.machine())
    return f"{machine}-macos" if sys.platform == "darwin" else f"{machine}-linux-{platform.libc_ver()[0] and 'gnu'}"


def readelf(library: Path, *arguments: str) -> str:
    command = ["readelf", "--wide", *arguments, str(library)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def section(data: bytes, wanted: str) -> tuple[int, int]:
    """Offset and size of a section of a 64-bit little-endian ELF file."""
    table, (size, count, names) = struct.unpack_from("<Q", data, 0x28)[0], struct.unpack_from("<HHH", data, 0x3A)
    headers = [struct.unpack_from("<IIQQQQIIQQ", data, table + index * size) for index in range(count)]
    texts = headers[names][4]
    for header in headers:
        start = texts + header[0]
        if data[start : data.index(b"\0", start)].decode() == wanted:
            return header[4], header[5]
    raise Failure(f"there is no section {wanted}")


def mark_weak(data: bytearray) -> list[str]:
    """Marks the needed versions that only weak symbols have, and returns the names of the others."""
    symbols, symbols_size = section(data, ".dynsym")
    versions, _ = section(data, ".gnu.version")
    texts, _ = section(data, ".dynstr")
    needs, needs_size = section(data, ".gnu.version_r")
    strong = set()
    for index in range(symbols_size // 24):
        _, info, _, defined_in = struct.unpack_from("<IBBH", data, symbols + index * 24)
        if defined_in == 0 and info >> 4 != 2:
            strong.add(struct.unpack_from("<H", data, versions + index * 2)[0] & 0x7FFF)
    needed, at = [], needs
    while needs <= at < needs + needs_size:
        _, count, _, first, following = struct.unpack_from("<HHIII", data, at)
        entry = at + first
        for _ in range(count):
            _, flags, number, name, step = struct.unpack_from("<IHHII", data, entry)
            if number in strong:
                start = texts + name
                needed.append(data[start : data.index(b"\0", start)].decode())
            else:
                struct.pack_into("<H", data, entry + 4, flags | VERNEED_WEAK)
            entry += step
        if following == 0:
            break
        at += following
    return needed


def check_linux(data: bytearray, target: str) -> str:
    machine = MACHINES.get(target.split("-")[0])
    found = struct.unpack_from("<H", data, 18)[0] if data[:6] == b"\x7fELF\x02\x01" else None
    if machine is None or found != machine:
        raise Failure(f"the library is not for {target}: ELF machine {found}")
    needed = mark_weak(data)
    numbers = [tuple(map(int, name[6:].split("."))) for name in needed if re.fullmatch(r"GLIBC_[\d.]+", name)]
    newest = max(numbers)
    if newest > GLIBC_FLOOR:
        raise Failure(f"it needs glibc {newest[0]}.{newest[1]}, newer than {GLIBC_FLOOR[0]}.{GLIBC_FLOOR[1]}")
    return f"glibc {newest[0]}.{newest[1]} or newer"


def check_macos(data: bytes, target: str) -> str:
    """A 64-bit little-endian Mach-O library, its libraries and the oldest macOS that loads it."""
    magic, cpu = struct.unpack_from("<II", data) if len(data) >= 32 else (0, 0)
    if magic != 0xFEEDFACF or cpu != CPUS.get(target.split("-")[0]):
        raise Failure(f"the library is not for {target}: magic {magic:#x}, CPU {cpu:#x}")
    at, needed, oldest = 32, [], None
    for _ in range(struct.unpack_from("<I", data, 16)[0]):
        command, size = struct.unpack_from("<II", data, at)
        if command in (LOAD_DYLIB, LOAD_WEAK_DYLIB, REEXPORT_DYLIB):
            start = at + struct.unpack_from("<I", data, at + 8)[0]
            needed.append(data[start : data.index(b"\0", start)].decode())
        if command in (BUILD_VERSION, MIN_MACOS):
            number = struct.unpack_from("<I", data, at + (12 if command == BUILD_VERSION else 8))[0]
            oldest = (number >> 16, number >> 8 & 0xFF)
        at += size
    foreign = [name for name in needed if not name.startswith(("/usr/lib/", "/System/Library/"))]
    if foreign:
        raise Failure(f"it needs libraries that not every Mac has: {', '.join(foreign)}")
    if oldest is None or oldest > MACOS_FLOOR:
        raise Failure(f"it is for macOS {oldest}, newer than {MACOS_FLOOR}: set MACOSX_DEPLOYMENT_TARGET")
    return f"macOS {oldest[0]}.{oldest[1]} or newer"


def check_needed(library: Path) -> None:
    names = re.findall(r"\(NEEDED\).*\[(.*)\]", readelf(library, "--dynamic"))
    foreign = [name for name in names if not SYSTEM_LIBRARIES.fullmatch(name)]
    if foreign:
        raise Failure(f"it needs libraries that not every machine has: {', '.join(foreign)}")


def check_weak(library: Path, expected: str) -> None:
    """readelf's word for it, beside our own reading of the file."""
    text = readelf(library, "--version-info")
    needs = re.findall(r"Name: GLIBC_([\d.]+)\s+Flags: (\w+)", text[text.index("version_r") :])
    newest = max(tuple(map(int, name.split("."))) for name, flags in needs if flags == "none")
    if f"glibc {newest[0]}.{newest[1]} or newer" != expected:
        raise Failure(f"readelf says that it needs glibc {newest}, and not {expected}")


def ptx_texts(packed: bytes) -> dict[str, str]:
    """The texts of kernels/generic.ptxs: see native/engine/src/backend/cuda/generic.rs."""
    if packed[:8] != b"vivaptx1":
        raise Failure("kernels/generic.ptxs is none: make kernels")
    parts, at = [], 24
    while at < len(packed):
        size = struct.unpack_from("<I", packed, at)[0]
        parts.append(packed[at + 4 : at + 4 + size])
        at += 4 + size
    return {name.decode(): zlib.decompress(text, wbits=-15).decode() for name, text in zip(parts[::2], parts[1::2])}


def check_gpu_code(data: bytes) -> str:
    """Packaged builds bring GPU code along for machines with a driver and no libnvrtc."""
    packed = (ROOT / "kernels" / "generic.ptxs").read_bytes()
    if packed not in data:
        raise Failure("kernels/generic.ptxs is not in the library")
    texts = ptx_texts(packed)
    for name, text in texts.items():
        versions = re.findall(r"^\.version (\S+)\n\.target (\S+)", text, re.MULTILINE)
        if versions != [PTX]:
            raise Failure(f"{name} is PTX {versions}, not {PTX}")
    return f"GPU code for any model ({len(texts)} texts of PTX {PTX[0]}, {len(packed) / 1e6:.1f} MB)"


def archive(data: bytes, path: Path) -> None:
    """The same library gives the same bytes."""
    entry = tarfile.TarInfo(LIBRARY)
    entry.size, entry.mode, entry.mtime = len(data), 0o755, 0
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", mtime=0) as zipped, tarfile.open(fileobj=zipped, mode="w") as tar:
        tar.addfile(entry, io.BytesIO(data))
    path.write_bytes(packed.getvalue())


def write_list(expected: Optional[int]) -> None:
    archives = sorted(DIST.glob(f"viva_tensor_nif-{version()}-*.tar.gz"))
    if expected is not None and len(archives) != expected:
        names = ", ".join(file.name for file in archives) or "none"
        raise Failure(f"there are to be {expected} archives of version {version()} in {DIST}; found {names}")
    lines = [f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in archives]
    CHECKSUMS.write_text("".join(lines), encoding="utf-8")
    print(f"{CHECKSUMS.relative_to(ROOT)}: {len(lines)} archive(s)")


def make(library: Path, target: str) -> None:
    data = bytearray(library.read_bytes())
    says = [target]
    checked = DIST / f".{target}.checked"
    try:
        if "-linux-" in target:
            says.append(check_linux(data, target))
            checked.write_bytes(data)
            check_needed(checked)
            check_weak(checked, says[-1])
            says.append(check_gpu_code(data))
        elif target.endswith("-macos"):
            says.append(check_macos(data, target))
    finally:
        checked.unlink(missing_ok=True)
    path = DIST / f"viva_tensor_nif-{version()}-{target}.tar.gz"
    archive(bytes(data), path)
    print(f"{path.relative_to(ROOT)}: {path.stat().st_size / 1e6:.1f} MB; {', '.join(says)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--library", type=Path, default=ROOT / "priv" / LIBRARY)
    parser.add_argument("--target", default=this_target(), help="without it: this machine's, %(default)s")
    parser.add_argument("--list", action="store_true", help="write the list of the archives in dist/ and nothing else")
    parser.add_argument("--expect", type=int, metavar="COUNT", help="how many archives the list is to have")
    options = parser.parse_args()
    DIST.mkdir(exist_ok=True)
    try:
        if not options.list:
            make(options.library, options.target)
        write_list(options.expect)
    except (Failure, OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"make_prebuilt: {error}")


if __name__ == "__main__":
    main()
