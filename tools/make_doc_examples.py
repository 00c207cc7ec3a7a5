#!/usr/bin/env python3
"""Writes test/viva_tensor/tensor_examples_test.gleam: the examples of the facade's tensor functions, as tests.

What precedes `// -> value` in an example is asserted to be that value. The test suite itself checks that every example
of the facade is in the written file, so a changed example without a new run of this tool fails there.
"""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FACADE = ROOT / "src" / "viva_tensor.gleam"
TESTS = ROOT / "test" / "viva_tensor" / "tensor_examples_test.gleam"
HEAD = '''//// The examples in the documentation of the tensor functions, written by
//// tools/make_doc_examples.py from src/viva_tensor.gleam.

import support
import viva_tensor as t
'''


def main() -> None:
    text = FACADE.read_text(encoding="utf-8")
    tensors = text[text.index("\n// Tensors.\n") :]
    tests = [HEAD]
    for lines, name in re.findall(r"((?:^///.*\n)+)pub fn (\w+)", tensors, re.MULTILINE):
        example = re.search(r"^/// ```gleam\n(.*?)^/// ```$", lines, re.MULTILINE | re.DOTALL)
        if not example:
            raise SystemExit(f"{name} has no example")
        code = [line[4:] for line in example.group(1).splitlines()]
        if not code[-1].startswith("// -> "):
            raise SystemExit(f"the example of {name} does not end with its value")
        *before, value = code
        # `let` lines first, then the expression.
        count = sum(1 for line in before if line.startswith("let "))
        *lets, expression = before[:count], "\n".join(before[count:])
        body = [*lets[0], f"assert {{ {expression} }}", f"  == {value[6:]}"]
        if "path" in " ".join(before):
            body.insert(0, 'let path = support.make_folder() <> "/tensors.safetensors"')
        quoted = "\n".join(f"  // {line}" for line in code)
        tests.append(f"pub fn {name}_test() {{\n{quoted}\n" + "\n".join("  " + line for line in body) + "\n}\n")
    TESTS.write_text("\n".join(tests), encoding="utf-8")
    print(f"{TESTS}: {len(tests) - 1} examples")


if __name__ == "__main__":
    main()
