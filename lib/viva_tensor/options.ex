defmodule VivaTensor.Options do
  # From what a caller writes to the engine's terms. Names and types are checked here, once; ranges by whoever computes,
  # the native library or the BEAM, whose Gleam code trusts types.
  @moduledoc false

  alias VivaTensor.{Engine, Error}

  @load [device: :auto, context: nil, threads: nil, weights: :keep, on_progress: nil]

  @generate [
    max_new_tokens: 128,
    temperature: 0.0,
    top_k: 40,
    top_p: 0.95,
    seed: 42,
    stop_on_eos: true,
    stop: [],
    min_p: 0.0,
    repetition_penalty: 1.0,
    logprobs: nil
  ]

  @roles [:system, :user, :assistant, :tool]

  # The options with their defaults, or which one nobody knows.
  @spec merge(term(), keyword()) :: {:ok, keyword()} | {:error, Error.t()}
  def merge(options, defaults) do
    expected = "a keyword list of " <> Enum.map_join(defaults, ", ", &"#{elem(&1, 0)}")

    if Keyword.keyword?(options) do
      case Keyword.validate(options, defaults) do
        {:ok, options} -> {:ok, options}
        {:error, [unknown | _]} -> {:error, Error.invalid_option(:options, expected, unknown)}
      end
    else
      {:error, Error.invalid_option(:options, expected, options)}
    end
  end

  @spec load(term()) :: {:ok, tuple(), (non_neg_integer(), non_neg_integer() -> term())} | {:error, Error.t()}
  def load(options) do
    with {:ok, options} <- merge(options, @load),
         :ok <- check_weights(options[:weights]),
         {:ok, context} <- optional_integer(options, :context),
         {:ok, threads} <- optional_integer(options, :threads),
         {:ok, on_progress} <- on_progress(options[:on_progress]),
         {:ok, device} <- device(options[:device]) do
      {:ok, {:load_options, device, context, threads, options[:weights]}, on_progress}
    end
  end

  defp check_weights(weights) when weights in [:keep, :fp8, :int8, :int8_sparse24, :int4_sparse24], do: :ok
  defp check_weights({:int4, group}) when group in [32, 64, 128], do: :ok

  defp check_weights(other) do
    expected = ":keep, :fp8, :int8, {:int4, group} with 32, 64 or 128, :int8_sparse24 or :int4_sparse24"
    {:error, Error.invalid_option(:weights, expected, other)}
  end

  defp on_progress(nil), do: {:ok, fn _, _ -> :cont end}
  defp on_progress(function) when is_function(function, 2), do: {:ok, function}

  defp on_progress(other) do
    {:error, Error.invalid_option(:on_progress, "a function of done and total bytes", other)}
  end

  defp device(:beam) do
    if Engine.beam?() do
      {:ok, :beam}
    else
      found = ":beam (viva_tensor was compiled without gleam on PATH)"
      details = %{at: "device", expected: ":auto, :cpu or {:cuda, index}", found: found}
      {:error, %Error{reason: :unsupported, details: details}}
    end
  end

  # The native library looks at the index.
  defp device(device) when device in [:auto, :cpu], do: {:ok, device}
  defp device({:cuda, _} = device), do: {:ok, device}

  defp device(other) do
    {:error, Error.invalid_option(:device, ":auto, :cpu, {:cuda, index} or :beam", other)}
  end

  @spec request(term()) :: {:ok, tuple()} | {:error, Error.t()}
  def request(options) do
    with {:ok, options} <- merge(options, @generate),
         {:ok, max_new_tokens} <- integer(options, :max_new_tokens),
         {:ok, temperature} <- number(options, :temperature),
         {:ok, top_k} <- top_k(options[:top_k]),
         {:ok, top_p} <- number(options, :top_p),
         {:ok, min_p} <- number(options, :min_p),
         {:ok, penalty} <- number(options, :repetition_penalty),
         {:ok, seed} <- integer(options, :seed),
         {:ok, stop} <- stop(options[:stop]),
         {:ok, stop_on_eos} <- boolean(options, :stop_on_eos),
         {:ok, logprobs} <- optional_integer(options, :logprobs) do
      {:ok, {:request, max_new_tokens, temperature, top_k, top_p, min_p, penalty, seed, stop, stop_on_eos, logprobs}}
    end
  end

  defp integer(options, name), do: typed(options, name, "an integer", &is_integer/1)

  defp optional_integer(options, name) do
    case options[name] do
      nil -> {:ok, :none}
      value when is_integer(value) -> {:ok, {:some, value}}
      other -> {:error, Error.invalid_option(name, "an integer or nil", other)}
    end
  end

  @spec boolean(keyword(), atom()) :: {:ok, boolean()} | {:error, Error.t()}
  def boolean(options, name), do: typed(options, name, "true or false", &is_boolean/1)

  defp typed(options, name, expected, valid?) do
    value = options[name]
    if valid?.(value), do: {:ok, value}, else: {:error, Error.invalid_option(name, expected, value)}
  end

  # A float: whole numbers are numbers, too, as far as there is a float of that size.
  defp number(options, name) do
    with {:ok, number} <- typed(options, name, "a number", &is_number/1), do: {:ok, number * 1.0}
  rescue
    ArithmeticError -> {:error, Error.invalid_option(name, "a number of a float's size", options[name])}
  end

  # Takes out what is a stream's own.
  @spec stream(term()) :: {:ok, (VivaTensor.Generation.t() -> term()), term()} | {:error, Error.t()}
  def stream(options) do
    {on_finish, rest} =
      if Keyword.keyword?(options), do: Keyword.pop(options, :on_finish, & &1), else: {& &1, options}

    if is_function(on_finish, 1) do
      {:ok, on_finish, rest}
    else
      {:error, Error.invalid_option(:on_finish, "a function of a generation", on_finish)}
    end
  end

  defp top_k(:infinity), do: {:ok, :top_k_infinity}
  defp top_k(k) when is_integer(k), do: {:ok, {:top_k, k}}
  defp top_k(other), do: {:error, Error.invalid_option(:top_k, "an integer of at least 1, or :infinity", other)}

  defp stop(text) when is_binary(text), do: {:ok, [text]}

  defp stop(texts) do
    if list_of?(texts, &is_binary/1),
      do: {:ok, texts},
      else: {:error, Error.invalid_option(:stop, "a text or a list of texts", texts)}
  end

  # Whether it is a list that ends as one does, and each of its values holds.
  defp list_of?(list, valid?), do: is_list(list) and not List.improper?(list) and Enum.all?(list, valid?)

  # A text, or token ids.
  @spec prompt(term()) :: {:ok, tuple()} | {:error, Error.t()}
  def prompt(text) when is_binary(text), do: {:ok, {:text, text}}

  def prompt(ids),
    do: with({:ok, ids} <- token_ids(:prompt, "a text or a list of token ids", ids), do: {:ok, {:tokens, ids}})

  @spec token_ids(atom() | String.t(), String.t(), term()) :: {:ok, [integer()]} | {:error, Error.t()}
  def token_ids(name, expected, ids) do
    if list_of?(ids, &is_integer/1), do: {:ok, ids}, else: {:error, Error.invalid_option(name, expected, ids)}
  end

  @spec text(atom(), term()) :: {:ok, String.t()} | {:error, Error.t()}
  def text(_name, text) when is_binary(text), do: {:ok, text}
  def text(name, other), do: {:error, Error.invalid_option(name, "a text", other)}

  @spec chat(term()) :: {:ok, tuple()} | {:error, Error.t()}
  def chat(messages) do
    with {:ok, messages} <- messages(messages), do: {:ok, {:chat, messages}}
  end

  @spec messages(term()) :: {:ok, [tuple()]} | {:error, Error.t()}
  def messages(messages) when is_list(messages) do
    # An improper list would raise.
    messages = if List.improper?(messages), do: [messages], else: messages
    parsed = Enum.map(messages, &message/1)
    Enum.find(parsed, {:ok, parsed}, &match?({:error, _}, &1))
  end

  def messages(other), do: {:error, Error.invalid_option(:messages, "a list", other)}

  defp message({role, content}) when (role in @roles or is_binary(role)) and is_binary(content) do
    {:message, to_string(role), content}
  end

  defp message(%{role: role, content: content}), do: message({role, content})
  defp message(%{"role" => role, "content" => content}), do: message({role, content})

  defp message(other) do
    expected = "{role, text} or %{role: role, content: text} with the role system, user, assistant, tool or a string"
    {:error, Error.invalid_option(:message, expected, other)}
  end
end
