defmodule VivaTensor.Server.Queue do
  # Who waits: the callers take turns, and each one's own requests stay in their order. So a caller with a hundred
  # requests delays one with a single request by one answer, not by a hundred.
  @moduledoc false

  defstruct callers: :queue.new(), requests: %{}, size: 0

  @type t :: %__MODULE__{}

  @spec push(t(), term(), term()) :: t()
  def push(%__MODULE__{} = queue, caller, request) do
    known? = is_map_key(queue.requests, caller)
    callers = if known?, do: queue.callers, else: :queue.in(caller, queue.callers)
    requests = Map.update(queue.requests, caller, :queue.from_list([request]), &:queue.in(request, &1))
    %{queue | callers: callers, requests: requests, size: queue.size + 1}
  end

  @spec pop(t()) :: {term(), t()} | :empty
  def pop(%__MODULE__{size: 0}), do: :empty

  def pop(%__MODULE__{} = queue) do
    {{:value, caller}, callers} = :queue.out(queue.callers)
    {{:value, request}, own} = :queue.out(queue.requests[caller])
    queue = %{queue | size: queue.size - 1}

    if :queue.is_empty(own) do
      {request, %{queue | callers: callers, requests: Map.delete(queue.requests, caller)}}
    else
      {request, %{queue | callers: :queue.in(caller, callers), requests: Map.put(queue.requests, caller, own)}}
    end
  end

  # A caller's requests that wait.
  @spec of(t(), term()) :: [term()]
  def of(%__MODULE__{} = queue, caller), do: queue.requests |> Map.get(caller, :queue.new()) |> :queue.to_list()

  # Takes out the requests of a caller that a function rejects.
  @spec reject(t(), term(), (term() -> boolean())) :: t()
  def reject(%__MODULE__{} = queue, caller, reject?) do
    own = of(queue, caller)
    kept = Enum.reject(own, reject?)
    queue = %{queue | size: queue.size - length(own) + length(kept)}

    if kept == [] do
      callers = :queue.filter(&(&1 != caller), queue.callers)
      %{queue | callers: callers, requests: Map.delete(queue.requests, caller)}
    else
      %{queue | requests: Map.put(queue.requests, caller, :queue.from_list(kept))}
    end
  end
end
