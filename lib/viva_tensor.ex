defmodule VivaTensor do
  @moduledoc """
  Text from a language model's checkpoint, on the BEAM.

      {:ok, model} = VivaTensor.load_model("path/to/model.safetensors")
      {:ok, result} = VivaTensor.generate(model, "Hello", max_new_tokens: 30)
      result.text

  A checkpoint is a safetensors file, a folder of them, or a GGUF file. `generate/3` continues a text, `chat/3`
  answers messages through the checkpoint's own chat template, `stream/3` and `chat_stream/3` hand out the text as it
  comes. `VivaTensor.Server` puts a model under a supervisor, with a queue.

  Work happens in slices of about 50 ms in the process that calls: a process that is killed stops its work, and others
  go on. A model can be used by any number of processes at once. Every function that can fail returns
  `{:error, error}` with a `VivaTensor.Error`, also for an option that is not known.

  ## Options of an answer

    * `max_new_tokens` (128): the longest answer, in tokens
    * `temperature` (0.0): 0.0 takes the most probable token each time; the higher, the wilder, up to 100.0
    * `top_k` (40): draw from the k most probable tokens; `:infinity` is no limit
    * `top_p` (0.95): draw from the most probable tokens that together reach this probability
    * `seed` (42): the same seed gives the same tokens; from 0 to 2^64 - 1
    * `stop_on_eos` (true): whether an end-of-sequence token ends the answer
    * `stop` ([]): a text or a list of them; the answer ends before the first of these. One that is spelled like a
      special token, such as `<|im_end|>`, is that token
    * `min_p` (0.0): leave out tokens less probable than this share of the most probable one
    * `repetition_penalty` (1.0): makes tokens that were already there less probable
    * `logprobs` (nil): log probabilities of each token and of that many of the most probable ones in its place
  """

  alias VivaTensor.{Engine, Error, Generation, Model, ModelInfo, Options, Telemetry, Turn}

  @type token_id :: non_neg_integer()

  @typedoc "A text, in which the text of a special token is that token; or token ids, which are taken as they are."
  @type prompt :: String.t() | [token_id()]

  @typedoc "Who speaks; a string is a role that only some chat templates know."
  @type role :: :system | :user | :assistant | :tool | String.t()

  @typedoc "So messages can be written as `[system: \"Be brief.\", user: \"Hi\"]`, or come from JSON."
  @type message ::
          {role(), String.t()}
          | %{required(:role) => role(), required(:content) => String.t(), optional(atom()) => term()}
          | %{required(String.t()) => String.t()}

  @type load_option ::
          {:device, :auto | :cpu | {:cuda, non_neg_integer()} | :beam}
          | {:context, pos_integer() | nil}
          | {:threads, pos_integer() | nil}
          | {:weights, :keep | :fp8 | :int8 | {:int4, 32 | 64 | 128} | :int8_sparse24 | :int4_sparse24}
          | {:on_progress, (non_neg_integer(), non_neg_integer() -> :cont | :halt | term()) | nil}

  @type generate_option ::
          {:max_new_tokens, non_neg_integer()}
          | {:temperature, number()}
          | {:top_k, pos_integer() | :infinity}
          | {:top_p, number()}
          | {:seed, non_neg_integer()}
          | {:stop_on_eos, boolean()}
          | {:stop, String.t() | [String.t()]}
          | {:min_p, number()}
          | {:repetition_penalty, number()}
          | {:logprobs, non_neg_integer() | nil}

  @type stream_option :: generate_option() | {:on_finish, (Generation.t() -> term())}

  @doc """
  Whether the native library is loaded. Without it the BEAM computes, where the Gleam modules are compiled in;
  otherwise every call returns the error `:nif_not_loaded`.

      iex> VivaTensor.native_loaded?()
      true
  """
  @spec native_loaded?() :: boolean()
  def native_loaded?, do: :viva_tensor_nif.loaded()

  @doc """
  Loads a checkpoint: a `.safetensors` or `.gguf` file, a folder with `config.json` and safetensors, or an index of
  shards.

    * `device` (`:auto`): where to compute: `:cpu`, `{:cuda, 0}` for the first NVIDIA GPU, `:beam`, or the fastest there
      is. `:beam` is pure Gleam, slow, and there where `gleam` was on PATH when this was compiled
    * `context` (the model's, 8192 at most): the longest prompt and answer together, in tokens
    * `threads` (one a core): threads that compute
    * `weights` (`:keep`): the format of the weights in memory: as the checkpoint has them, or `:fp8`, where matrices
      that are stored in 16 or 32 bits become 8-bit floats with a scale a row; on the CPU also `:int8`,
      `{:int4, group}` with a scale for each 32, 64 or 128 columns, `:int8_sparse24` and `:int4_sparse24`
    * `on_progress`: is called with done and total bytes some twenty times a second; when it returns `:halt`, loading
      ends with the error `:load_cancelled`

  For example:

      iex> {:ok, model} = VivaTensor.load_model("test/fixtures/tiny/llama", context: 128)
      iex> model.info.context
      128
  """
  @spec load_model(Path.t(), [load_option()]) :: {:ok, Model.t()} | {:error, Error.t()}
  def load_model(path, options \\ []) do
    with {:ok, options, on_progress} <- Options.load(options),
         {:ok, path} <- path(path) do
      load(path, options, on_progress)
    end
  end

  # A path is bytes, which need not be UTF-8, or characters.
  defp path(path) when is_binary(path), do: {:ok, path}

  defp path(path) do
    case is_list(path) and :unicode.characters_to_binary(path) do
      binary when is_binary(binary) -> {:ok, binary}
      _ -> {:error, Error.invalid_option(:path, "a path", path)}
    end
  rescue
    ArgumentError -> {:error, Error.invalid_option(:path, "a path", path)}
  end

  defp load(path, options, on_progress) do
    metadata = %{model: path}
    began = Telemetry.start(:load, metadata)

    case Engine.load(path, options, on_progress) do
      {:ok, ref, record} ->
        info = ModelInfo.from_native(record)
        Telemetry.stop(:load, began, %{weight_bytes: info.weight_bytes}, Map.put(metadata, :info, info))
        {:ok, %Model{ref: ref, path: path, info: info}}

      {:error, error} ->
        error = error |> Error.from_native() |> Error.without_driver(elem(options, 1))
        Telemetry.exception(:load, began, Map.merge(metadata, %{kind: :error, reason: error}))
        {:error, error}
    end
  end

  @doc """
  As `load_model/2`, and raises the `VivaTensor.Error`.

      iex> VivaTensor.load_model!("test/fixtures/tiny/llama").info.architecture
      "llama"
  """
  @spec load_model!(Path.t(), [load_option()]) :: Model.t()
  def load_model!(path, options \\ []), do: bang(load_model(path, options))

  @doc """
  What a model is.

      iex> model = VivaTensor.load_model!("test/fixtures/tiny/llama")
      iex> {:ok, info} = VivaTensor.model_info(model)
      iex> {info.architecture, info.source, info.has_chat_template}
      {"llama", "safetensors", true}
  """
  @spec model_info(Model.t()) :: {:ok, ModelInfo.t()}
  def model_info(%Model{info: info}), do: {:ok, info}

  @doc """
  Continues a text, or token ids. The options are those of an answer, above.

      iex> model = VivaTensor.load_model!("test/fixtures/tiny/llama")
      iex> {:ok, result} = VivaTensor.generate(model, "Hello, world!", max_new_tokens: 3)
      iex> {result.token_ids, result.prompt_tokens, result.finish_reason}
      {[152, 94, 179], 11, :length}
  """
  @spec generate(Model.t(), prompt(), [generate_option()]) :: {:ok, Generation.t()} | {:error, Error.t()}
  def generate(%Model{} = model, prompt, options \\ []), do: answer(model, Options.prompt(prompt), options)

  @doc """
  As `generate/3`, and raises the `VivaTensor.Error`.

      iex> model = VivaTensor.load_model!("test/fixtures/tiny/llama")
      iex> VivaTensor.generate!(model, [0, 42], max_new_tokens: 0).prompt_token_ids
      [0, 42]
  """
  @spec generate!(Model.t(), prompt(), [generate_option()]) :: Generation.t()
  def generate!(model, prompt, options \\ []), do: bang(generate(model, prompt, options))

  @doc """
  Answers messages, through the checkpoint's own chat template. The content of a message never is a special token,
  whatever its text. The options are those of an answer, above.

      iex> model = VivaTensor.load_model!("test/fixtures/tiny/llama")
      iex> {:ok, answer} = VivaTensor.chat(model, [system: "Be brief.", user: "Hi"], max_new_tokens: 4)
      iex> length(answer.token_ids)
      4
  """
  @spec chat(Model.t(), [message()], [generate_option()]) :: {:ok, Generation.t()} | {:error, Error.t()}
  def chat(%Model{} = model, messages, options \\ []), do: answer(model, Options.chat(messages), options)

  @doc """
  As `chat/3`, and raises the `VivaTensor.Error`.

      iex> model = VivaTensor.load_model!("test/fixtures/tiny/llama")
      iex> VivaTensor.chat!(model, [user: "Hi"], max_new_tokens: 1).finish_reason
      :length
  """
  @spec chat!(Model.t(), [message()], [generate_option()]) :: Generation.t()
  def chat!(model, messages, options \\ []), do: bang(chat(model, messages, options))

  defp answer(model, prompt, options) do
    with {:ok, prompt} <- prompt,
         {:ok, request} <- Options.request(options),
         {:ok, turn} <- Turn.open(model, prompt, request) do
      Turn.run(turn)
    end
  end

  @doc """
  Continues a text, as a lazy stream of its pieces. They concatenate to the `text` that `generate/3` gives.

  Nothing is done before the stream is consumed, nor while the consumer is busy; work stops and its memory is freed
  when the consumer halts, raises or dies. An error is raised as a `VivaTensor.Error`. Beside the options of an answer:

    * `on_finish`: is called with the `VivaTensor.Generation` at the end, also when the consumer halts early

  For example:

      iex> model = VivaTensor.load_model!("test/fixtures/tiny/llama")
      iex> pieces = model |> VivaTensor.stream("Hello, world!", max_new_tokens: 24) |> Enum.to_list()
      iex> Enum.join(pieces) == VivaTensor.generate!(model, "Hello, world!", max_new_tokens: 24).text
      true
  """
  @spec stream(Model.t(), prompt(), [stream_option()]) :: Enumerable.t(String.t())
  def stream(%Model{} = model, prompt, options \\ []), do: pieces(model, fn -> Options.prompt(prompt) end, options)

  @doc """
  Answers messages, as a lazy stream of the answer's pieces; otherwise as `stream/3`.

      iex> model = VivaTensor.load_model!("test/fixtures/tiny/llama")
      iex> messages = [user: "Hi"]
      iex> pieces = Enum.to_list(VivaTensor.chat_stream(model, messages, max_new_tokens: 8))
      iex> Enum.join(pieces) == VivaTensor.chat!(model, messages, max_new_tokens: 8).text
      true
  """
  @spec chat_stream(Model.t(), [message()], [stream_option()]) :: Enumerable.t(String.t())
  def chat_stream(%Model{} = model, messages, options \\ []) do
    pieces(model, fn -> Options.chat(messages) end, options)
  end

  defp pieces(model, prompt, options) do
    open = fn ->
      with {:ok, on_finish, options} <- Options.stream(options),
           {:ok, prompt} <- prompt.(),
           {:ok, request} <- Options.request(options),
           {:ok, turn} <- Turn.open(model, prompt, request) do
        {turn, on_finish}
      else
        {:error, error} -> raise error
      end
    end

    Stream.resource(open, &next_pieces/1, &end_pieces/1)
  end

  defp next_pieces({%Turn{} = turn, on_finish}) do
    case Turn.step([turn]) do
      [{:cont, piece, turn}] -> {pieces(piece), {turn, on_finish}}
      [{:done, piece, generation}] -> {pieces(piece), {generation, on_finish}}
      [{:error, error}] -> raise error
    end
  end

  defp next_pieces({%Generation{}, _} = done), do: {:halt, done}

  defp pieces(""), do: []
  defp pieces(piece), do: [piece]

  defp end_pieces({%Generation{} = generation, on_finish}), do: on_finish.(generation)

  defp end_pieces({%Turn{} = turn, on_finish}) do
    generation = Turn.cancel(turn)
    if generation, do: on_finish.(generation)
  end

  @doc """
  The text that the chat template makes of messages.

    * `generation_prompt` (true): whether it ends where the assistant is to speak

  For example:

      iex> model = VivaTensor.load_model!("test/fixtures/tiny/llama")
      iex> VivaTensor.render(model, user: "Hi")
      {:ok, "<|begin_of_text|><|user|>\\nHi<|eot_id|>\\n<|assistant|>\\n"}
  """
  @spec render(Model.t(), [message()], generation_prompt: boolean()) :: {:ok, String.t()} | {:error, Error.t()}
  def render(%Model{} = model, messages, options \\ []) do
    with {:ok, options} <- Options.merge(options, generation_prompt: true),
         {:ok, generation_prompt} <- Options.boolean(options, :generation_prompt),
         {:ok, messages} <- Options.messages(messages) do
      result(Engine.render(model.ref, messages, generation_prompt))
    end
  end

  @doc """
  The token ids of a text.

    * `special_tokens` (true): whether to add those that the tokenizer puts around a text, as `generate/3` does

  For example:

      iex> model = VivaTensor.load_model!("test/fixtures/tiny/llama")
      iex> VivaTensor.tokenize(model, "Hello")
      {:ok, [0, 42, 71, 360, 81]}
      iex> VivaTensor.tokenize(model, "Hello", special_tokens: false)
      {:ok, [42, 71, 360, 81]}
  """
  @spec tokenize(Model.t(), String.t(), special_tokens: boolean()) :: {:ok, [token_id()]} | {:error, Error.t()}
  def tokenize(%Model{} = model, text, options \\ []) do
    with {:ok, options} <- Options.merge(options, special_tokens: true),
         {:ok, special} <- Options.boolean(options, :special_tokens),
         {:ok, text} <- Options.text(:text, text) do
      result(Engine.tokenize(model.ref, text, special))
    end
  end

  @doc """
  The text of token ids. An id that the vocabulary does not have has no text.

    * `special_tokens` (false): whether special tokens are part of the text

  For example:

      iex> model = VivaTensor.load_model!("test/fixtures/tiny/llama")
      iex> VivaTensor.detokenize(model, [0, 42, 71, 360, 81])
      {:ok, "Hello"}
  """
  @spec detokenize(Model.t(), [token_id()], special_tokens: boolean()) :: {:ok, String.t()} | {:error, Error.t()}
  def detokenize(%Model{} = model, ids, options \\ []) do
    with {:ok, options} <- Options.merge(options, special_tokens: false),
         {:ok, special} <- Options.boolean(options, :special_tokens),
         {:ok, ids} <- Options.token_ids("token ids", "a list of token ids", ids) do
      result(Engine.detokenize(model.ref, ids, not special))
    end
  end

  defp result({:ok, value}), do: {:ok, value}
  defp result({:error, error}), do: {:error, Error.from_native(error)}

  defp bang({:ok, value}), do: value
  defp bang({:error, error}), do: raise(error)
end
