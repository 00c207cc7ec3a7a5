defmodule VivaTensor.TelemetryTest do
  # With a `:telemetry` that stands for the real one: it sends the events to the process that this test names.
  use ExUnit.Case, async: false

  alias VivaTensor.{Error, Fixtures}

  setup_all do
    refute Code.ensure_loaded?(:telemetry)

    Code.compile_string("""
    defmodule :telemetry do
      def execute([_ | _] = event, %{} = measurements, %{} = metadata) do
        case :persistent_term.get(:viva_tensor_telemetry_test, nil) do
          nil -> :ok
          pid -> send(pid, {event, measurements, metadata}) && :ok
        end
      end
    end
    """)

    on_exit(fn ->
      :code.purge(:telemetry)
      :code.delete(:telemetry)
    end)
  end

  setup do
    :persistent_term.put(:viva_tensor_telemetry_test, self())
    on_exit(fn -> :persistent_term.erase(:viva_tensor_telemetry_test) end)
  end

  defp events do
    receive do
      {[:viva_tensor | event], measurements, metadata} -> [{event, measurements, metadata} | events()]
    after
      0 -> []
    end
  end

  test "a load tells of its begin and its end" do
    path = Fixtures.path("llama")
    assert {:ok, model} = VivaTensor.load_model(path)
    assert [{[:load, :start], start, %{model: ^path}}, {[:load, :stop], stop, metadata}] = events()
    assert %{system_time: _, monotonic_time: _} = start
    assert stop.weight_bytes == model.info.weight_bytes and stop.duration > 0
    assert metadata == %{model: path, info: model.info}
  end

  test "a load that fails tells why" do
    assert {:error, error} = VivaTensor.load_model("no/such/model")
    assert [{[:load, :start], _, _}, {[:load, :exception], %{duration: _}, metadata}] = events()
    assert metadata == %{model: "no/such/model", kind: :error, reason: error}
  end

  test "an answer tells of its prompt, its slices and its tokens" do
    model = Fixtures.load("llama")
    _ = events()
    generation = VivaTensor.generate!(model, "Hello, world!", max_new_tokens: 24, stop_on_eos: false)
    events = events()
    assert {[:generate, :start], _, %{turn: turn}} = hd(events)
    assert for({_, _, metadata} <- events, do: {metadata.turn, metadata.model}) |> Enum.uniq() == [{turn, model.path}]
    assert [%{duration: first, tokens: 11}] = for({[:prefill, :stop], measurements, _} <- events, do: measurements)
    assert first > 0
    slices = for {[_, :slice], %{tokens: tokens, duration: duration}, _} <- events, duration > 0, do: tokens
    assert Enum.sum(slices) == 24
    assert {[:generate, :stop], measurements, metadata} = List.last(events)
    assert %{prompt_tokens: 11, tokens: 24, duration: duration} = measurements
    assert duration > first
    assert %{finish_reason: :length, timings: timings} = metadata
    assert timings == generation.timings
  end

  test "an answer that fails tells why" do
    model = Fixtures.load("llama")
    _ = events()
    assert {:error, error} = VivaTensor.generate(model, "Hello", temperature: -1.0)
    assert [{[:generate, :start], _, _}, {[:generate, :exception], %{duration: _}, metadata}] = events()
    assert %{kind: :error, reason: %Error{reason: :invalid_option} = ^error} = metadata
  end

  test "a stream that is left early tells of its end" do
    model = Fixtures.endless_model()
    _ = events()
    model |> VivaTensor.stream("Hello", Fixtures.endless()) |> Enum.take(1)
    assert {[:generate, :stop], _, %{finish_reason: :cancelled}} = List.last(events())
  end
end
