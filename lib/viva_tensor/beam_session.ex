defmodule VivaTensor.BeamSession do
  # An answer of the BEAM in steps, as the native library gives them: a process that computes one piece a step.
  #
  # The Gleam loop hands out pieces to a function; here that function answers the step that waits and then waits for the
  # next one. So nothing is computed between steps. The process ends with the one that opened it, whatever it is doing.
  @moduledoc false

  alias VivaTensor.Engine

  @spec open(Engine.model()) :: pid()
  def open(model) do
    owner = self()
    session = spawn(fn -> wait_for_prompt(model) end)
    spawn(fn -> watch(owner, session) end)
    session
  end

  defp watch(owner, session) do
    [owner_ref, session_ref] = Enum.map([owner, session], &Process.monitor/1)

    receive do
      {:DOWN, ^owner_ref, :process, _, _} -> Process.exit(session, :kill)
      {:DOWN, ^session_ref, :process, _, _} -> :ok
    end
  end

  # {:submitted, PromptIds, 0}: a session of its own has read nothing before.
  @spec submit(pid(), tuple(), tuple()) :: {:ok, tuple()} | {:error, term()}
  def submit(session, prompt, request), do: call(session, {:submit, prompt, request})

  # {:progress, Text, Ids, Logprobs, Status}; all ids come with the last one.
  @spec step(pid()) :: {:ok, tuple()} | {:error, term()}
  def step(session), do: call(session, :step)

  # What it took, and the last slice: no text, but the ids.
  @spec cancel(pid()) :: {:ok, tuple(), tuple()} | {:error, term()}
  def cancel(session), do: call(session, :cancel)

  @spec close(pid()) :: :ok
  def close(session) do
    Process.exit(session, :kill)
    :ok
  end

  defp call(session, message) do
    ref = Process.monitor(session)
    send(session, {message, self(), ref})

    receive do
      {^ref, answer} ->
        Process.demonitor(ref, [:flush])
        answer

      {:DOWN, ^ref, :process, _, reason} when reason in [:noproc, :killed, :normal] ->
        {:error, {:invalid_option, "session", "an open session", "a closed one"}}

      {:DOWN, ^ref, :process, _, reason} ->
        {:error, {:internal, inspect(reason, limit: 20, printable_limit: 200)}}
    end
  end

  defp reply({caller, ref}, answer), do: send(caller, {ref, answer})

  defp wait_for_prompt(model) do
    receive do
      {{:submit, prompt, request}, caller, ref} ->
        with {:ok, nil} <- Engine.check_prompt(prompt),
             {:ok, ids} <- prompt_ids(model, prompt) do
          reply({caller, ref}, {:ok, {:submitted, ids, 0}})
          wait_for_first_step(model, ids, request)
        else
          {:error, error} -> reply({caller, ref}, {:error, error})
        end

      {_other, caller, ref} ->
        reply({caller, ref}, {:error, {:invalid_option, "session", "a session with a prompt", "one without"}})
        wait_for_prompt(model)
    end
  end

  # The content of a message never is a special token, so a chat is no text to be tokenized.
  defp prompt_ids(_model, {:tokens, ids}), do: {:ok, ids}
  defp prompt_ids(model, {:text, text}), do: Engine.tokenize(model, text, true)

  defp prompt_ids({:beam_model, model}, {:chat, messages}),
    do: apply(:viva_tensor@beam@model, :encode_chat, [model, messages])

  defp wait_for_first_step(model, ids, request) do
    receive do
      {:step, caller, ref} -> run(model, ids, request, {caller, ref})
      {:cancel, caller, ref} -> reply({caller, ref}, {:ok, {:timings, 0, 0.0, 0, 0.0}, slice([], [])})
    end
  end

  defp run(model, ids, request, waiting) do
    Process.put(:waiting, waiting)

    case Engine.run_once(model, {:tokens, ids}, request, &hand_out/1) do
      {:ok, {:generation, _text, token_ids, _prompt, _cached, :cancelled, timings, logprobs}} ->
        reply(Process.get(:waiting), {:ok, timings, slice(token_ids, logprobs)})

      {:ok, {:generation, _text, token_ids, _prompt, _cached, reason, timings, logprobs}} ->
        reply(Process.get(:waiting), {:ok, {:progress, "", token_ids, logprobs, {:finished, reason, timings}}})

      {:error, error} ->
        reply(Process.get(:waiting), {:error, error})
    end
  end

  defp slice(token_ids, logprobs), do: {:progress, "", token_ids, logprobs, :generating}

  # The piece answers the step that waits for it, and the loop goes on with the next step.
  defp hand_out(piece) do
    reply(Process.get(:waiting), {:ok, {:progress, piece, [], [], :generating}})

    receive do
      {:step, caller, ref} ->
        Process.put(:waiting, {caller, ref})
        :continue

      {:cancel, caller, ref} ->
        Process.put(:waiting, {caller, ref})
        :stop
    end
  end
end
