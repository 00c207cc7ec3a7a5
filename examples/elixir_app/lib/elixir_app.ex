defmodule ElixirApp do
  @moduledoc "A model under a supervisor, in a project that names viva_tensor as a dependency by path."

  @doc "Starts a supervised model; its path is the only thing that it needs."
  @spec start(Path.t()) :: Supervisor.on_start()
  def start(path) do
    Supervisor.start_link([{VivaTensor.Server, model: path, name: ElixirApp.Model}], strategy: :one_for_one)
  end

  @doc "Prints the answer to a question word by word."
  @spec ask(String.t(), keyword()) :: :ok
  def ask(question, options \\ []) do
    ElixirApp.Model
    |> VivaTensor.Server.chat_stream([user: question], options)
    |> Enum.each(&IO.write/1)

    IO.puts("")
  end
end
