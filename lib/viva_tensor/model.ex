defmodule VivaTensor.Model do
  @moduledoc """
  A loaded model. Its memory is freed when nothing refers to it any more.

  It can be sent to other processes of the same node and used by any number of them at once; for other nodes there
  is `VivaTensor.Server`.
  """

  alias VivaTensor.ModelInfo

  @enforce_keys [:ref, :path, :info]
  defstruct [:ref, :path, :info]

  @type t :: %__MODULE__{ref: reference() | tuple(), path: String.t(), info: ModelInfo.t()}

  defimpl Inspect do
    def inspect(%{info: info}, _options) do
      "#VivaTensor.Model<#{info.architecture}, #{ModelInfo.size(info.parameters)} parameters, " <>
        "#{info.weights}, #{info.device}>"
    end
  end
end
