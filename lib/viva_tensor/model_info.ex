defmodule VivaTensor.ModelInfo do
  @moduledoc """
  What a model is.

  - `architecture`: such as `"llama"`
  - `source`: `"gguf"` or `"safetensors"`
  - `weights`: the formats of the weights and how many tensors have each
  - `parameters`
  - `weight_bytes`: bytes of the weights in memory
  - `bytes_per_token`: bytes of weights that are read for each token
  - `vocabulary` (V), `layers` (L), `width` (D), `heads` (H), `kv_heads` (KV), `head_width` (HD)
  - `context`: tokens that prompt and answer may have together
  - `max_context`: the context that the model was made for
  - `device`: `"cpu"` or `"cuda:0"`, and in `device_note` what it brings along
  - `threads`: threads that compute
  - `eos_ids`: the tokens that end an answer
  - `has_chat_template`
  """

  # In the order of the native library's tuple.
  @fields [
    :architecture,
    :source,
    :weights,
    :parameters,
    :weight_bytes,
    :bytes_per_token,
    :vocabulary,
    :layers,
    :width,
    :heads,
    :kv_heads,
    :head_width,
    :context,
    :max_context,
    :device,
    :device_note,
    :threads,
    :eos_ids,
    :has_chat_template
  ]
  @enforce_keys @fields
  defstruct @fields

  @type t :: %__MODULE__{
          architecture: String.t(),
          source: String.t(),
          weights: String.t(),
          parameters: non_neg_integer(),
          weight_bytes: non_neg_integer(),
          bytes_per_token: non_neg_integer(),
          vocabulary: pos_integer(),
          layers: pos_integer(),
          width: pos_integer(),
          heads: pos_integer(),
          kv_heads: pos_integer(),
          head_width: pos_integer(),
          context: pos_integer(),
          max_context: pos_integer(),
          device: String.t(),
          device_note: String.t(),
          threads: pos_integer(),
          eos_ids: [VivaTensor.token_id()],
          has_chat_template: boolean()
        }

  @doc false
  @spec from_native(tuple()) :: t()
  def from_native(record) do
    [:model_info | values] = Tuple.to_list(record)
    struct!(__MODULE__, Enum.zip(@fields, values))
  end

  @doc false
  @spec size(non_neg_integer()) :: String.t()
  def size(count) when count >= 1_000_000_000, do: "#{Float.round(count / 1.0e9, 1)}B"
  def size(count) when count >= 1_000_000, do: "#{round(count / 1.0e6)}M"
  def size(count) when count >= 1_000, do: "#{round(count / 1.0e3)}K"
  def size(count), do: "#{count}"

  defimpl Inspect do
    def inspect(info, _options) do
      "#VivaTensor.ModelInfo<#{info.architecture} from #{info.source}, " <>
        "#{VivaTensor.ModelInfo.size(info.parameters)} parameters, #{info.layers} layers, " <>
        "context #{info.context}, #{info.device}>"
    end
  end
end
