defmodule VivaTensor.SessionTest do
  use ExUnit.Case, async: true

  alias VivaTensor.{Engine, Session}

  doctest Session

  @folder "test/fixtures/tiny/llama"

  # The same on the native library and on the BEAM, where the Gleam modules are compiled in.
  for device <- [:cpu, :beam] do
    describe "on #{device}" do
      @describetag device: device

      setup %{device: device} do
        if device == :cpu or Engine.beam?(),
          do: {:ok, model: VivaTensor.load_model!(@folder, device: device)},
          else: {:ok, model: nil}
      end

      test "each turn reads only what is new, and says what a fresh chat says", %{model: model} do
        if model do
          {:ok, session} = Session.open(model, system: "Be brief.")
          {:ok, session, first} = Session.ask(session, "Hi", max_new_tokens: 4)
          assert first.cached_tokens == 0
          {:ok, session, second} = Session.ask(session, "And?", max_new_tokens: 4)
          assert second.cached_tokens > 0

          messages = [system: "Be brief.", user: "Hi", assistant: first.text, user: "And?"]
          fresh = VivaTensor.chat!(model, messages, max_new_tokens: 4)
          assert second.token_ids == fresh.token_ids
          assert second.prompt_token_ids == fresh.prompt_token_ids
          assert session.messages == messages ++ [assistant: second.text]
        end
      end

      test "an earlier session goes another way, and errors leave it open", %{model: model} do
        if model do
          {:ok, begun} = Session.open(model)
          {:ok, _, one} = Session.ask(begun, "Hi", max_new_tokens: 3)
          {:error, error} = Session.ask(begun, "Hi", temperature: -1.0)
          assert error.reason == :invalid_option
          {:error, error} = Session.ask(begun, 7)
          assert error.reason == :invalid_option
          {:ok, _, again} = Session.ask(begun, "Hi", max_new_tokens: 3)
          assert again.token_ids == one.token_ids
          assert Session.close(begun) == :ok
          assert Session.close(begun) == :ok
          {:error, error} = Session.complete(begun, "Hi")
          assert {error.reason, error.details.option} == {:invalid_option, "session"}
        end
      end
    end
  end

  test "messages are checked when the session is opened" do
    model = VivaTensor.load_model!(@folder)
    assert {:error, %{reason: :invalid_option}} = Session.open(model, [:no_message])
  end
end
