defmodule VivaTensor.Generation do
  @moduledoc """
  An answer.

  - `text`: without the stop text and without special tokens; bytes that are no UTF-8 are U+FFFD
  - `token_ids`: every token that was generated
  - `prompt_token_ids`: the prompt as the model saw it, and `prompt_tokens`, its length
  - `cached_tokens`: how many of those the model had already read
  - `finish_reason`: `:eos`, `{:stop, text}` with the text of the option `stop`, `:length`, or `:cancelled` where a
    stream's consumer stopped early
  - `timings`: a map with `prefill_tokens`, `prefill_seconds`, `decode_tokens` and `decode_seconds`: what it took, in
    seconds of work; the first new token belongs to the prefill
  - `logprobs`: with the option `logprobs`, for each token a map with `token_id`, `logprob` and `top`, a list of
    `{token_id, logprob}`; otherwise empty
  """

  @enforce_keys [:text, :token_ids, :prompt_token_ids, :prompt_tokens, :cached_tokens, :finish_reason, :timings]
  defstruct @enforce_keys ++ [logprobs: []]

  @type finish_reason :: :eos | {:stop, String.t()} | :length | :cancelled

  @type timings :: %{
          prefill_tokens: non_neg_integer(),
          prefill_seconds: float(),
          decode_tokens: non_neg_integer(),
          decode_seconds: float()
        }

  @type token_logprobs :: %{
          token_id: VivaTensor.token_id(),
          logprob: float(),
          top: [{VivaTensor.token_id(), float()}]
        }

  @type t :: %__MODULE__{
          text: String.t(),
          token_ids: [VivaTensor.token_id()],
          prompt_token_ids: [VivaTensor.token_id()],
          prompt_tokens: non_neg_integer(),
          cached_tokens: non_neg_integer(),
          finish_reason: finish_reason(),
          timings: timings(),
          logprobs: [token_logprobs()]
        }

  @doc """
  Prompt tokens a second; 0.0 when there were none to read.

      iex> generation = VivaTensor.generate!(VivaTensor.load_model!("test/fixtures/tiny/llama"), "Hello")
      iex> VivaTensor.Generation.prefill_tokens_per_second(generation) > 0.0
      true
  """
  @spec prefill_tokens_per_second(t()) :: float()
  def prefill_tokens_per_second(%__MODULE__{timings: timings}),
    do: rate(timings.prefill_tokens, timings.prefill_seconds)

  @doc """
  Generated tokens a second; 0.0 when there were none.

      iex> options = [max_new_tokens: 1]
      iex> generation = VivaTensor.generate!(VivaTensor.load_model!("test/fixtures/tiny/llama"), "Hello", options)
      iex> VivaTensor.Generation.decode_tokens_per_second(generation)
      0.0
  """
  @spec decode_tokens_per_second(t()) :: float()
  def decode_tokens_per_second(%__MODULE__{timings: timings}), do: rate(timings.decode_tokens, timings.decode_seconds)

  defp rate(_tokens, seconds) when seconds == 0, do: 0.0
  defp rate(tokens, seconds), do: tokens / seconds

  defimpl Inspect do
    import Inspect.Algebra

    def inspect(generation, options) do
      text = to_doc(generation.text, %{options | printable_limit: 60, binaries: :as_strings})
      count = length(generation.token_ids)
      reason = to_doc(generation.finish_reason, options)
      concat(["#VivaTensor.Generation<", text, ", #{count} tokens, ", reason, ">"])
    end
  end
end
