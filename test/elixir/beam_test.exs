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

  test "packed weights are refused in Elixir's notation" do
    assert {:error, error} = VivaTensor.load_model(path("llama"), device: :beam, weights: :fp8)
    assert Exception.message(error) == "weights: a packed format on the BEAM is not supported; expected :keep"
  end

  test "whole numbers are numbers", %{beam: beam, native: native} do
    for options <- [[temperature: 0], [temperature: 1, top_p: 1, min_p: 0], [temperature: 2, repetition_penalty: 2]] do
      [one, other] = Enum.map([beam, native], &VivaTensor.generate!(&1, "Hello", [max_new_tokens: 4] ++ options))
      assert one.token_ids == other.token_ids
    end
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
    # The last of them may have begun a character that never became whole.
    assert {:ok, text} = VivaTensor.detokenize(beam, generation.token_ids)
    assert String.starts_with?(text, first <> second)
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
    same_error = fn function, arguments ->
      [one, other] = Enum.map([beam, native], &apply(VivaTensor, function, [&1 | arguments]))
      assert {:error, %VivaTensor.Error{reason: reason, details: details}} = one
      assert {:error, %VivaTensor.Error{reason: ^reason} = error} = other
      assert details[:option] == error.details[:option]
      assert reason != :internal
    end

    for prompt <- [[], [100_000], [-1], [1.5], [1 | 2], ["a"], nil, 5, <<255>>, "a" <> <<195>>, <<1::1>>],
        do: same_error.(:generate, [prompt])

    for {name, values} <- [
          temperature: [-1, -1.0, "hot", nil, 1.0e300, 10 ** 400],
          top_k: [0, 3.5, nil],
          top_p: [0, "x", 1.5],
          min_p: [1, nil],
          repetition_penalty: [0, 101, :much],
          seed: [1.5, -1, 2 ** 64],
          max_new_tokens: [-1, 3.0, "7"],
          stop: [nil, :x, [1], ["a" | "b"], [""], [<<255>>]],
          stop_on_eos: [1, nil],
          logprobs: [-1, 101, 2.0]
        ],
        value <- values,
        do: same_error.(:generate, ["Hi", [{name, value}]])

    for messages <- [[], [user: 5], [user: <<255>>], [{<<255>>, "Hi"}], [%{role: "user", content: ["Hi"]}]] do
      same_error.(:chat, [messages])
      same_error.(:render, [messages])
    end

    same_error.(:render, [[user: "Hi"], [generation_prompt: 3]])
    for text <- [nil, 5, <<255>>], do: same_error.(:tokenize, [text])
    for ids <- [nil, "abc", [1.0], [-1]], do: same_error.(:detokenize, [ids])

    for {name, value} <- [context: "x", context: 1.5, context: 0, context: 257, threads: "x", threads: 0, threads: 257],
        device <- [:beam, :cpu] do
      assert {:error, %{reason: :invalid_option, details: %{option: option}}} =
               VivaTensor.load_model(path("llama"), [{:device, device}, {name, value}])

      assert option == Atom.to_string(name)
    end

    assert {:error, %{reason: :not_found}} = VivaTensor.load_model("no/such/model", device: :beam)
    assert {:error, %{reason: :unsupported}} = VivaTensor.load_model(path("phi2"), device: :beam)
    stop = fn _, _ -> :halt end
    assert {:error, %{reason: :load_cancelled}} = VivaTensor.load_model(path("llama"), device: :beam, on_progress: stop)
  end
end
