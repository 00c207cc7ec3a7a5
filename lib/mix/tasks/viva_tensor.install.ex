defmodule Mix.Tasks.VivaTensor.Install do
  @shortdoc "Puts viva_tensor's native library in its place"
  @moduledoc """
  Puts viva_tensor's native library in its place: fetches a prebuilt one, or builds it with cargo.

      mix viva_tensor.install --from https://example.org/releases/{version}
      mix viva_tensor.install --build

    * `--from`: the URL (http or https) or the folder in which the archives lie; `{version}` in it stands for this
      package's version. Without it the environment variable VIVA_TENSOR_URL says where.
    * `--build`: build with cargo, also where VIVA_TENSOR_URL is set

  With neither, it is built where the sources and cargo are there. A fetched library has to have the sha256 that
  this package's `priv/checksums.txt` says, and to load in a VM of its own, before it takes the place of the one that
  is there. In a checkout, which has no such list, the environment variable VIVA_TENSOR_SHA256 says it.
  """
  use Mix.Task

  @impl true
  def run(arguments) do
    {from, how} = parse(arguments)
    Mix.Task.run("loadpaths")

    case :viva_tensor_install.install(from, how) do
      {:ok, done} -> Mix.shell().info("#{done}\n#{loaded()}")
      {:error, reason} -> Mix.raise(reason)
    end
  end

  defp parse(arguments) do
    case OptionParser.parse(arguments, strict: [from: :string, build: :boolean]) do
      {[], [], []} -> {:none, :any}
      {[from: place], [], []} -> {{:some, place}, :any}
      {[build: true], [], []} -> {:none, :build}
      _ -> Mix.raise("usage: mix viva_tensor.install [--from URL_OR_FOLDER | --build]")
    end
  end

  defp loaded do
    if VivaTensor.native_loaded?(), do: "The native library is loaded.", else: "The native library does not load."
  end
end
