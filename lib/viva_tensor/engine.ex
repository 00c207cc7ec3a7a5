defmodule VivaTensor.Engine do
  # Who computes: the native library, or the Gleam modules on the BEAM, where they are compiled in. A model or a session
  # of the BEAM is a tagged tuple, one of the native library a reference; the answers have the same form.
  @moduledoc false

  alias VivaTensor.BeamSession

  # Called by name, because a compilation without gleam does not have it.
  @gleam :viva_tensor@engine

  @type model :: reference() | {:beam_model, term()}
  @type session :: reference() | {:beam_session, pid()}
  # A session of several turns on the BEAM, which runs each of them as a whole.
  @type turns :: {:beam_turns, tuple()}

  @spec beam?() :: boolean()
  def beam?, do: Code.ensure_loaded?(@gleam)

  # Whether the BEAM is to compute, for a device that was asked for.
  defp beam?(:beam), do: true
  defp beam?(:auto), do: not :viva_tensor_nif.loaded() and beam?()
  defp beam?(_device), do: false

  @spec load(binary(), tuple(), (non_neg_integer(), non_neg_integer() -> term())) ::
          {:ok, model(), tuple()} | {:error, term()}
  def load(path, {:load_options, device, context, threads, weights} = options, on_progress) do
    loaded =
      if beam?(device),
        do: load_beam(path, context, threads, weights, on_progress),
        else: load_native(path, options, on_progress)

    with {:ok, model} <- loaded, {:ok, info} <- info(model), do: {:ok, model, info}
  end

  defp load_native(path, options, on_progress) do
    with {:ok, loader} <- :viva_tensor_nif.load_open(path, options), do: load_loop(loader, on_progress)
  end

  defp load_loop(loader, on_progress) do
    with {:ok, {:loading, done_bytes, total_bytes}} <- :viva_tensor_nif.load_step(loader) do
      if on_progress.(done_bytes, total_bytes) == :halt,
        do: {:error, :cancelled},
        else: load_loop(loader, on_progress)
    else
      {:ok, {:ready, model}} -> {:ok, model}
      {:error, error} -> {:error, error}
    end
  end

  defp load_beam(_path, _context, _threads, weights, _on_progress) when weights != :keep do
    {:error, {:unsupported, "weights", ":keep", "a packed format on the BEAM"}}
  end

  defp load_beam(path, context, threads, weights, on_progress) do
    next = fn done_bytes, total_bytes ->
      if on_progress.(done_bytes, total_bytes) == :halt, do: :stop, else: :continue
    end

    apply(@gleam, :load, [path, :beam, context, threads, weights, next])
  end

  defp info({:beam_model, _} = model), do: apply(@gleam, :model_info, [model])
  defp info(model), do: :viva_tensor_nif.model_info(model)

  @spec tokenize(model(), term(), term()) :: {:ok, [non_neg_integer()]} | {:error, term()}
  def tokenize({:beam_model, _} = model, text, special), do: apply(@gleam, :tokenize, [model, text, special])
  def tokenize(model, text, special), do: :viva_tensor_nif.tokenize(model, text, special)

  @spec detokenize(model(), term(), boolean()) :: {:ok, String.t()} | {:error, term()}
  def detokenize({:beam_model, _} = model, ids, skip), do: apply(@gleam, :detokenize, [model, ids, skip])
  def detokenize(model, ids, skip), do: :viva_tensor_nif.detokenize(model, ids, skip)

  @spec render(model(), [tuple()], term()) :: {:ok, String.t()} | {:error, term()}
  def render({:beam_model, _} = model, messages, prompt), do: apply(@gleam, :render, [model, messages, prompt])
  def render(model, messages, prompt), do: :viva_tensor_nif.render(model, messages, prompt)

  # Whether a prompt's texts are UTF-8, and a chat has messages.
  @spec check_prompt(tuple()) :: {:ok, nil} | {:error, term()}
  def check_prompt(prompt), do: apply(:viva_tensor@beam@text, :check_prompt, [prompt])

  # One answer on the BEAM, with a function of its pieces.
  @spec run_once(model(), tuple(), tuple(), (String.t() -> :continue | :stop)) :: {:ok, tuple()} | {:error, term()}
  def run_once(model, prompt, request, on_piece), do: apply(@gleam, :run_once, [model, prompt, request, on_piece])

  @spec open(model()) :: {:ok, session()} | {:error, term()}
  def open({:beam_model, _} = model), do: {:ok, {:beam_session, BeamSession.open(model)}}
  def open(model), do: :viva_tensor_nif.open(model)

  # A session of many turns.
  @spec open_session(model()) :: {:ok, session() | turns()} | {:error, term()}
  def open_session({:beam_model, _} = model) do
    with {:ok, session} <- apply(@gleam, :open, [model]), do: {:ok, {:beam_turns, session}}
  end

  def open_session(model), do: :viva_tensor_nif.open(model)

  # One turn on the BEAM, to its end.
  @spec run(turns(), tuple(), tuple()) :: {:ok, tuple()} | {:error, term()}
  def run({:beam_turns, session}, prompt, request) do
    apply(@gleam, :run, [session, prompt, request, fn _piece -> :continue end])
  end

  @spec submit(session(), tuple(), tuple()) ::
          {:ok, {:submitted, [non_neg_integer()], non_neg_integer()}} | {:error, term()}
  def submit({:beam_session, session}, prompt, request), do: BeamSession.submit(session, prompt, request)
  def submit(session, prompt, request), do: :viva_tensor_nif.submit(session, prompt, request)

  # Sessions of one model, so all of one kind.
  @spec step([session()]) :: {:ok, [{:ok, tuple()} | {:error, term()}]} | {:error, term()}
  def step([{:beam_session, _} | _] = sessions) do
    {:ok, Enum.map(sessions, fn {:beam_session, session} -> BeamSession.step(session) end)}
  end

  def step(sessions), do: :viva_tensor_nif.step(sessions)

  # What it took, and where the BEAM computed the last slice, which has the ids.
  @spec cancel(session()) :: {:ok, tuple()} | {:ok, tuple(), tuple()} | {:error, term()}
  def cancel({:beam_session, session}), do: BeamSession.cancel(session)
  def cancel(session), do: :viva_tensor_nif.cancel(session)

  @spec close(session() | turns()) :: term()
  def close({:beam_session, session}), do: BeamSession.close(session)
  def close({:beam_turns, session}), do: apply(@gleam, :close, [session])
  def close(session), do: :viva_tensor_nif.close(session)
end
