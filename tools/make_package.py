#!/usr/bin/env python3
"""Makes the package for Gleam, Elixir and Erlang, dist/viva_tensor-VERSION.tar, in Hex's form: VERSION, CHECKSUM,
metadata.config and contents.tar.gz, whose files a project can also name by path.

In it lie the Gleam sources, the Erlang code that they become (in generated/, where gleam does not look), the Elixir
sources, what both build tools read, and the checksums of the prebuilt native libraries; no native source and no
library. What is in it is checked from a list of what has to be there and of what must not. With --unpack FOLDER its
contents are laid out there, too.
"""

import argparse
import gzip
import hashlib
import io
import re
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DIST = ROOT / "dist"
FILES = ["gleam.toml", "mix.exs", "README.md", "CHANGELOG.md", "LICENSE", "priv/checksums.txt"]
FOLDERS = [("src", ".gleam"), ("src", ".erl"), ("lib", ".ex"), ("docs", ".md"), ("docs", ".svg")]
LIMIT_BYTES = 2_000_000
# 2000-01-01. At 0 Mix would take the sources for older than compiled files that are not there.
MODIFIED = 946_684_800
UNWANTED = re.compile(r"\.(so|dylib|beam|rs|cu|part)$|^(test|native|build|_build|deps)/")


class Failure(Exception):
    """Something that keeps the package from being made."""


def field(name: str) -> str:
    return re.search(rf'^{name} = "(.*)"', (ROOT / "gleam.toml").read_text(encoding="utf-8"), re.MULTILINE).group(1)


def generated() -> dict[str, bytes]:
    """The Erlang code of the Gleam modules, compiled anew from a copy that has nothing else."""
    with tempfile.TemporaryDirectory() as folder:
        package, out, libraries = (Path(folder) / name for name in ("package", "out", "lib"))
        for file in [ROOT / "gleam.toml", *(ROOT / "src").rglob("*.gleam"), *(ROOT / "src").rglob("*.erl")]:
            copy = package / file.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(file.read_bytes())
        libraries.mkdir()
        command = ["gleam", "compile-package", "--target", "erlang", "--no-beam"]
        command += ["--package", str(package), "--out", str(out), "--lib", str(libraries)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            raise Failure(f"gleam did not compile the package:\n{done.stderr}")
        written = {file.stem: file.read_bytes() for file in (out / "_gleam_artefacts").glob("*.erl")}
    modules = {str(file.relative_to(ROOT / "src").with_suffix("")) for file in (ROOT / "src").rglob("*.gleam")}
    missing = sorted(module for module in modules if module.replace("/", "@") not in written)
    if missing:
        raise Failure(f"gleam wrote no Erlang for {', '.join(missing)}")
    # The path of the copy that was compiled stands in the code, for messages of crashes.
    return {
        f"generated/{module.replace('/', '@')}.erl": re.sub(
            rb'"[^"\n]*?(src/[^"\n]*\.gleam)"', rb'"\1"', written[module.replace("/", "@")]
        )
        for module in sorted(modules)
    }


def contents() -> dict[str, bytes]:
    files = {}
    for name in FILES:
        path = ROOT / name
        if not path.is_file():
            hint = " (make prebuilt writes it)" if name == "priv/checksums.txt" else ""
            raise Failure(f"{name} is missing{hint}")
        files[name] = path.read_bytes()
    for folder, suffix in FOLDERS:
        for path in sorted((ROOT / folder).rglob(f"*{suffix}")):
            files[str(path.relative_to(ROOT))] = path.read_bytes()
    return files | generated()


def check(files: dict[str, bytes]) -> None:
    wanted = ["lib/viva_tensor.ex", "lib/mix/tasks/viva_tensor.install.ex", "src/viva_tensor.gleam"]
    wanted += ["src/viva_tensor_nif.erl", "src/viva_tensor/install.gleam", "generated/viva_tensor.erl"]
    for name in wanted:
        if name not in files:
            raise Failure(f"{name} is not in the package")
    for name, data in files.items():
        if UNWANTED.search(name):
            raise Failure(f"{name} must not be in the package")
        if str(ROOT).encode() in data or tempfile.gettempdir().encode() + b"/viva" in data or b'-file("/' in data:
            raise Failure(f"{name} says a path of this machine")
    archive = f"viva_tensor_nif-{field('version')}-"
    lines = files["priv/checksums.txt"].decode().splitlines()
    if not lines or not all(re.fullmatch(rf"[0-9a-f]{{64}}  {re.escape(archive)}[-\w]+\.tar\.gz", line) for line in lines):
        raise Failure("priv/checksums.txt is not a list of this version's archives")


def tar(files: dict[str, bytes]) -> bytes:
    """The same files give the same bytes."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode, entry.mtime = len(data), 0o644, MODIFIED
            archive.addfile(entry, io.BytesIO(data))
    return packed.getvalue()


def metadata(files: dict[str, bytes]) -> bytes:
    """Erlang terms, as Hex reads them."""

    def text(value: str) -> str:
        return '<<"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"/utf8>>'

    names = ",\n  ".join(text(name) for name in files)
    terms = [
        ("name", text("viva_tensor")),
        ("app", text("viva_tensor")),
        ("version", text(field("version"))),
        ("description", text(field("description"))),
        ("licenses", f"[{text('Apache-2.0')}]"),
        ("elixir", text("~> 1.18")),
        ("build_tools", f"[{text('gleam')}, {text('mix')}]"),
        ("links", "[]"),
        ("requirements", "[]"),
        ("files", f"[\n  {names}]"),
    ]
    return "".join(f"{{{text(key)}, {value}}}.\n" for key, value in terms).encode()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--unpack", type=Path, metavar="FOLDER", help="lay the contents out there, too")
    options = parser.parse_args()
    try:
        files = contents()
        check(files)
        zipped = gzip.compress(tar(files), mtime=0)
        if len(zipped) > LIMIT_BYTES:
            raise Failure(f"the package has {len(zipped)} bytes, more than {LIMIT_BYTES}")
        parts = {"VERSION": b"3", "metadata.config": metadata(files), "contents.tar.gz": zipped}
        checksum = hashlib.sha256(b"".join(parts.values())).hexdigest().upper().encode()
        package = DIST / f"viva_tensor-{field('version')}.tar"
        DIST.mkdir(exist_ok=True)
        package.write_bytes(tar({"VERSION": parts["VERSION"], "CHECKSUM": checksum, **parts}))
        if options.unpack:
            for name, data in files.items():
                (options.unpack / name).parent.mkdir(parents=True, exist_ok=True)
                (options.unpack / name).write_bytes(data)
    except (Failure, OSError) as error:
        sys.exit(f"make_package: {error}")
    kinds = {suffix: sum(name.endswith(suffix) for name in files) for suffix in (".gleam", ".erl", ".ex", ".md")}
    print(f"{package.relative_to(ROOT)}: {len(zipped) / 1e3:.0f} kB, {len(files)} files, {kinds}")


if __name__ == "__main__":
    main()
