#!/usr/bin/env python3
"""Runs the code blocks of README.md, CONTRIBUTING.md and docs/, translations and the tour included.

All blocks of one language in one document are one program, in their order: what a block binds, a later one has. It runs in
a folder outside the tree in which `model.gguf` and `path/to/model.safetensors` are tiny checkpoints, with the native library
that is built here. What the package does not depend on and an example uses (gleam/io, Plug.Conn) is there as a
stand-in of a few lines. Of shell commands, those of the command line run there; those of make and Python have to name
a target or a file that exists. Links between the files have to lead somewhere, and a translation's code is the original's, less
the comments, as are the names and figures in its tables; with --strict those of README.md, too.

The surprise: an Elixir program is padded with empty lines, so that an error names the line of the document.
"""

import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FIXTURES = ROOT / "test" / "fixtures"
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
TOUR = ROOT / "docs" / "tour.livemd"
TRANSLATIONS = ["pt-br", "zh-cn"]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# Blocks that name something of the reader's own: a module, a file's data, a number.
ERLANG_BINDINGS = "Seed = 42, Position = 7, "
GLEAM_IO = """@external(erlang, "io", "put_chars")
pub fn print(text: String) -> Nil

pub fn println(text: String) -> Nil {
  print(text <> "\\n")
}
"""
PLUG = """
defmodule Plug.Conn do
  # As much of Plug as the example of docs/web.md uses; a connection that is closed after one chunk.
  defstruct status: nil, type: nil, chunks: []
  def put_resp_content_type(conn, type), do: %{conn | type: type}
  def send_chunked(conn, status), do: %{conn | status: status}
  def chunk(%{chunks: [_]}, _), do: {:error, :closed}
  def chunk(conn, chunk), do: {:ok, %{conn | chunks: [chunk | conn.chunks]}}
end
"""
# What calls the modules and functions that a document defines, after them.
CALLS = {
    "docs/web.md": """
{:ok, _} = VivaTensor.Server.start_link(model: "model.gguf", name: MyApp.Model)
conn = MyApp.Answer.call(%Plug.Conn{}, "Why is the sky blue?")
{200, "text/event-stream", 1} = {conn.status, conn.type, length(conn.chunks)}
true = Enum.all?(conn.chunks, &(&1 =~ ~r/^data: ".*"\\n\\n$/s))
{:ok, _} = MyApp.Pieces.stream_to(self(), "Why is the sky blue?")
receive do {:piece, piece} when is_binary(piece) -> :ok after 20_000 -> raise "no piece came" end
receive do :done -> :ok after 20_000 -> raise "no end came" end
""",
}
GLEAM_CALLS = {
    "docs/web.md": """
  let assert Ok(model) = t.load_model("model.gguf")
  let assert Ok(whole) = answer(model, "Why is the sky blue?", fn(_) { Ok(Nil) })
  assert whole.finish_reason != t.Cancelled
  let assert Ok(result) =
    answer(model, "Why is the sky blue?", fn(_) { Error("gone") })
  assert result.finish_reason == t.Cancelled
""",
    "docs/supervision.md": """
  let assert Ok("llama") =
    start(
      "model.gguf",
      fn(model) {
        let assert Ok(info) = t.model_info(model)
        Ok(info.architecture)
      },
      fn(text) { text },
    )
  let assert Error("no/such/model: not found" <> _) =
    start("no/such/model", fn(_) { Ok("") }, fn(text) { text })
""",
}


class Failure(Exception):
    """A block that does not do."""


def name_of(document: Path) -> str:
    return str(document.relative_to(ROOT))


def original(document: Path) -> str:
    """What a translation is one of; its own name for another document."""
    name = name_of(document)
    for language in TRANSLATIONS:
        name = name.replace(f"docs/{language}/README", "README").replace(f"docs/{language}/", "docs/")
    return name


def blocks(document: Path, *languages: str) -> list[tuple[int, str]]:
    """First line and text of each block in these languages."""
    text = document.read_text(encoding="utf-8")
    found = [match for match in BLOCK.finditer(text) if match.group(1) in languages]
    return [(text.count("\n", 0, match.start()) + 2, match.group(2)) for match in found]


def padded(parts: list[tuple[int, str]]) -> str:
    program = ""
    for line, text in parts:
        program += "\n" * (line - 1 - program.count("\n")) + text
    return program


