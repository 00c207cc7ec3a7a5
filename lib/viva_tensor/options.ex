defmodule VivaTensor.Options do
  # From what a caller writes to the native library's terms. Names are checked here, values there, once.
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
         {:ok, on_progress} <- on_progress(options[:on_progress]),
         {:ok, device} <- device(options[:device]) do
      {:ok, {:load_options, device, maybe(options[:context]), maybe(options[:threads]), options[:weights]}, on_progress}
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
    with {:ok, options} <- merge(options, @generate) do
      {:ok,
       {:request, options[:max_new_tokens], options[:temperature], top_k(options[:top_k]), options[:top_p],
        options[:min_p], options[:repetition_penalty], options[:seed], stop(options[:stop]), options[:stop_on_eos],
        maybe(options[:logprobs])}}
    end
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

  defp top_k(:infinity), do: :top_k_infinity
  defp top_k(k), do: {:top_k, k}

  defp stop(text) when is_binary(text), do: [text]
  defp stop(texts), do: texts

  defp maybe(nil), do: :none
  defp maybe(value), do: {:some, value}

  # A text, or token ids.
  @spec prompt(term()) :: {:ok, tuple()}
  def prompt(ids) when is_list(ids), do: {:ok, {:tokens, ids}}
  def prompt(text), do: {:ok, {:text, text}}

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

  defp message({role, content}) when role in @roles or is_binary(role), do: {:message, to_string(role), content}
  defp message(%{role: role, content: content}), do: message({role, content})
  defp message(%{"role" => role, "content" => content}), do: message({role, content})

  defp message(other) do
    expected = "{role, content} or %{role: role, content: content} with system, user, assistant, tool or a string"
    {:error, Error.invalid_option(:message, expected, other)}
  end
end
