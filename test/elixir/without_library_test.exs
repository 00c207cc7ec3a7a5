defmodule VivaTensor.WithoutLibraryTest do
  # The same modules in a VM of their own that finds no native library beside them.
  use ExUnit.Case, async: true

  @script """
  {:error, %VivaTensor.Error{reason: :nif_not_loaded} = error} = VivaTensor.load_model("path")
  {:error, {:shutdown, {:failed_to_start_child, VivaTensor.Server, ^error}}} =
    Supervisor.start_link([{VivaTensor.Server, model: "path"}], strategy: :one_for_one)
  IO.puts([inspect(VivaTensor.native_loaded?()), " ", Exception.message(error)])
  """

  defp ebin do
    ebin = Path.join(VivaTensor.Fixtures.folder(), "ebin")
    File.cp_r!(Application.app_dir(:viva_tensor, "ebin"), ebin)
    ebin
  end

  @generate """
  model = VivaTensor.load_model!("test/fixtures/tiny/llama")
  IO.inspect({model.info.device, VivaTensor.generate!(model, "Hello, world!", max_new_tokens: 3).token_ids})
  """

  if not VivaTensor.Engine.beam?(), do: @tag(skip: "compiled without gleam")

  test "the BEAM computes where the Gleam modules are there" do
    assert {output, 0} = System.cmd("elixir", ["-pa", ebin(), "-e", @generate], stderr_to_stdout: true)
    assert output == ~s({"beam", [152, 94, 179]}\n)
  end

  test "without the Gleam modules every call says what is missing and what to do" do
    ebin = ebin()
    ebin |> Path.join("viva_tensor@*.beam") |> Path.wildcard() |> Enum.each(&File.rm!/1)
    script = "Process.flag(:trap_exit, true); Logger.configure(level: :none)\n" <> @script
    assert {output, 0} = System.cmd("elixir", ["-pa", ebin, "-e", script], stderr_to_stdout: true)
    assert "false the native library is not loaded; fetch it with `mix viva_tensor.install --from URL`" <> _ = output
    assert output =~ "install Rust and run `mix deps.compile viva_tensor --force`"
    assert output =~ "viva_tensor_nif"
  end
end
