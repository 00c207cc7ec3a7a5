defmodule VivaTensor.Turn do
  # One answer: a session of the native library and what its slices brought so far.
  #
  # `open`, then `step` until it is done or failed; `cancel` ends it early. Whoever opened it steps it: `generate` and
  # `stream` one at a time, `VivaTensor.Server` a list. A turn that is done, failed or cancelled is closed; where it was
  # `resume`d, in a `VivaTensor.Session`, that stays open for the next one.
  @moduledoc false

  alias VivaTensor.{Engine, Error, Generation, Model, Telemetry}

  @enforce_keys [:session, :metadata, :began, :prompt_ids, :cached]
  defstruct @enforce_keys ++ [prefilled: nil, slices: [], kept: false]

  @type t :: %__MODULE__{}
  @type step :: {:cont, String.t(), t()} | {:done, String.t(), Generation.t()} | {:error, Error.t()}

  @spec open(Model.t(), tuple(), tuple()) :: {:ok, t()} | {:error, Error.t()}
  def open(%Model{} = model, prompt, request) do
    {began, metadata} = begin(model)

    with {:ok, session} <- Engine.open(model.ref),
         {:ok, {:submitted, prompt_ids, cached}} <- Engine.submit(session, prompt, request) do
      {:ok, %__MODULE__{session: session, metadata: metadata, began: began, prompt_ids: prompt_ids, cached: cached}}
    else
      {:error, error} -> {:error, failed(began, metadata, error)}
    end
  end

  defp begin(model) do
    metadata = %{model: model.path, turn: make_ref()}
    {Telemetry.start(:generate, metadata), metadata}
  end

  # To its end.
  @spec run(t()) :: {:ok, Generation.t()} | {:error, Error.t()}
  def run(turn) do
    case step([turn]) do
      [{:cont, _piece, turn}] -> run(turn)
      [{:done, _piece, generation}] -> {:ok, generation}
      [{:error, error}] -> {:error, error}
    end
  end

  # A turn in a session that is there before and after it.
  @spec resume(Engine.session(), Model.t(), tuple(), tuple()) :: {:ok, t()} | {:error, Error.t()}
  def resume(session, %Model{} = model, prompt, request) do
    {began, metadata} = begin(model)

    case Engine.submit(session, prompt, request) do
      {:ok, {:submitted, ids, cached}} ->
        turn = %__MODULE__{session: session, metadata: metadata, began: began, prompt_ids: ids, cached: cached}
        {:ok, %{turn | kept: true}}

      {:error, error} ->
        {:error, failed(began, metadata, error)}
    end
  end

  # The whole of a turn in a session of the BEAM, which runs by itself.
  @spec on_beam(Engine.turns(), Model.t(), tuple(), tuple()) :: {:ok, Generation.t()} | {:error, Error.t()}
  def on_beam(session, %Model{} = model, prompt, request) do
    {began, metadata} = begin(model)

    case Engine.run(session, prompt, request) do
      {:ok, {:generation, text, ids, prompt_ids, cached, reason, timings, logprobs}} ->
        turn = %__MODULE__{session: session, metadata: metadata, began: began, prompt_ids: prompt_ids, cached: cached}
        slices = [{:progress, text, ids, logprobs, :generating}]
        {:ok, finish(%{turn | kept: true, slices: slices}, finish_reason(reason), timings)}

      {:error, error} ->
        {:error, failed(began, metadata, error)}
    end
  end

  defp failed(began, metadata, error) do
    error = Error.from_native(error)
    Telemetry.exception(:generate, began, Map.merge(metadata, %{kind: :error, reason: error}))
    error
  end

  # One slice for each, in order.
  @spec step([t()]) :: [step()]
  def step(turns) do
    began = System.monotonic_time()

    case Engine.step(Enum.map(turns, & &1.session)) do
      {:ok, results} ->
        duration = System.monotonic_time() - began
        Enum.zip_with(turns, results, &settle(&1, &2, duration))

      {:error, error} ->
        Enum.map(turns, &fail(&1, error))
    end
  end

  defp fail(turn, error) do
    close(turn)
    {:error, failed(turn.began, turn.metadata, error)}
  end

  defp settle(turn, {:error, error}, _duration), do: fail(turn, error)

  defp settle(turn, {:ok, {:progress, text, ids, _logprobs, status} = slice}, duration) do
    turn = %{turn | slices: [slice | turn.slices]} |> report(length(ids), status, duration)

    case status do
      {:finished, reason, timings} -> {:done, text, finish(turn, finish_reason(reason), timings)}
      _ -> {:cont, text, turn}
    end
  end

  # A slice of the prompt, or of the answer; the prefill ends with the first slice that is the answer's.
  defp report(turn, tokens, status, duration) do
    reading? = match?({:prefilling, _, _}, status)
    first? = turn.prefilled == nil and not reading?
    component = if reading? or first?, do: :prefill, else: :decode
    Telemetry.slice(component, %{duration: duration, tokens: tokens}, turn.metadata)

    if first? do
      now = System.monotonic_time()
      read = length(turn.prompt_ids) - turn.cached
      Telemetry.emit([:prefill, :stop], %{duration: now - turn.began, tokens: read}, turn.metadata)
      %{turn | prefilled: now}
    else
      turn
    end
  end

  defp finish_reason({:stop_text, text}), do: {:stop, text}
  defp finish_reason(reason), do: reason

  # Ends it early; what there is so far, or nil where it had come to its end.
  @spec cancel(t()) :: Generation.t() | nil
  def cancel(turn) do
    case Engine.cancel(turn.session) do
      {:ok, timings} ->
        finish(turn, :cancelled, timings)

      {:ok, timings, slice} ->
        finish(%{turn | slices: [slice | turn.slices]}, :cancelled, timings)

      {:error, _} ->
        close(turn)
        nil
    end
  end

  defp finish(turn, reason, {:timings, prefill_tokens, prefill_seconds, decode_tokens, decode_seconds}) do
    close(turn)
    slices = Enum.reverse(turn.slices)

    generation = %Generation{
      text: Enum.map_join(slices, fn {:progress, text, _, _, _} -> text end),
      token_ids: Enum.flat_map(slices, fn {:progress, _, ids, _, _} -> ids end),
      prompt_token_ids: turn.prompt_ids,
      prompt_tokens: length(turn.prompt_ids),
      cached_tokens: turn.cached,
      finish_reason: reason,
      timings: %{
        prefill_tokens: prefill_tokens,
        prefill_seconds: prefill_seconds,
        decode_tokens: decode_tokens,
        decode_seconds: decode_seconds
      },
      logprobs: for({:progress, _, _, logprobs, _} <- slices, token <- logprobs, do: token_logprobs(token))
    }

    measurements = %{prompt_tokens: generation.prompt_tokens, tokens: length(generation.token_ids)}
    metadata = Map.merge(turn.metadata, %{finish_reason: reason, timings: generation.timings})
    Telemetry.stop(:generate, turn.began, measurements, metadata)
    generation
  end

  defp token_logprobs({:token_logprobs, id, logprob, top}), do: %{token_id: id, logprob: logprob, top: top}

  # Frees its cache; again does no harm.
  @spec close(t()) :: :ok
  def close(%__MODULE__{kept: true}), do: :ok

  def close(turn) do
    _ = Engine.close(turn.session)
    :ok
  end
end
