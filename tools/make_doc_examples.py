#!/usr/bin/env python3
"""Writes test/viva_tensor/tensor_examples_*_test.gleam: the examples of the facade's tensor functions, as tests.

What precedes `// -> value` in an example is asserted to be that value. The test suite itself checks that every example
of the facade is in the written files, so a changed example without a new run of this tool fails there.
"""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FACADE = ROOT / "src" / "viva_tensor.gleam"
TESTS = ROOT / "test" / "viva_tensor"
# The sections of the facade that the other files begin with.
SECOND = "\n// Products.\n"
THIRD = "\n// Packed weights.\n"
FOURTH = "\n// Into and out of tensors.\n"
HEAD = '''//// The examples in the documentation of the tensor functions, written by
//// tools/make_doc_examples.py from src/viva_tensor.gleam.

import support
import viva_tensor as t
'''


def write(name: str, text: str) -> None:
    tests = [HEAD]
    for lines, function in re.findall(r"((?:^///.*\n)+)pub fn (\w+)", text, re.MULTILINE):
        example = re.search(r"^/// ```gleam\n(.*?)^/// ```$", lines, re.MULTILINE | re.DOTALL)
        if not example:
            raise SystemExit(f"{function} has no example")
        code = [line[4:] for line in example.group(1).splitlines()]
        if not code[-1].startswith("// -> "):
            raise SystemExit(f"the example of {function} does not end with its value")
        *before, value = code
        # `let` lines first, then the expression.
        count = sum(1 for line in before if line.startswith("let "))
        body = [*before[:count], "let value = " + "\n".join(before[count:]), f"assert value == {value[6:]}"]
        if "path" in " ".join(before):
            body.insert(0, 'let path = support.make_folder() <> "/tensors.safetensors"')
        quoted = "\n".join(f"  // {line}" for line in code)
        tests.append(f"pub fn {function}_test() {{\n{quoted}\n" + "\n".join("  " + line for line in body) + "\n}\n")
    text = "\n".join(tests)
    if "support." not in text:
        text = text.replace("import support\n", "")
    (TESTS / name).write_text(text, encoding="utf-8")
    print(f"{TESTS / name}: {len(tests) - 1} examples")


def main() -> None:
    text = FACADE.read_text(encoding="utf-8")
    tensors = text[text.index("\n// Tensors.\n") :]
    first, rest = tensors.split(SECOND)
    second, rest = rest.split(THIRD)
    packed, rest = rest.split(FOURTH)
    write("tensor_examples_of_elements_test.gleam", first)
    write("tensor_examples_of_shapes_test.gleam", second + FOURTH + rest)
    write("tensor_examples_of_packed_weights_test.gleam", packed)


if __name__ == "__main__":
    main()
