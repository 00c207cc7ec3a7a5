#!/usr/bin/env python3
"""Tries every way of adding viva_tensor to a project, each with the projects of examples/ in a folder outside the tree.

The package and the prebuilt library have to lie in dist/ (make package); a web server on the loopback stands for the
release page. Programs that a way is to do without, cargo and gleam, are left out of PATH. With names as arguments only
these ways are tried, `--keep` leaves the folder. Each way says what has to appear in the output; an exit status that is
not expected, or a text that does not appear, is a failure.
"""

import argparse
import functools
import hashlib
import http.server
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DIST = ROOT / "dist"
FIXTURE = Path("test/fixtures/tiny/llama")
# What a checkout has and a build reads, but for the sources of the native library.
CHECKOUT = ["gleam.toml", "mix.exs", "src", "lib", "priv/.gitkeep"]
INSTALL = "gleam run --no-print-progress -m viva_tensor/install --"


class Failure(Exception):
    """What a way did not do."""


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


class Scratch:
    """A folder outside the tree with the two projects, a place for the dependency, and programs to do without."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder, self.url = folder, url

    def programs(self, *without: str) -> str:
        """A folder of links to all programs on PATH but these; what comes first on PATH wins, as there."""
        programs = self.folder / ("bin-without-" + "-".join(without))
        if not programs.exists():
            programs.mkdir()
            for place in os.environ["PATH"].split(":"):
                for program in Path(place).iterdir() if place and Path(place).is_dir() else []:
                    link = programs / program.name
                    if program.name not in without and not link.is_symlink():
                        link.symlink_to(program)
        return str(programs)

    def run(
        self, project: str, command: str, expected: list[str], *, without=(), status=0, user=None, **variables: str
    ) -> str:
        environment = {key: value for key, value in os.environ.items() if key != "VIVA_TENSOR_URL"}
        environment |= {"PATH": self.programs(*without)} if without else {}
        # cargo is also found in the home folder.
        environment |= {"HOME": str(self.folder)} if "cargo" in without else {}
        environment |= {"ELIXIR_ERL_OPTIONS": "+fnu", "MIX_ENV": "test", **variables}
        done = subprocess.run(
            command, shell=True, cwd=self.folder / project, env=environment, text=True, errors="replace",
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, user=user, group=user,
        )  # fmt: skip
        missing = [text for text in expected if text not in done.stdout]
        if done.returncode != status or missing:
            raise Failure(f"$ {command}\n{done.stdout}\nstatus {done.returncode}; not said: {missing}")
        return done.stdout

    def project(self, name: str, dependency: Path) -> str:
        """A copy of an example that names the dependency by its path; its place as `run` wants it."""
        copy = self.folder / dependency.name / "examples" / name
        built = shutil.ignore_patterns("build", "_build", "deps", "manifest.toml", "mix.lock")
        shutil.copytree(ROOT / "examples" / name, copy, ignore=built)
        for file in ("gleam.toml", "mix.exs"):
            if (copy / file).exists():
                text = (copy / file).read_text(encoding="utf-8")
                if '"../.."' not in text:
                    raise Failure(f"examples/{name}/{file} does not name the dependency")
                (copy / file).write_text(text.replace('"../.."', f'"{dependency}"'), encoding="utf-8")
        fixture = self.folder / dependency.name / FIXTURE
        if not fixture.exists():
            shutil.copytree(ROOT / FIXTURE, fixture)
        return str(copy.relative_to(self.folder))

    def package(self) -> Path:
        """The package as a package manager unpacks it."""
        folder = self.folder / f"package-{len(list(self.folder.glob('package-*')))}"
        folder.mkdir()
        with tarfile.open(next(DIST.glob("viva_tensor-*.tar"))) as outer:
            parts = {part: outer.extractfile(part).read() for part in outer.getnames()}
        summed = b"".join(parts[part] for part in ("VERSION", "metadata.config", "contents.tar.gz"))
        if hashlib.sha256(summed).hexdigest().upper().encode() != parts["CHECKSUM"]:
            raise Failure("the package's CHECKSUM is not that of its parts")
        (folder / "metadata.config").write_bytes(parts["metadata.config"])
        terms = '{ok, T} = file:consult("metadata.config"), io:put_chars(proplists:get_value(<<"name">>, T)), halt().'
        self.run(folder.name, f"erl -noshell -eval '{terms}'", ["viva_tensor"])
        (folder / "metadata.config").unlink()
        subprocess.run(["tar", "-xz", "-C", str(folder)], input=parts["contents.tar.gz"], check=True)
        return folder

    def checkout(self) -> Path:
        """What git gives, less the native sources."""
        folder = self.folder / f"checkout-{len(list(self.folder.glob('checkout-*')))}"
        for name in CHECKOUT:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
            copy(ROOT / name, folder / name)
        return folder


def gleam_package(it: Scratch) -> None:
    """Gleam, the package: works at once without the library, then with the fetched one."""
    package = it.package()
    app = it.project("gleam_app", package)
    it.run(app, "gleam test", ["3 tests passed, computed by: beam"])
    missing = ["--from", "VIVA_TENSOR_URL", "viva_tensor_nif-"]
    it.run(app, INSTALL.removesuffix(" --"), missing, status=1)
    it.run(app, f"{INSTALL} --from {it.url}/nowhere", ["404"], status=1)
    it.run(app, f"{INSTALL} --from {it.url}", ["is in place", "cpu   available  native library"])
    it.run(app, "gleam test", ["3 tests passed, computed by: cpu"])
    # Who may not write there is told so. Root may write anywhere, and so becomes somebody else.
    priv = package / "priv"
    priv.chmod(0o555)
    user = 65534 if os.geteuid() == 0 else None
    ask = f'viva_tensor_install:install({{some, <<"{it.url}">>}}, any)'
    code = f"{{error, Reason}} = {ask}, io:put_chars(Reason), halt()."
    erl = f"erl -boot no_dot_erlang -noshell -pa build/dev/erlang/viva_tensor/ebin -eval '{code}'"
    it.run(app, erl, ["priv: permission denied", "unchanged"], user=user)
    priv.chmod(0o755)
    # A library that is damaged on its way leaves that one where it is.
    (package / "priv/checksums.txt").write_text(
        "".join("0" * 64 + line[64:] for line in open(package / "priv/checksums.txt", encoding="utf-8")),
        encoding="utf-8",
    )
    it.run(app, INSTALL.removesuffix(" --"), ["wrong checksum", "unchanged"], status=1, VIVA_TENSOR_URL=it.url)
    it.run(app, "gleam test", ["3 tests passed, computed by: cpu"])


def gleam_path(it: Scratch) -> None:
    """Gleam, this folder by path, with the library that is built here."""
    it.run(it.project("gleam_app", ROOT), "gleam test", ["3 tests passed, computed by: cpu"])


def mix_cargo(it: Scratch) -> None:
    """Mix, this folder by path, with cargo and without gleam: the library is built when it is missing."""
    app = it.project("elixir_app", ROOT)
    library, aside = ROOT / "priv/viva_tensor_nif.so", ROOT / "priv/viva_tensor_nif.so.aside"
    library.rename(aside)
    try:
        said = ["Building viva_tensor's native library", "computed by: cpu", "2 tests, 0 failures"]
        it.run(app, "mix test", said, without=["gleam"])
    finally:
        if library.exists():
            aside.unlink()
        else:
            aside.rename(library)


def mix_package_prebuilt(it: Scratch) -> None:
    """Mix, the package, without cargo and gleam: the library is fetched as the dependency is compiled."""
    app = it.project("elixir_app", it.package())
    said = ["is in place", "computed by: cpu", "2 tests, 0 failures"]
    it.run(app, "mix test", said, without=["cargo", "gleam"], VIVA_TENSOR_URL=it.url)


def mix_package_fallback(it: Scratch) -> None:
    """Mix, the package, without cargo, gleam and library: the BEAM computes; then the library is fetched."""
    app = it.project("elixir_app", it.package())
    without = ["cargo", "gleam"]
    said = ["mix viva_tensor.install --from URL", "computed by: beam", "2 tests, 0 failures"]
    it.run(app, "mix test", said, without=without)
    it.run(app, "mix viva_tensor.install", ["VIVA_TENSOR_URL"], without=without, status=1)
    it.run(app, f"mix viva_tensor.install --from {it.url}", ["The native library is loaded."], without=without)
    it.run(app, "mix test", ["computed by: cpu", "2 tests, 0 failures"], without=without)


def mix_checkout_prebuilt(it: Scratch) -> None:
    """Mix, a checkout without cargo and gleam: the library is fetched with the sum that the user vouches for."""
    app = it.project("elixir_app", it.checkout())
    without = ["cargo", "gleam"]
    archive = next(DIST.glob("viva_tensor_nif-*-linux-gnu.tar.gz"))
    wrong, right = "0" * 64, hashlib.sha256(archive.read_bytes()).hexdigest()
    variables = {"without": without, "VIVA_TENSOR_URL": it.url}
    it.run(app, "mix compile", ["VIVA_TENSOR_SHA256", "no native library"], **variables)
    it.run(app, "mix viva_tensor.install", ["wrong checksum"], status=1, VIVA_TENSOR_SHA256=wrong, **variables)
    said = ["is in place", "computed by: cpu", "2 tests, 0 failures"]
    it.run(app, "mix test", said, VIVA_TENSOR_SHA256=right, **variables)


def mix_gleam(it: Scratch) -> None:
    """Mix, a checkout with gleam, without cargo and library: the Gleam modules are compiled in."""
    app = it.project("elixir_app", it.checkout())
    it.run(app, "mix test", ["computed by: beam", "2 tests, 0 failures"], without=["cargo"])


def mix_nothing(it: Scratch) -> None:
    """Mix, a checkout without cargo, gleam and library: it compiles, and calls say what to do."""
    app = it.project("elixir_app", it.checkout())
    without = ["cargo", "gleam"]
    it.run(app, "mix compile", ["mix viva_tensor.install --from URL", "Generated elixir_app app"], without=without)
    ask = """mix run -e '{:error, error} = VivaTensor.load_model("model"); IO.inspect(error.reason); IO.puts(Exception.message(error))'"""
    said = [":nif_not_loaded", "mix viva_tensor.install --from URL", "mix deps.compile viva_tensor --force"]
    it.run(app, ask, said, without=without)


WAYS = [gleam_package, gleam_path, mix_cargo, mix_package_prebuilt, mix_package_fallback, mix_checkout_prebuilt]
WAYS += [mix_gleam, mix_nothing]


def main() -> None:
    names = [way.__name__ for way in WAYS]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ways", nargs="*", metavar="WAY", help=f"of {', '.join(names)}; all without one")
    parser.add_argument("--keep", action="store_true", help="leave the folder where it was tried")
    options = parser.parse_args()
    if unknown := sorted(set(options.ways) - set(names)):
        parser.error(f"unknown: {', '.join(unknown)}")
    chosen = [way for way in WAYS if not options.ways or way.__name__ in options.ways]
    if any("package" in way.__name__ or "prebuilt" in way.__name__ for way in chosen) and not list(DIST.glob("viva_tensor-*.tar")):
        sys.exit("try_package: there is no package in dist/: make package")
    folder = Path(tempfile.mkdtemp(prefix="viva_tensor_"))
    folder.chmod(0o755)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(DIST)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    failed = False
    for way in chosen:
        place = folder / way.__name__
        place.mkdir()
        start = time.monotonic()
        try:
            way(Scratch(place, f"http://127.0.0.1:{server.server_port}"))
            print(f"ok      {way.__name__:21} {time.monotonic() - start:3.0f} s  {way.__doc__}", flush=True)
        except Failure as failure:
            failed = True
            print(f"FAILED  {way.__name__}: {way.__doc__}\n{failure}", flush=True)
    server.shutdown()
    if not options.keep:
        shutil.rmtree(folder)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