def run(command: list[str], folder: Path, **variables: str) -> str:
    environment = os.environ | {"ELIXIR_ERL_OPTIONS": "+fnu"} | variables
    done = subprocess.run(
        command, cwd=folder, env=environment, text=True, errors="replace", stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    if done.returncode != 0:
        raise Failure(f"$ {' '.join(command)}\n{done.stdout}\nstatus {done.returncode}")
    return done.stdout


# Gleam: a module a document, in one project.


def gleam_module(document: Path) -> str:
    """Empty where the document has no Gleam."""
    imports, items, statements = [], [], []
    for _, text in blocks(document, "gleam"):
        lines = text.splitlines()
        imports += [line for line in lines if line.startswith("import ")]
        rest = "\n".join(line for line in lines if not line.startswith("import ")).strip()
        first = rest.split(maxsplit=1)[0]
        (items if first in ("pub", "fn", "const", "type") or first.startswith("@") else statements).append(rest)
    if not items and not statements:
        return ""
    body = "\n".join(statements) + GLEAM_CALLS.get(original(document), "")
    head = "\n".join(dict.fromkeys(imports))
    return "\n\n".join([head, *items, f"pub fn main() {{\n{body}\n  Nil\n}}", ""])


def run_gleam(scratch: Path) -> None:
    project = scratch / "gleam_docs"
    (project / "src" / "gleam").mkdir(parents=True)
    (project / "gleam.toml").write_text(
        f'name = "gleam_docs"\nversion = "1.0.0"\n[dependencies]\nviva_tensor = {{ path = "{ROOT}" }}\n', encoding="utf-8"
    )
    (project / "src" / "gleam" / "io.gleam").write_text(GLEAM_IO, encoding="utf-8")
    modules = {}
    for number, document in enumerate(DOCUMENTS):
        if text := gleam_module(document):
            modules[f"document_{number}"] = document
            (project / "src" / f"document_{number}.gleam").write_text(text, encoding="utf-8")
    lines = "".join(f"  {module}.main()\n" for module in modules)
    imports = "".join(f"import {module}\n" for module in modules)
    (project / "src" / "gleam_docs.gleam").write_text(f"{imports}\npub fn main() {{\n{lines}}}\n", encoding="utf-8")
    link_models(project)
    run(["gleam", "run", "--no-print-progress"], project)
    for document in modules.values():
        say(document, "gleam")


def say(document: Path, language: str) -> None:
    print(f"ok      {language:7} {name_of(document)}", flush=True)


def link_models(folder: Path) -> None:
    # Said to be made for longer texts, as the checkpoints are that a reader has.
    data = (FIXTURES / "gguf_models" / "llama_bpe_q4_0" / "model.gguf").read_bytes()
    key = b"llama.context_length" + struct.pack("<I", 4)
    at = data.index(key) + len(key)
    (folder / "model.gguf").write_bytes(data[:at] + struct.pack("<I", 8192) + data[at + 4 :])
    (folder / "path").mkdir()
    (folder / "path" / "to").symlink_to(FIXTURES / "tiny" / "llama")


# Elixir: a script a document.

EVALUATE = 'Code.eval_string(File.read!(hd(System.argv())), [], file: hd(tl(System.argv())))'


def run_elixir(scratch: Path) -> None:
    run(["mix", "compile"], ROOT, MIX_ENV="test")
    ebin = ROOT / "_build" / "test" / "lib" / "viva_tensor" / "ebin"
    for document in DOCUMENTS:
        parts = blocks(document, "elixir")
        if not parts:
            continue
        calls = CALLS.get(original(document), "")
        script = scratch / "document.exs"
        program = padded(parts) + calls
        script.write_text(program, encoding="utf-8")
        stand_in = ["-e", PLUG] if "Plug.Conn" in program else []
        run(["elixir", "-pa", str(ebin), *stand_in, "-e", EVALUATE, "--", str(script), name_of(document)], scratch)
        say(document, "elixir")


def run_tour(scratch: Path) -> None:
    """As Livebook would: Mix.install and all, from top to bottom."""
    script = scratch / "tour.exs"
    script.write_text(padded(blocks(TOUR, "elixir")), encoding="utf-8")
    run(["elixir", "-e", EVALUATE, "--", str(script), str(TOUR)], scratch, MIX_INSTALL_DIR=str(scratch / "install"))
    say(TOUR, "elixir")


# The other languages.


def run_erlang(scratch: Path) -> None:
    for document in DOCUMENTS:
        for _, text in blocks(document, "erlang"):
            code = ERLANG_BINDINGS + text.strip().removesuffix(".") + ", halt()."
            run(["erl", "-noshell", "-pa", str(ROOT / "build/dev/erlang/viva_tensor/ebin"), "-eval", code], scratch)
            say(document, "erlang")


def check_shell(scratch: Path) -> None:
    version = re.search(r'^version = "(.*)"', (ROOT / "gleam.toml").read_text(encoding="utf-8"), re.MULTILINE).group(1)
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for document in DOCUMENTS:
        commands = [line for _, text in blocks(document, "sh") for line in text.splitlines() if line.strip()]
        for command in commands:
            words = command.split("#")[0].split()
            if words[0] == "make":
                if not re.search(rf"^{words[1]}:", makefile, re.MULTILINE):
                    raise Failure(f"{name_of(document)}: the Makefile has no {words[1]}")
            elif words[0] == "python3":
                if not (ROOT / words[1]).is_file():
                    raise Failure(f"{name_of(document)}: there is no {words[1]}")
            elif command.startswith("gleam run -m viva_tensor/"):
                # chat reads lines until its input ends, which it does at once.
                run(["sh", "-c", command.replace("gleam run", "gleam run --no-print-progress")], scratch / "gleam_docs")
            elif words[0] == "tar":
                # Only where the package has been made; its name is the one of this version in any case.
                if f"dist/viva_tensor-{version}.tar" not in command:
                    raise Failure(f"{name_of(document)}: {command} does not name this version's package")
                if (ROOT / f"dist/viva_tensor-{version}.tar").is_file():
                    run(["sh", "-ec", command.replace("dist/", f"{ROOT}/dist/")], scratch)
            elif words[0] == "mkdir":
                run(words, scratch)
            else:
                raise Failure(f"{name_of(document)}: nobody runs the command {command}")
        if commands:
            say(document, "sh")


def check_toml() -> None:
    for document in DOCUMENTS:
        for _, text in blocks(document, "toml"):
            # As run_gleam and tools/try_package.py write it for the projects that they build.
            if text != '[dependencies]\nviva_tensor = { path = "../viva_tensor" }\n':
                raise Failure(f"{name_of(document)}: nobody has tried this TOML")
            say(document, "toml")


def check_links() -> None:
    for document in DOCUMENTS:
        text = BLOCK.sub("", document.read_text(encoding="utf-8"))
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
            if not re.match(r"\w+:", target) and not (document.parent / target).exists():
                raise Failure(f"{name_of(document)}: the link {target} leads nowhere")
    print(f"ok      links   {len(DOCUMENTS)} documents", flush=True)


def code(document: Path) -> list[str]:
    """The code without comments and empty lines."""
    lines = "".join(text for _, text in blocks(document, "gleam", "elixir", "toml")).splitlines()
    return [line for line in lines if line.strip() and not re.match(r"\s*(//|#)", line)]


def figures(document: Path) -> list[list[str]]:
    """The names and numbers in each row of the tables; a translation may turn them around within a row."""
    rows = re.findall(r"^\|.*", BLOCK.sub("", document.read_text(encoding="utf-8")), re.MULTILINE)
    return [sorted(re.findall(r"`[^`]*`|\d+(?:\.\d+)?", row)) for row in rows]


def check_translations(strict: bool) -> None:
    """A README that lags behind is told about; what it shows has to run in any case."""
    for language in TRANSLATIONS:
        for name in ("README.md", "getting_started.md"):
            document = ROOT / "docs" / language / name
            source = ROOT / original(document)
            parts = [("code", code), ("tables", figures)]
            other = [what for what, read in parts if read(document) != read(source)]
            behind = f"{name_of(document)} has other {' and '.join(other)} than {name_of(source)}"
            if not other:
                say(document, "same")
            elif strict or name != "README.md":
                raise Failure(behind)
            else:
                print(f"behind  same    {behind}", flush=True)


def main() -> None:
    scratch = Path(tempfile.mkdtemp(prefix="viva_tensor_docs_"))
    try:
        link_models(scratch)
        check_links()
        check_toml()
        check_translations(strict="--strict" in sys.argv[1:])
        run_gleam(scratch)
        check_shell(scratch)
        run_elixir(scratch)
        run_erlang(scratch)
        run_tour(scratch)
    except Failure as failure:
        sys.exit(f"run_docs: {failure}")
    finally:
        shutil.rmtree(scratch)


if __name__ == "__main__":
    main()
