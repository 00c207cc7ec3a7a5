#!/usr/bin/env python3
"""Whether the files that say this package's version all say the same.

gleam.toml is asked first, the others are to follow it: mix.exs, native/Cargo.toml and its lock, and the first heading
of CHANGELOG.md. A heading with "not released yet" is told about, because a release takes these words away. With a tag as argument, that
of a release, the tag is to be the version behind a v.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PLACES = {
    "gleam.toml": r'^version = "(.+?)"',
    "mix.exs": r'^\s+version: "(.+?)"',
    "native/Cargo.toml": r'^version = "(.+?)"',
    "CHANGELOG.md": r"^## (\d[\w.+-]*)",
}
LOCKED = r'name = "(viva_tensor_\w+)"\nversion = "(.+?)"'


def main() -> None:
    found = {}
    for place, pattern in PLACES.items():
        match = re.search(pattern, (ROOT / place).read_text(encoding="utf-8"), re.MULTILINE)
        found[place] = match.group(1) if match else "no version"
    locked = re.findall(LOCKED, (ROOT / "native/Cargo.lock").read_text(encoding="utf-8"))
    found |= {f"native/Cargo.lock, {name}": version for name, version in locked}
    wanted = found["gleam.toml"]
    wrong = [f"{place} says {version}" for place, version in found.items() if version != wanted]
    wrong += [f"the tag is {tag}" for tag in sys.argv[1:] if tag != f"v{wanted}"]
    if not locked:
        wrong.append("native/Cargo.lock does not name viva_tensor's crates")
    if wrong:
        sys.exit(f"release_check: gleam.toml says {wanted}, but {'; '.join(wrong)}")
    heading = re.search(r"^## .*", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE).group()
    note = f" (CHANGELOG.md: {heading[3:]})" if "not released" in heading else ""
    print(f"version {wanted} in {len(found)} places{note}")


if __name__ == "__main__":
    main()
