defmodule VivaTensor.Session do
  @moduledoc """
  A conversation: the messages so far, and a model that has already read them.

      {:ok, session} = VivaTensor.Session.open(model, system: "Be brief.")
      {:ok, session, answer} = VivaTensor.Session.ask(session, "Who are you?")
      {:ok, session, answer} = VivaTensor.Session.ask(session, "And your name?", max_new_tokens: 20)
      VivaTensor.Session.close(session)

  Each turn reads only what is new: `cached_tokens` of the answer says how many tokens it did not have to read again.
  A session is a value: `ask/3` gives the next one, and asking an earlier one again starts over from there. Its cache
  is one, though, and is freed with `close/1` or when nothing refers to it any more. While one process has a turn under
  way, another gets the error `:busy`.
  """

  alias VivaTensor.{Engine, Error, Generation, Model, Options, Turn}

  @enforce_keys [:ref, :model, :messages]
  defstruct @enforce_keys

  @type t :: %__MODULE__{ref: term(), model: Model.t(), messages: [VivaTensor.message()]}

  @doc """
  A session that begins with these messages, such as a system prompt. Nothing is read before the first question.

      iex> model = VivaTensor.load_model!("test/fixtures/tiny/llama")
      iex> {:ok, session} = VivaTensor.Session.open(model, system: "Be brief.")
      iex> session.messages
      [system: "Be brief."]
  """
  @spec open(Model.t(), [VivaTensor.message()]) :: {:ok, t()} | {:error, Error.t()}
  def open(%Model{} = model, messages \\ []) do
    with {:ok, _} <- Options.messages(messages),
         {:ok, ref} <- opened(Engine.open_session(model.ref)) do
      {:ok, %__MODULE__{ref: ref, model: model, messages: messages}}
    end
  end

  defp opened({:ok, ref}), do: {:ok, ref}
  defp opened({:error, error}), do: {:error, Error.from_native(error)}

  @doc """
  Asks, and gives the session that knows question and answer. The options are those of an answer, in `VivaTensor`.

      iex> model = VivaTensor.load_model!("test/fixtures/tiny/llama")
      iex> {:ok, session} = VivaTensor.Session.open(model)
      iex> {:ok, session, first} = VivaTensor.Session.ask(session, "Hi", max_new_tokens: 4)
      iex> {:ok, session, second} = VivaTensor.Session.ask(session, "And?", max_new_tokens: 4)
      iex> {first.cached_tokens, second.cached_tokens > 0, length(session.messages)}
      {0, true, 4}
  """
  @spec ask(t(), String.t(), [VivaTensor.generate_option()]) :: {:ok, t(), Generation.t()} | {:error, Error.t()}
  def ask(%__MODULE__{} = session, question, options \\ []) do
    messages = session.messages ++ [{:user, question}]

    with {:ok, _} <- Options.text(:question, question),
         {:ok, prompt} <- Options.chat(messages),
         {:ok, answer} <- answer(session, prompt, options) do
      {:ok, %{session | messages: messages ++ [{:assistant, answer.text}]}, answer}
    end
  end

  @doc """
  Continues a text, or token ids, with what the session has read before: of the prompt only what is new is read. The
  messages stay as they are.

      iex> model = VivaTensor.load_model!("test/fixtures/tiny/llama")
      iex> {:ok, session} = VivaTensor.Session.open(model)
      iex> {:ok, _} = VivaTensor.Session.complete(session, "Hello", max_new_tokens: 2)
      iex> {:ok, result} = VivaTensor.Session.complete(session, "Hello, world", max_new_tokens: 2)
      iex> result.cached_tokens > 0
      true
  """
  @spec complete(t(), VivaTensor.prompt(), [VivaTensor.generate_option()]) ::
          {:ok, Generation.t()} | {:error, Error.t()}
  def complete(%__MODULE__{} = session, prompt, options \\ []) do
    with {:ok, prompt} <- Options.prompt(prompt), do: answer(session, prompt, options)
  end

  defp answer(session, prompt, options) do
    with {:ok, request} <- Options.request(options), do: turn(session, prompt, request)
  end

  defp turn(%{ref: {:beam_turns, _}} = session, prompt, request) do
    Turn.on_beam(session.ref, session.model, prompt, request)
  end

  defp turn(session, prompt, request) do
    with {:ok, turn} <- Turn.resume(session.ref, session.model, prompt, request), do: Turn.run(turn)
  end

  @doc """
  Frees the session's cache at once. Again does no harm; asking a closed session is the error `:invalid_option`.

      iex> model = VivaTensor.load_model!("test/fixtures/tiny/llama")
      iex> {:ok, session} = VivaTensor.Session.open(model)
      iex> {VivaTensor.Session.close(session), VivaTensor.Session.close(session)}
      {:ok, :ok}
      iex> {:error, error} = VivaTensor.Session.ask(session, "Hi")
      iex> {error.reason, error.details.option}
      {:invalid_option, "session"}
  """
  @spec close(t()) :: :ok
  def close(%__MODULE__{ref: ref}) do
    _ = Engine.close(ref)
    :ok
  end

  defimpl Inspect do
    def inspect(session, _options), do: "#VivaTensor.Session<#{length(session.messages)} messages>"
  end
end
