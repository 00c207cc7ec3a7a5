defmodule VivaTensorTest do
  use ExUnit.Case, async: true

  alias VivaTensor.{Error, Fixtures, Generation, Tensor}

  doctest VivaTensor
  doctest VivaTensor.Error
  doctest VivaTensor.Generation
  doctest VivaTensor.Server

  setup_all do: %{model: Fixtures.load("llama"), golden: hd(Fixtures.golden("llama")["cases"])}

  describe "options" do
    test "stop texts end the answer before them", %{model: model, golden: golden} do
      options = [max_new_tokens: 24, stop_on_eos: false, stop: " under"]
      result = VivaTensor.generate!(model, golden["prompt"], options)
      assert result.finish_reason == {:stop, " under"}
      assert result.text == golden["text"] |> String.split(" under") |> hd()
    end

    test "the same seed draws the same tokens, another one others", %{model: model} do
      draw = fn seed ->
        options = [max_new_tokens: 24, temperature: 1.5, top_k: :infinity, top_p: 1.0, stop_on_eos: false]
        VivaTensor.generate!(model, "Hello", [seed: seed] ++ options).token_ids
      end

      assert draw.(1) == draw.(1)
      assert draw.(1) != draw.(2)
    end

    test "the most probable token of one is the greedy one", %{model: model, golden: golden} do
      options = [max_new_tokens: 24, temperature: 2, top_k: 1, stop_on_eos: false]
      assert VivaTensor.generate!(model, golden["prompt"], options).token_ids == golden["greedy_ids"]
    end

    test "log probabilities are those of the logits", %{model: model, golden: golden} do
      result = VivaTensor.generate!(model, golden["prompt"], max_new_tokens: 2, logprobs: 3)
      assert [%{token_id: id, logprob: logprob, top: [{id, logprob}, _, _]}, _] = result.logprobs
      # The softmax of the logits of transformers.
      total = golden["logits"] |> Enum.map(&:math.exp/1) |> Enum.sum()
      assert_in_delta logprob, Enum.max(golden["logits"]) - :math.log(total), 1.0e-3
    end

    test "a bad value or name is an error that says so", %{model: model} do
      for {options, option} <- [
            {[temperature: -1], "temperature"},
            {[top_k: 0], "top_k"},
            {[top_k: :all], "top_k"},
            {[top_p: "much"], "top_p"},
            {[seed: -1], "seed"},
            {[max_new_tokens: nil], "max_new_tokens"},
            {[stop: :newline], "stop"},
            {[stop: [1]], "stop"},
            {[logprobs: 1000], "logprobs"},
            {[max_tokens: 3], "options"},
            {%{seed: 1}, "options"}
          ] do
        assert {:error, %Error{reason: :invalid_option} = error} = VivaTensor.generate(model, "Hello", options)
        assert error.details.option == option
        assert Exception.message(error) =~ "#{option}: expected "
      end
    end

    test "a bad argument is an error, too", %{model: model} do
      invalid = &assert({:error, %Error{reason: :invalid_option}} = &1)
      invalid.(VivaTensor.generate(model, :prompt))
      invalid.(VivaTensor.generate(model, [-1]))
      invalid.(VivaTensor.generate(model, <<255>>))
      invalid.(VivaTensor.chat(model, "Hi"))
      invalid.(VivaTensor.chat(model, [{:user, "Hi"} | :tail]))
      invalid.(VivaTensor.chat(model, [%{role: :nobody, content: "Hi"}]))
      invalid.(VivaTensor.chat(model, user: 1))
      invalid.(VivaTensor.tokenize(model, 1))
      invalid.(VivaTensor.tokenize(model, "Hi", special_tokens: 1))
      invalid.(VivaTensor.detokenize(model, [1], special_tokens: nil))
      invalid.(VivaTensor.load_model(Fixtures.path("llama"), threads: 0))
      invalid.(VivaTensor.load_model(Fixtures.path("llama"), device: :gpu))
      invalid.(VivaTensor.load_model(Fixtures.path("llama"), weights: :q4))
      invalid.(VivaTensor.load_model(Fixtures.path("llama"), on_progress: 1))
      invalid.(VivaTensor.load_model(:path))
      invalid.(VivaTensor.load_model([:a, "path"]))
    end

    test "a wrong format of weights is told in Elixir's notation" do
      for weights <- [{:int4, 7}, :int4, "int8", nil] do
        assert {:error, error} = VivaTensor.load_model(Fixtures.path("llama"), weights: weights)

        assert Exception.message(error) ==
                 "weights: expected :keep, :fp8, :int8, {:int4, group} with 32, 64 or 128, :int8_sparse24 or " <>
                   ":int4_sparse24, found #{inspect(weights)}"
      end
    end

    @tag skip: File.exists?("/dev/nvidiactl") && "there is a driver here"
    test "a GPU that was asked for where there is no driver says what to do" do
      advice = "install it, or take the CPU with device: :cpu or :auto"
      assert {:error, error} = VivaTensor.load_model(Fixtures.path("llama"), device: {:cuda, 0})
      assert error.reason == :not_found
      assert Exception.message(error) =~ "libcuda.so.1: not found"
      assert Exception.message(error) =~ advice

      error = assert_raise Error, fn -> Tensor.to_device(Tensor.new([1]), {:cuda, 0}) end
      assert Exception.message(error) =~ advice
      # Who did not ask for one is told why there is none, without advice.
      assert {:ok, model} = VivaTensor.load_model(Fixtures.path("llama"))
      assert model.info.device_note =~ "libcuda.so.1: not found"
      refute model.info.device_note =~ advice
    end

    test "a prompt beyond the context is told by how much" do
      model = VivaTensor.load_model!(Fixtures.path("llama"), context: 16)
      prompt = List.duplicate(42, 17)
      assert {:error, %Error{reason: :context_overflow} = error} = VivaTensor.generate(model, prompt)
      # The prompt, and room for one token.
      assert error.details == %{wanted_tokens: 18, limit_tokens: 16}
    end
  end

  describe "loading" do
    test "says how far it is, and stops" do
      me = self()
      progress = fn done, total -> send(me, {done, total}) && :halt end
      assert {:error, error} = VivaTensor.load_model(Fixtures.large_folder(), on_progress: progress)
      assert error.reason == :load_cancelled
      assert_received {done, total} when done < total
      refute_received {_, _}
    end

    test "raises where it is told to" do
      assert_raise Error, ~r"no/model: not found; expected", fn -> VivaTensor.load_model!("no/model") end
    end

    test "takes a path of any kind of text" do
      assert {:ok, model} = VivaTensor.load_model([~c"test/fixtures/tiny/", "llama"])
      assert model.path == Fixtures.path("llama")
    end
  end

  test "chat takes messages of three kinds", %{model: model} do
    options = [max_new_tokens: 8]
    answer = VivaTensor.chat!(model, [user: "Hi"], options)
    assert answer == %{VivaTensor.chat!(model, [%{role: :user, content: "Hi"}], options) | timings: answer.timings}
    assert answer.text == VivaTensor.chat!(model, [%{"role" => "user", "content" => "Hi"}], options).text
    assert {:ok, text} = VivaTensor.render(model, [user: "Hi"], generation_prompt: false)
    assert text == "<|begin_of_text|><|user|>\nHi<|eot_id|>\n"
  end

  describe "a stream" do
    test "does nothing before it is consumed", %{model: model} do
      assert stream = VivaTensor.stream(model, "Hello", no_such: :option)
      assert_raise Error, ~r/no_such/, fn -> Enum.to_list(stream) end
    end

    test "can be consumed again", %{model: model, golden: golden} do
      stream = VivaTensor.stream(model, golden["prompt"], max_new_tokens: 24, stop_on_eos: false)
      assert Enum.join(stream) == golden["text"]
      assert Enum.join(stream) == golden["text"]
    end

    test "tells of its end", %{model: model, golden: golden} do
      me = self()
      options = [max_new_tokens: 24, stop_on_eos: false, on_finish: &send(me, &1)]
      Stream.run(VivaTensor.stream(model, golden["prompt"], options))
      assert_received %Generation{finish_reason: :length, token_ids: ids, text: text}
      assert {ids, text} == {golden["greedy_ids"], golden["text"]}
    end

    test "stops its work when the consumer halts" do
      me = self()
      options = [on_finish: &send(me, &1)] ++ Fixtures.endless()
      [first] = Fixtures.endless_model() |> VivaTensor.stream("Hello", options) |> Enum.take(1)
      assert_received %Generation{finish_reason: :cancelled} = generation
      assert String.starts_with?(generation.text, first)
      assert length(generation.token_ids) < 50_000
    end

    test "stops its work when the consumer raises" do
      me = self()
      stream = VivaTensor.stream(Fixtures.endless_model(), "Hello", [on_finish: &send(me, &1)] ++ Fixtures.endless())
      assert_raise RuntimeError, fn -> Enum.each(stream, fn _ -> raise "enough" end) end
      assert_received %Generation{finish_reason: :cancelled}
    end

    test "ends with its consumer" do
      {me, model} = {self(), Fixtures.endless_model()}
      stream = VivaTensor.stream(model, "Hello", Fixtures.endless())
      consumer = spawn(fn -> Enum.each(stream, &send(me, {:piece, &1})) end)
      assert_receive {:piece, _}, 5_000
      monitor = Process.monitor(consumer)
      Process.exit(consumer, :kill)
      assert_receive {:DOWN, ^monitor, :process, _, :killed}, 200
      # A slice that still ran would let a piece through.
      Process.sleep(50)
      flush = fn flush -> receive(do: ({:piece, _} -> flush.(flush)), after: (0 -> :ok)) end
      flush.(flush)
      refute_receive {:piece, _}, 100
      assert {:ok, _} = VivaTensor.generate(model, "Hello", max_new_tokens: 2)
    end
  end

  test "structs show themselves in a line", %{model: model} do
    assert inspect(model) =~ ~r/^#VivaTensor.Model<llama, \d+K parameters, .*, cpu>$/
    assert inspect(model.info) =~ ~r/^#VivaTensor.ModelInfo<llama from safetensors, .* context \d+, cpu>$/
    generation = VivaTensor.generate!(model, "Hello", max_new_tokens: 2)
    assert inspect(generation) =~ ~r/^#VivaTensor.Generation<".*", 2 tokens, :length>$/
    assert inspect(%{generation | text: String.duplicate("long ", 100)}) =~ ~r/^.{60,120}$/
  end

  test "every error has words" do
    for {native, words} <- [
          {{:not_found, "a/path", "a folder"}, ["a/path", "a folder"]},
          {{:unreadable, "a/path", "no permission"}, ["a/path", "no permission"]},
          {{:malformed, "at", "this", "that"}, ["at", "this", "that"]},
          {{:unsupported, "at", "this", "that"}, ["at", "this", "that"]},
          {{:invalid_option, "name", "this", "that"}, ["name", "this", "that"]},
          {:empty_prompt, ["no token"]},
          {{:context_overflow, 100, 32}, ["100", "32"]},
          {{:out_of_memory, 1000, 10}, ["1000", "10"]},
          {{:device_lost, "the reason"}, ["GPU is lost", "the reason"]},
          {{:template, "the reason"}, ["the reason"]},
          {:busy, ["another process"]},
          {:cancelled, ["cancelled"]},
          {{:internal, "the reason"}, ["the reason"]},
          {{:nif_not_loaded, "the reason"}, ["the reason", "mix deps.compile"]}
        ] do
      message = native |> Error.from_native() |> Exception.message()
      for word <- words, do: assert(message =~ word)
    end
  end
end
