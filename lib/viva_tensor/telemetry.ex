defmodule VivaTensor.Telemetry do
  @moduledoc """
  The events that this library emits through `:telemetry`.

  There is no dependency: where an application brings `:telemetry` along, events are emitted, otherwise nothing
  happens. Durations are in native time units. Every event's metadata has `model`, the path that it was loaded from;
  those of one answer also have `turn`, a reference that is the answer's own.

  | event | measurements | further metadata |
  |---|---|---|
  | `[:viva_tensor, :load, :start]` | `system_time`, `monotonic_time` | |
  | `[:viva_tensor, :load, :stop]` | `duration`, `weight_bytes` | `info`, a `VivaTensor.ModelInfo` |
  | `[:viva_tensor, :load, :exception]` | `duration` | `kind`, `reason` |
  | `[:viva_tensor, :generate, :start]` | `system_time`, `monotonic_time` | |
  | `[:viva_tensor, :prefill, :slice]` | `duration`, `tokens` | |
  | `[:viva_tensor, :prefill, :stop]` | `duration`, `tokens` | |
  | `[:viva_tensor, :decode, :slice]` | `duration`, `tokens` | |
  | `[:viva_tensor, :generate, :stop]` | `duration`, `prompt_tokens`, `tokens` | `finish_reason`, `timings` |
  | `[:viva_tensor, :generate, :exception]` | `duration` | `kind`, `reason` |

  A slice is one call of the native library: a chunk of the prompt, or about 50 ms of decoding. Its `tokens` are the
  new ones that it brought, so the prompt's chunks have 0 and its last may have 1. Slices that a `VivaTensor.Server`
  does for several answers at once are reported for each of them, with the whole slice's duration. The `tokens` of
  `[:prefill, :stop]` are those of the prompt that were read, and its `duration` is the time to the first new token.

  In an `:exception` event `kind` is `:error` and `reason` a `VivaTensor.Error`: a value that was returned, not
  raised. An answer that its consumer stopped early ends with `:stop` and the finish reason `:cancelled`; one whose
  process was killed has no last event.

      :telemetry.attach("answers", [:viva_tensor, :generate, :stop], &MyApp.Metrics.answer/4, nil)
  """

  @doc false
  @spec start(atom(), map()) :: integer()
  def start(component, metadata) do
    now = System.monotonic_time()
    emit([component, :start], %{system_time: System.system_time(), monotonic_time: now}, metadata)
    now
  end

  @doc false
  @spec stop(atom(), integer(), map(), map()) :: :ok
  def stop(component, began, measurements, metadata) do
    emit([component, :stop], Map.put(measurements, :duration, System.monotonic_time() - began), metadata)
  end

  @doc false
  @spec exception(atom(), integer(), map()) :: :ok
  def exception(component, began, metadata) do
    emit([component, :exception], %{duration: System.monotonic_time() - began}, metadata)
  end

  @doc false
  @spec slice(:prefill | :decode, map(), map()) :: :ok
  def slice(component, measurements, metadata), do: emit([component, :slice], measurements, metadata)

  # Whoever attached a handler has loaded the module, so a look at what is loaded is enough, and costs next to nothing.
  @doc false
  @spec emit([atom()], map(), map()) :: :ok
  def emit(event, measurements, metadata) do
    if function_exported?(:telemetry, :execute, 3) do
      apply(:telemetry, :execute, [[:viva_tensor | event], measurements, metadata])
    end

    :ok
  end
end
