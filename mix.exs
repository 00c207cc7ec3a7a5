defmodule Mix.Tasks.Compile.VivaTensorGleam do
  # Turns the Gleam modules into Erlang where there is a gleam: text and tensors without the native library. A package
  # brings them along in generated/. It stands here, and not in lib/, because it runs before lib/ is compiled.
  @moduledoc false
  use Mix.Task.Compiler

  @out "build/mix"
  @stamp "build/mix/stamp"

  # Where the Erlang code of the Gleam modules lies.
  def folder, do: if(File.dir?("generated"), do: "generated", else: Path.join(@out, "_gleam_artefacts"))

  @impl true
  def run(_arguments) do
    gleam = System.find_executable("gleam")
    sources = Path.wildcard("src/**/*.gleam")

    if folder() == "generated" or gleam == nil or not Mix.Utils.stale?(sources, [@stamp]),
      do: {:noop, []},
      else: compile(gleam)
  end

  # From a copy, because gleam would compile test/ too.
  defp compile(gleam) do
    File.rm_rf!(@out)
    [package, libraries] = Enum.map(["package", "lib"], &Path.join(@out, &1))
    Enum.each([package, libraries], &File.mkdir_p!/1)
    File.cp!("gleam.toml", Path.join(package, "gleam.toml"))
    File.cp_r!("src", Path.join(package, "src"))
    arguments = ~w(compile-package --target erlang --no-beam --package #{package} --out #{@out} --lib #{libraries})

    case System.cmd(gleam, arguments, stderr_to_stdout: true) do
      {_, 0} -> {File.touch!(@stamp), []}
      {output, _} -> Mix.raise("viva_tensor's Gleam modules were not compiled:\n" <> output)
    end
  end
end

defmodule Mix.Tasks.Compile.VivaTensorNif do
  # Builds the native library with cargo, where its sources and cargo are there and the library is missing or older
  # than them; or fetches a prebuilt one, where VIVA_TENSOR_URL says from where. It comes last: the module
  # viva_tensor_install does the work.
  @moduledoc false
  use Mix.Task.Compiler

  @library "priv/viva_tensor_nif.so"
  @sources ["native/Cargo.{toml,lock}", "native/{engine,nif}/{Cargo.toml,build.rs}"] ++
             ["native/{engine,nif}/src/**/*.rs", "kernels/**/*"]

  @impl true
  def run(_arguments) do
    sources = @sources |> Enum.flat_map(&Path.wildcard/1) |> Enum.reject(&File.dir?/1)
    there? = File.exists?(@library)

    cond do
      there? and not Mix.Utils.stale?(sources, [@library]) -> {:noop, []}
      sources != [] and cargo?() -> build()
      there? -> {:noop, []}
      System.get_env("VIVA_TENSOR_URL", "") != "" -> fetch()
      true -> missing("It has")
    end
  end

  # rustup puts cargo where only login shells look.
  defp cargo?, do: System.find_executable("cargo") != nil or File.exists?(Path.expand("~/.cargo/bin/cargo"))

  defp build do
    Mix.shell().info("Building viva_tensor's native library (cargo, some minutes the first time)")

    case :viva_tensor_install.build(String.to_charlist(File.cwd!())) do
      {:ok, _} -> {:ok, []}
      {:error, reason} -> Mix.raise("viva_tensor's native library was not built: #{reason}")
    end
  end

  defp fetch do
    case :viva_tensor_install.install(:none, :any) do
      {:ok, done} -> {Mix.shell().info("viva_tensor: " <> done), []}
      {:error, reason} -> missing("#{reason}. So it has")
    end
  end

  defp missing(reason) do
    Mix.shell().error(
      "viva_tensor: #{reason} no native library: what needs it will return the error nif_not_loaded. " <>
        "Fetch one with `mix viva_tensor.install --from URL`, or install Rust (https://rustup.rs) and compile " <>
        "again: mix deps.compile viva_tensor --force"
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
      # Only src/*.erl and lib/ need to be there; the Gleam modules come in as Erlang code where it is to be had.
      compilers: [:viva_tensor_gleam] ++ Mix.compilers() ++ [:viva_tensor_nif],
      erlc_paths: ["src", Mix.Tasks.Compile.VivaTensorGleam.folder()],
      test_paths: ["test/elixir"],
      deps: []
    ]
  end

  # telemetry is used where an application brings it along, and then starts first. crypto draws the tokens where there
  # is no native library.
  def application do
    [extra_applications: [:crypto, telemetry: :optional]]
  end
end
