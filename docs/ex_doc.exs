# What Debian's ex_doc makes of the Elixir modules: `make docs` calls it.
[
  main: "VivaTensor",
  extras: Path.wildcard("docs/*.md") ++ ["CHANGELOG.md"],
  filter_modules: fn module, _ -> match?("Elixir." <> _, Atom.to_string(module)) end
]
