defmodule VivaTensor.Error do
  @moduledoc """
  What can go wrong: a `reason` to match on, and in `details` what was expected, what was found, and where.

  | `reason` | `details` | when |
  |---|---|---|
  | `:not_found` | `path`, `expected` | A file or folder that should be there is not. |
  | `:unreadable` | `path`, `reason` | The operating system refused to read a file. |
  | `:malformed` | `at`, `expected`, `found` | A file breaks its format's rules. |
  | `:unsupported` | `at`, `expected`, `found` | Valid, but not something that this library does. |
  | `:invalid_option` | `option`, `expected`, `found` | An option or argument is out of its range. |
  | `:empty_prompt` | | The prompt encodes to no token. |
  | `:context_overflow` | `wanted_tokens`, `limit_tokens` | Prompt and answer do not fit into the context. |
  | `:out_of_memory` | `wanted_bytes`, `free_bytes` | Memory is short. |
  | `:device_lost` | `reason` | The GPU does not work for this VM any more, after a fault. |
  | `:template` | `reason` | The chat template failed on these messages. |
  | `:busy` | `limit` | The queue of a `VivaTensor.Server` is full. |
  | `:load_cancelled` | | The progress function returned `:halt`. |
  | `:internal` | `reason` | A defect of this library. |
  | `:nif_not_loaded` | `reason` | The native library is not there, and the BEAM cannot do it. |

  It is an exception, so `load_model!` and streams raise it, and `Exception.message/1` puts it into words:

      iex> {:error, error} = VivaTensor.load_model("no/such/model")
      iex> error.reason
      :not_found
      iex> Exception.message(error) =~ "no/such/model: not found; expected"
      true
  """

  @enforce_keys [:reason]
  defexception [:reason, details: %{}]

  @type reason ::
          :not_found
          | :unreadable
          | :malformed
          | :unsupported
          | :invalid_option
          | :empty_prompt
          | :context_overflow
          | :out_of_memory
          | :device_lost
          | :template
          | :busy
          | :load_cancelled
          | :internal
          | :nif_not_loaded

  @type t :: %__MODULE__{reason: reason(), details: %{optional(atom()) => term()}}

  # The names of the fields in the native library's tuples, in their order.
  @fields %{
    not_found: [:path, :expected],
    unreadable: [:path, :reason],
    malformed: [:at, :expected, :found],
    unsupported: [:at, :expected, :found],
    invalid_option: [:option, :expected, :found],
    context_overflow: [:wanted_tokens, :limit_tokens],
    out_of_memory: [:wanted_bytes, :free_bytes],
    device_lost: [:reason],
    template: [:reason],
    internal: [:reason],
    nif_not_loaded: [:reason]
  }

  @doc false
  @spec from_native(atom() | tuple()) :: t()
  def from_native(:cancelled), do: %__MODULE__{reason: :load_cancelled}
  def from_native(reason) when is_atom(reason), do: %__MODULE__{reason: reason}

  def from_native(error) do
    [reason | values] = Tuple.to_list(error)
    %__MODULE__{reason: reason, details: Map.new(Enum.zip(Map.fetch!(@fields, reason), values))}
  end

  # Says what to do where a GPU was asked for and there is no driver. The library's own words stand in a model's
  # `device_note`, too, where nobody asked.
  @doc false
  @spec without_driver(t(), term()) :: t()
  def without_driver(%__MODULE__{reason: :not_found, details: %{path: "libcuda.so.1"} = details} = error, {:cuda, _}) do
    expected = "an NVIDIA driver for CUDA 12 or newer: install it, or take the CPU with device: :cpu or :auto"
    %{error | details: %{details | expected: expected}}
  end

  def without_driver(error, _device), do: error

  @doc false
  @spec invalid_option(atom() | String.t(), String.t(), term()) :: t()
  def invalid_option(option, expected, found) do
    details = %{option: to_string(option), expected: expected, found: inspect(found, limit: 5, printable_limit: 60)}
    %__MODULE__{reason: :invalid_option, details: details}
  end

  @impl true
  def message(%__MODULE__{reason: reason, details: details}), do: words(reason, details)

  defp words(:not_found, it), do: "#{it.path}: not found; expected #{it.expected}"
  defp words(:unreadable, it), do: "#{it.path}: cannot be read: #{it.reason}"
  defp words(:malformed, it), do: "#{it.at}: expected #{it.expected}, found #{it.found}"
  defp words(:unsupported, it), do: "#{it.at}: #{it.found} is not supported; expected #{it.expected}"
  defp words(:invalid_option, it), do: "#{it.option}: expected #{it.expected}, found #{it.found}"
  defp words(:empty_prompt, _), do: "the prompt is empty: it encodes to no token"

  defp words(:context_overflow, it) do
    "#{it.wanted_tokens} tokens do not fit into a context of #{it.limit_tokens}; " <>
      "shorten the prompt or load the model with a longer context"
  end

  defp words(:out_of_memory, it), do: "out of memory: #{it.wanted_bytes} bytes wanted, #{it.free_bytes} free"
  defp words(:device_lost, it), do: "the GPU is lost to this VM: #{it.reason}"
  defp words(:template, it), do: "chat template: #{it.reason}"
  defp words(:busy, %{limit: limit}), do: "#{limit} requests are waiting, which is the limit; try again later"
  defp words(:busy, _), do: "it is in use by another process; try again later"
  defp words(:load_cancelled, _), do: "loading was cancelled"
  defp words(:internal, it), do: "internal error: #{it.reason}"

  defp words(:nif_not_loaded, it) do
    "the native library is not loaded; fetch it with `mix viva_tensor.install --from URL`, or install Rust and run " <>
      "`mix deps.compile viva_tensor --force` (reason: #{it.reason})"
  end
end
