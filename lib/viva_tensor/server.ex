defmodule VivaTensor.Server do
  @moduledoc """
  A model under a supervisor, for many callers.

      children = [
        {VivaTensor.Server, model: "path/to/model.gguf", name: MyApp.Model, max_queue: 32}
      ]

      {:ok, answer} = VivaTensor.Server.chat(MyApp.Model, [user: "Why is the sky blue?"], max_new_tokens: 200)

  The server loads the model as it starts and works on up to `max_concurrent` answers at once, a slice for each in
  turn; those that decode share one pass over the weights. Further requests wait, and callers take turns. When
  `max_queue` requests wait, the next one gets the error `:busy`. A caller that dies, or stops consuming its stream,
  takes its own request along and nobody else's. An answer does not depend on what else is being computed.

  Callers may be on other nodes. When the server ends while a caller waits, the caller exits, as with
  `GenServer.call/3`.

  Options of `start_link/1`, and of the child specification:

    * `model` (required): a path, or a loaded `VivaTensor.Model`
    * `name`: as of `GenServer.start_link/3`
    * `load` ([]): the options of `VivaTensor.load_model/2`
    * `max_concurrent` (4): answers that are worked on at once; each has a cache of its own
    * `max_queue` (64): requests that may wait beside them, or `:infinity`
  """

  # The callers' messages are looked at between slices: a `:step` message to itself follows each slice.
  use GenServer

  alias VivaTensor.{Error, Generation, Model, Options, Turn}
  alias VivaTensor.Server.Queue

  @type option ::
          {:model, Path.t() | Model.t()}
          | {:name, GenServer.name()}
          | {:load, [VivaTensor.load_option()]}
          | {:max_concurrent, pos_integer()}
          | {:max_queue, non_neg_integer() | :infinity}

  @options [model: nil, name: nil, load: [], max_concurrent: 4, max_queue: 64]

  defstruct [:model, :max_concurrent, :max_queue, queue: %Queue{}, active: [], stepping?: false]

  # The caller's side.

  @doc """
  Starts a server; returns once the model is loaded, or with `{:error, error}` where it cannot be.

      iex> {:ok, server} = VivaTensor.Server.start_link(model: "test/fixtures/tiny/llama")
      iex> {:ok, answer} = VivaTensor.Server.generate(server, "Hello, world!", max_new_tokens: 3)
      iex> answer.token_ids
      [152, 94, 179]
  """
  @spec start_link([option()]) :: GenServer.on_start()
  def start_link(options) do
    with {:ok, options} <- Options.merge(options, @options),
         :ok <- check(options, :max_concurrent, "an integer of at least 1", &(is_integer(&1) and &1 >= 1)),
         :ok <- check(options, :max_queue, "an integer of at least 0, or :infinity", &queue_limit?/1) do
      name = if options[:name], do: [name: options[:name]], else: []
      GenServer.start_link(__MODULE__, options, name)
    end
  end

  defp queue_limit?(limit), do: limit == :infinity or (is_integer(limit) and limit >= 0)

  defp check(options, name, expected, valid?) do
    if valid?.(options[name]), do: :ok, else: {:error, Error.invalid_option(name, expected, options[name])}
  end

  @doc "The server's model, for what needs no queue: `VivaTensor.tokenize/3`, `VivaTensor.model_info/1`."
  @spec model(GenServer.server()) :: Model.t()
  def model(server), do: GenServer.call(server, :model, :infinity)

  @doc "Continues a text as `VivaTensor.generate/3` does, or answers `:busy` when the queue is full."
  @spec generate(GenServer.server(), VivaTensor.prompt(), [VivaTensor.generate_option()]) ::
          {:ok, Generation.t()} | {:error, Error.t()}
  def generate(server, prompt, options \\ []), do: answer(server, Options.prompt(prompt), options)

  @doc "Answers messages as `VivaTensor.chat/3` does, or answers `:busy` when the queue is full."
  @spec chat(GenServer.server(), [VivaTensor.message()], [VivaTensor.generate_option()]) ::
          {:ok, Generation.t()} | {:error, Error.t()}
  def chat(server, messages, options \\ []), do: answer(server, Options.chat(messages), options)

  @doc """
  Continues a text as `VivaTensor.stream/3` does. The server goes on while the consumer is busy, and the pieces wait
  in the consumer's mailbox. The stream raises a full queue's `:busy` as a `VivaTensor.Error`.
  """
  @spec stream(GenServer.server(), VivaTensor.prompt(), [VivaTensor.stream_option()]) :: Enumerable.t(String.t())
  def stream(server, prompt, options \\ []), do: pieces(server, fn -> Options.prompt(prompt) end, options)

  @doc "Answers messages as a stream of the answer's pieces; otherwise as `stream/3`."
  @spec chat_stream(GenServer.server(), [VivaTensor.message()], [VivaTensor.stream_option()]) ::
          Enumerable.t(String.t())
  def chat_stream(server, messages, options \\ []), do: pieces(server, fn -> Options.chat(messages) end, options)

  defp answer(server, prompt, options) do
    with {:ok, prompt} <- prompt,
         {:ok, request} <- Options.request(options),
         {:ok, ref} <- submit(server, prompt, request, false) do
      case await(server, ref) do
        {:done, _piece, generation} -> {:ok, generation}
        {:error, error} -> {:error, error}
      end
    end
  end

  # The reference is the monitor's, the address that the server sends to, and the name of the request.
  defp submit(server, prompt, request, stream?) do
    ref = Process.monitor(whereis(server), alias: :demonitor)

    case GenServer.call(server, {:submit, ref, prompt, request, stream?}, :infinity) do
      :ok ->
        {:ok, ref}

      {:error, error} ->
        forget(ref)
        {:error, error}
    end
  end

  defp whereis(server) do
    GenServer.whereis(server) || exit({:noproc, {__MODULE__, :submit, [server]}})
  end

  defp await(server, ref) do
    receive do
      {^ref, {:cont, piece}} ->
        {:cont, piece}

      {^ref, last} ->
        forget(ref)
        last

      {:DOWN, ^ref, :process, _, reason} ->
        exit({reason, {__MODULE__, :await, [server]}})
    end
  end

  defp forget(ref), do: Process.demonitor(ref, [:flush])

  defp pieces(server, prompt, options) do
    open = fn ->
      with {:ok, on_finish, options} <- Options.stream(options),
           {:ok, prompt} <- prompt.(),
           {:ok, request} <- Options.request(options),
           {:ok, ref} <- submit(server, prompt, request, true) do
        {server, ref, on_finish}
      else
        {:error, error} -> raise error
      end
    end

    Stream.resource(open, &next_pieces/1, &end_pieces/1)
  end

  defp next_pieces({server, ref, on_finish} = state) do
    case await(server, ref) do
      {:cont, piece} -> {[piece], state}
      {:done, "", generation} -> {:halt, {generation, on_finish}}
      {:done, piece, generation} -> {[piece], {generation, on_finish}}
      {:error, error} -> raise error
    end
  end

  defp next_pieces({%Generation{}, _} = done), do: {:halt, done}

  defp end_pieces({%Generation{} = generation, on_finish}), do: on_finish.(generation)

  defp end_pieces({server, ref, on_finish}) do
    forget(ref)
    generation = cancel(server, ref)
    drop_messages(ref)
    if generation, do: on_finish.(generation)
  end

  # A server that is gone has nothing to cancel.
  defp cancel(server, ref) do
    GenServer.call(server, {:cancel, ref}, :infinity)
  catch
    :exit, _ -> nil
  end

  defp drop_messages(ref) do
    receive do
      {^ref, _} -> drop_messages(ref)
    after
      0 -> :ok
    end
  end

  # The server's side.

  @impl true
  def init(options) do
    case load(options[:model], options[:load]) do
      {:ok, model} ->
        {:ok, %__MODULE__{model: model, max_concurrent: options[:max_concurrent], max_queue: options[:max_queue]}}

      # Ends this process without a crash: start_link returns the error.
      {:error, error} ->
        {:error, error}
    end
  end

  defp load(%Model{} = model, _options), do: {:ok, model}
  defp load(nil, _options), do: {:error, Error.invalid_option(:model, "a path or a loaded model", nil)}
  defp load(path, options), do: VivaTensor.load_model(path, options)

  @impl true
  def handle_call(:model, _from, state), do: {:reply, state.model, state}

  def handle_call({:submit, ref, prompt, request, stream?}, {caller, _}, state) do
    job = %{ref: ref, caller: caller, prompt: prompt, request: request, stream?: stream?, turn: nil, monitor: nil}

    # `:infinity` is more than any number.
    if length(state.active) < state.max_concurrent or state.queue.size < state.max_queue do
      job = %{job | monitor: Process.monitor(caller)}
      {:reply, :ok, refill(%{state | queue: Queue.push(state.queue, caller, job)})}
    else
      {:reply, {:error, %Error{reason: :busy, details: %{limit: state.max_queue}}}, state}
    end
  end

  def handle_call({:cancel, ref}, {caller, _}, state) do
    {ended, active} = Enum.split_with(state.active, &(&1.ref == ref))
    generations = Enum.map(ended, &stop/1)
    {waiting, queue} = take_waiting(state.queue, caller, ref)
    Enum.each(ended ++ waiting, &Process.demonitor(&1.monitor, [:flush]))
    {:reply, List.first(generations), refill(%{state | active: active, queue: queue})}
  end

  @impl true
  def handle_info(:step, state) do
    results = state.active |> Enum.map(& &1.turn) |> Turn.step()
    active = state.active |> Enum.zip(results) |> Enum.flat_map(&settle/1)
    {:noreply, refill(%{state | active: active, stepping?: false})}
  end

  # A caller is gone, and so are all of its requests; each has a monitor of its own.
  def handle_info({:DOWN, monitor, :process, caller, _reason}, state) do
    {ended, active} = Enum.split_with(state.active, &(&1.monitor == monitor))
    Enum.each(ended, &stop/1)
    queue = Queue.reject(state.queue, caller, &(&1.monitor == monitor))
    {:noreply, refill(%{state | active: active, queue: queue})}
  end

  def handle_info(_other, state), do: {:noreply, state}

  defp take_waiting(queue, caller, ref) do
    waiting = queue |> Queue.of(caller) |> Enum.filter(&(&1.ref == ref))
    {waiting, Queue.reject(queue, caller, &(&1.ref == ref))}
  end

  defp stop(job), do: Turn.cancel(job.turn)

  defp settle({job, {:cont, piece, turn}}) do
    if job.stream? and piece != "", do: send(job.ref, {job.ref, {:cont, piece}})
    [%{job | turn: turn}]
  end

  defp settle({job, last}) do
    tell(job, last)
    []
  end

  defp tell(job, last) do
    Process.demonitor(job.monitor, [:flush])
    send(job.ref, {job.ref, last})
  end

  # Begins what may begin, and sees that work goes on.
  defp refill(state) do
    case length(state.active) < state.max_concurrent and Queue.pop(state.queue) do
      {job, queue} -> refill(begin(job, %{state | queue: queue}))
      _full_or_empty -> keep_stepping(state)
    end
  end

  defp begin(job, state) do
    case Turn.open(state.model, job.prompt, job.request) do
      {:ok, turn} ->
        %{state | active: state.active ++ [%{job | turn: turn, prompt: nil}]}

      {:error, error} ->
        tell(job, {:error, error})
        state
    end
  end

  defp keep_stepping(%{active: [_ | _], stepping?: false} = state) do
    send(self(), :step)
    %{state | stepping?: true}
  end

  defp keep_stepping(state), do: state
end
