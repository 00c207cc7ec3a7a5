defmodule VivaTensor.GoldenTest do
  # All tiny checkpoints give what transformers gives.
  use ExUnit.Case, async: true

  alias VivaTensor.Fixtures

  for name <- Fixtures.names() do
    test "#{name} gives what transformers gives" do
      model = Fixtures.load(unquote(name))
      golden = Fixtures.golden(unquote(name))
      assert golden["cases"] != [] and golden["tokenize"] != [] and golden["chat"] != []

      for %{"prompt" => prompt, "greedy_ids" => ids} = golden <- golden["cases"] do
        options = [max_new_tokens: length(ids), stop_on_eos: false]
        assert {:ok, result} = VivaTensor.generate(model, prompt, options)
        assert result.prompt_token_ids == golden["prompt_ids"]
        assert result.token_ids == ids
        assert result.text == golden["text"]
        assert model |> VivaTensor.stream(prompt, options) |> Enum.join() == golden["text"]
        assert VivaTensor.generate!(model, golden["prompt_ids"], options).token_ids == ids
      end

      for %{"text" => text, "ids" => ids, "ids_plain" => plain, "decoded" => decoded} <- golden["tokenize"] do
        assert VivaTensor.tokenize(model, text) == {:ok, ids}
        assert VivaTensor.tokenize(model, text, special_tokens: false) == {:ok, plain}
        assert VivaTensor.detokenize(model, plain, special_tokens: true) == {:ok, decoded}
      end

      for %{"messages" => messages, "text" => text} <- golden["chat"] do
        assert VivaTensor.render(model, messages) == {:ok, text}
        pairs = for %{"role" => role, "content" => content} <- messages, do: {String.to_existing_atom(role), content}
        assert VivaTensor.render(model, pairs) == {:ok, text}
      end
    end
  end
end
