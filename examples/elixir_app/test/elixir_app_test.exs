defmodule ElixirAppTest do
  use ExUnit.Case

  import ExUnit.CaptureIO

  @model Path.expand("../../../test/fixtures/tiny/llama", __DIR__)

  test "a text is generated" do
    assert {:ok, model} = VivaTensor.load_model(@model)
    assert {:ok, result} = VivaTensor.generate(model, "Hello, world!", max_new_tokens: 3)
    assert result.token_ids == [152, 94, 179]
    IO.puts("computed by: #{model.info.device}")
  end

  @tag :capture_log
  test "a supervised model answers, also after a crash" do
    assert {:ok, supervisor} = ElixirApp.start(@model)
    answer = capture_io(fn -> ElixirApp.ask("Hi", max_new_tokens: 8) end)
    assert answer == VivaTensor.chat!(VivaTensor.load_model!(@model), [user: "Hi"], max_new_tokens: 8).text <> "\n"

    ref = Process.monitor(ElixirApp.Model)
    Process.exit(Process.whereis(ElixirApp.Model), :kill)
    assert_receive {:DOWN, ^ref, :process, _, :killed}
    # The supervisor answers once it has started the model anew.
    assert [{_, pid, :worker, _}] = Supervisor.which_children(supervisor)
    assert is_pid(pid)
    assert capture_io(fn -> ElixirApp.ask("Hi", max_new_tokens: 8) end) == answer
  end
end
