defmodule Mix.Tasks.Compile.VivaTensorNif do
  # Builds the native library with cargo, where its sources and cargo are there and the library is missing or older
  # than them. It stands here, and not in lib/, because it runs before lib/ is compiled.
  @moduledoc false
  use Mix.Task.Compiler

  @library "priv/viva_tensor_nif.so"
  @sources ["native/Cargo.{toml,lock}", "native/{engine,nif}/{Cargo.toml,build.rs}"] ++
             ["native/{engine,nif}/src/**/*.rs", "kernels/**/*"]

  @impl true
  def run(_arguments) do
    sources = @sources |> Enum.flat_map(&Path.wildcard/1) |> Enum.reject(&File.dir?/1)
    cargo = System.find_executable("cargo") || in_home("cargo")

    cond do
      File.exists?(@library) and not Mix.Utils.stale?(sources, [@library]) -> {:noop, []}
      sources != [] and cargo != nil -> build(cargo)
      File.exists?(@library) -> {:noop, []}
      true -> missing()
    end
  end

  # rustup puts cargo where only login shells look.
  defp in_home(program) do
    path = Path.join([System.user_home() || "/", ".cargo/bin", program])
    if File.exists?(path), do: path
  end

  defp build(cargo) do
    Mix.shell().info("Building viva_tensor's native library (cargo, some minutes the first time)")
    target = System.get_env("CARGO_TARGET_DIR") || Path.expand("native/target")
    # As the Makefile calls it, so that neither builds anew what the other has built.
    arguments = ["build", "--release", "--locked"]
    options = [cd: "native", env: [{"CARGO_TARGET_DIR", target}], stderr_to_stdout: true]

    case System.cmd(cargo, arguments, [into: IO.stream()] ++ options) do
      {_, 0} -> place(Path.join([target, "release", "libviva_tensor_nif." <> extension()]))
      {_, status} -> Mix.raise("viva_tensor's native library was not built: cargo ended with status #{status}")
    end
  end

  defp extension, do: if(:os.type() == {:unix, :darwin}, do: "dylib", else: "so")

  # At once, so that nobody loads half a file. The copy is younger than the sources, also where cargo had nothing to do.
  defp place(built) do
    File.cp!(built, @library <> ".new")
    File.rename!(@library <> ".new", @library)
    {:ok, []}
  end

  defp missing do
    Mix.shell().error(
      "viva_tensor has no native library: every call will return the error nif_not_loaded. " <>
        "Install Rust (https://rustup.rs) and compile again: mix deps.compile viva_tensor --force"
    )

    {:noop, []}
  end
end

defmodule VivaTensor.MixProject do
  use Mix.Project

  def project do
    [
      app: :viva_tensor,
      version: "0.1.0",
      elixir: "~> 1.18",
      description: "LLM inference for Gleam and Elixir on the BEAM",
      # Only src/*.erl and lib/: what is Gleam's stays Gleam's, and needs no gleam here.
      compilers: [:viva_tensor_nif] ++ Mix.compilers(),
      erlc_paths: ["src"],
      test_paths: ["test/elixir"],
      deps: []
    ]
  end

  # telemetry is used where an application brings it along, and then starts first.
  def application do
    [extra_applications: [telemetry: :optional]]
  end
end
