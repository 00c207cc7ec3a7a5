defmodule VivaTensor.ServerTest do
  use ExUnit.Case, async: true

  alias VivaTensor.{Error, Fixtures, Generation, Server}
  alias VivaTensor.Server.Queue

  defp start(options) do
    start_supervised!({Server, Keyword.merge([model: Fixtures.endless_model()], options)})
  end

  # A process that consumes an endless stream and says so at its first piece.
  defp occupy(server) do
    me = self()
    stream = Server.stream(server, "Hello", Fixtures.endless())
    pid = spawn(fn -> Enum.each(stream, fn _ -> send(me, {:began, self()}) end) end)
    assert_receive {:began, ^pid}, 5_000
    pid
  end

  defp waiting(server), do: :sys.get_state(server).queue.size
  defp active(server), do: length(:sys.get_state(server).active)

  test "answers many callers at once as it answers one" do
    golden = Fixtures.golden("llama")["cases"]
    server = start(model: Fixtures.path("llama"), load: [context: 256], max_concurrent: 3)
    assert Server.model(server).info.context == 256

    asked = List.flatten(List.duplicate(golden, 4))

    answers =
      asked
      |> Task.async_stream(
        fn golden ->
          options = [max_new_tokens: length(golden["greedy_ids"]), stop_on_eos: false]
          {:ok, generation} = Server.generate(server, golden["prompt"], options)
          {generation.token_ids, Enum.join(Server.stream(server, golden["prompt"], options))}
        end,
        max_concurrency: 8,
        timeout: 30_000
      )
      |> Enum.map(&elem(&1, 1))

    assert answers == Enum.map(asked, &{&1["greedy_ids"], &1["text"]})
    assert {active(server), waiting(server)} == {0, 0}
  end

  test "has a name and chats" do
    start(name: __MODULE__.Named)
    messages = [user: "Hi"]
    options = [max_new_tokens: 8]
    expected = VivaTensor.chat!(Fixtures.load("llama"), messages, options).text
    assert {:ok, %Generation{text: ^expected}} = Server.chat(__MODULE__.Named, messages, options)
    assert __MODULE__.Named |> Server.chat_stream(messages, options) |> Enum.join() == expected
  end

  test "refuses with busy when its queue is full, and serves who waits" do
    server = start(max_concurrent: 1, max_queue: 1)
    first = occupy(server)
    second = Task.async(fn -> Server.generate(server, "Hello", max_new_tokens: 3) end)
    assert Fixtures.soon?(fn -> waiting(server) == 1 end)

    assert {:error, %Error{reason: :busy} = error} = Server.generate(server, "Hello")
    assert Exception.message(error) =~ "1 requests are waiting"
    assert_raise Error, ~r/try again/, fn -> Enum.to_list(Server.stream(server, "Hello")) end

    Process.exit(first, :kill)
    assert {:ok, %Generation{token_ids: [_, _, _]}} = Task.await(second)
    assert {active(server), waiting(server)} == {0, 0}
  end

  test "a caller that dies harms no other, working or waiting" do
    server = start(max_concurrent: 2)
    [first, second] = [occupy(server), occupy(server)]
    waits = spawn(fn -> Server.generate(server, "Hello", Fixtures.endless()) end)
    assert Fixtures.soon?(fn -> waiting(server) == 1 end)
    Process.exit(waits, :kill)
    assert Fixtures.soon?(fn -> waiting(server) == 0 end)
    Process.exit(first, :kill)
    assert Fixtures.soon?(fn -> active(server) == 1 end)
    assert Process.alive?(second)
    assert {:ok, %Generation{}} = Server.generate(server, "Hello", max_new_tokens: 3)
    assert_receive {:began, ^second}
  end

  test "a consumer that halts stops its work" do
    server = start([])
    me = self()
    options = [on_finish: &send(me, &1)] ++ Fixtures.endless()
    assert [first] = server |> Server.stream("Hello", options) |> Enum.take(1)
    assert_received %Generation{finish_reason: :cancelled, text: text}
    assert String.starts_with?(text, first)
    assert active(server) == 0
    # Nothing of it is left in the mailbox.
    refute_received _
  end

  test "a request that fails harms no other" do
    server = start(max_concurrent: 2)
    other = occupy(server)
    assert {:error, %Error{reason: :invalid_option}} = Server.generate(server, "Hello", temperature: -1)
    assert {:error, %Error{reason: :invalid_option}} = Server.generate(server, "Hello", no_such: 1)
    assert {:error, %Error{reason: :invalid_option}} = Server.chat(server, [1])
    assert {:error, %Error{reason: :context_overflow}} = Server.generate(server, List.duplicate(42, 60_001))
    assert {:ok, _} = Server.generate(server, "Hello", max_new_tokens: 1)
    assert Process.alive?(other)
  end

  test "a caller exits when the server does" do
    server = start([])
    _ = occupy(server)

    task =
      Task.Supervisor.async_nolink(start_supervised!(Task.Supervisor), Server, :generate, [
        server,
        "Hello",
        Fixtures.endless()
      ])

    assert Fixtures.soon?(fn -> active(server) == 2 end)
    Process.exit(server, :kill)
    assert {:exit, {:killed, _}} = Task.yield(task, 5_000)
  end

  test "a model or an option that cannot be is the error of start_link" do
    assert {:error, %Error{reason: :not_found}} = Server.start_link(model: "no/such/model")
    assert {:error, %Error{reason: :invalid_option}} = Server.start_link(model: "x", max_queue: -1)
    assert {:error, %Error{reason: :invalid_option}} = Server.start_link(model: "x", max_concurrent: 0)
    assert {:error, %Error{reason: :invalid_option}} = Server.start_link(modle: "x")
    assert {:error, %Error{} = error} = Server.start_link(name: __MODULE__.NoModel)
    assert Exception.message(error) == "model: expected a path or a loaded model, found nil"
  end

  describe "the queue" do
    test "lets callers take turns and keeps the order of each" do
      requests = [a: 1, a: 2, a: 3, b: 4, c: 5, b: 6]
      queue = Enum.reduce(requests, %Queue{}, fn {caller, request}, queue -> Queue.push(queue, caller, request) end)
      assert queue.size == 6
      assert drain(queue) == [1, 4, 5, 2, 6, 3]
    end

    test "forgets what is rejected" do
      queue = %Queue{} |> Queue.push(:a, 1) |> Queue.push(:a, 2) |> Queue.push(:b, 3)
      assert queue |> Queue.reject(:a, &(&1 == 1)) |> drain() == [2, 3]
      assert queue |> Queue.reject(:a, fn _ -> true end) |> drain() == [3]
      assert queue |> Queue.reject(:c, fn _ -> true end) |> drain() == [1, 3, 2]
    end

    defp drain(queue) do
      case Queue.pop(queue) do
        :empty -> []
        {request, queue} -> [request | drain(queue)]
      end
    end
  end
end
