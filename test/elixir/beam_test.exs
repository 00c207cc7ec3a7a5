defmodule VivaTensor.BeamTest do
  # Generation on the BEAM, where the Gleam modules are compiled in, beside the native library's.
  use ExUnit.Case, async: true

  import VivaTensor.Fixtures

  if not VivaTensor.Engine.beam?(), do: @moduletag(skip: "compiled without gleam")

  setup_all do
    if VivaTensor.Engine.beam?(),
      do: %{beam: VivaTensor.load_model!(path("llama"), device: :beam), native: load("llama")},
      else: %{}
  end

  test "the model says who computes", %{beam: beam} do
    assert beam.info.device == "beam"
    assert inspect(beam) =~ "beam"
  end

  test "text, tokens and templates are the native library's", %{beam: beam, native: native} do
    options = [max_new_tokens: 12, temperature: 0.8, seed: 7]
    [one, other] = Enum.map([beam, native], &VivaTensor.generate!(&1, "Hello, world!", options))
    assert {one.text, one.token_ids, one.prompt_token_ids} == {other.text, other.token_ids, other.prompt_token_ids}
    assert one.finish_reason == other.finish_reason
    assert one.timings.prefill_tokens == other.timings.prefill_tokens

    messages = [system: "Be brief.", user: "Hi <|eot_id|>"]
    [one, other] = Enum.map([beam, native], &VivaTensor.chat!(&1, messages, max_new_tokens: 4))
    assert {one.token_ids, one.prompt_token_ids} == {other.token_ids, other.prompt_token_ids}

    assert VivaTensor.tokenize(beam, "Hello") == VivaTensor.tokenize(native, "Hello")
    assert VivaTensor.detokenize(beam, [42, 71, 360, 81]) == {:ok, "Hello"}
    assert VivaTensor.render(beam, user: "Hi") == VivaTensor.render(native, user: "Hi")
  end

  test "a stream gives the pieces and stops when its consumer does", %{beam: beam} do
    text = VivaTensor.generate!(beam, "Hello, world!", max_new_tokens: 12).text
    assert beam |> VivaTensor.stream("Hello, world!", max_new_tokens: 12) |> Enum.join() == text

    me = self()
    options = [max_new_tokens: 1000, stop_on_eos: false, on_finish: &send(me, {:finished, &1})]
    assert [first, second] = beam |> VivaTensor.stream("Hello, world!", options) |> Enum.take(2)
    assert_received {:finished, generation}
    assert generation.finish_reason == :cancelled
    assert generation.text == first <> second
  end

  test "an answer ends with the process that asked for it", %{beam: beam} do
    me = self()

    asking =
      spawn(fn ->
        {:ok, {:beam_session, session}} = VivaTensor.Engine.open(beam.ref)
        send(me, {:session, session})
        Process.sleep(:infinity)
      end)

    assert_receive {:session, session}
    ref = Process.monitor(session)
    Process.exit(asking, :kill)
    assert_receive {:DOWN, ^ref, :process, _, :killed}
  end

  test "a server answers several at once", %{beam: beam} do
    server = start_supervised!({VivaTensor.Server, model: beam})
    expected = VivaTensor.generate!(beam, "Hello", max_new_tokens: 5).token_ids

    answers =
      1..3
      |> Enum.map(fn _ -> Task.async(fn -> VivaTensor.Server.generate(server, "Hello", max_new_tokens: 5) end) end)
      |> Task.await_many()

    assert Enum.map(answers, fn {:ok, answer} -> answer.token_ids end) == List.duplicate(expected, 3)
  end

  test "errors are the native library's", %{beam: beam, native: native} do
    for arguments <- [[[], []], ["Hi", [temperature: -1.0]], [[100_000], []], ["Hi", [max_new_tokens: -1]]] do
      [one, other] = Enum.map([beam, native], &apply(VivaTensor, :generate, [&1 | arguments]))
      assert {:error, %VivaTensor.Error{reason: reason}} = one
      assert {:error, %VivaTensor.Error{reason: ^reason}} = other
    end

    assert {:error, %{reason: :not_found}} = VivaTensor.load_model("no/such/model", device: :beam)
    assert {:error, %{reason: :unsupported}} = VivaTensor.load_model(path("phi2"), device: :beam)
    stop = fn _, _ -> :halt end
    assert {:error, %{reason: :load_cancelled}} = VivaTensor.load_model(path("llama"), device: :beam, on_progress: stop)
  end
end
