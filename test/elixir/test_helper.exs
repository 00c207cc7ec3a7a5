# Mistakes of a test's own processes are no news.
Logger.configure(level: :emergency)
ExUnit.start()

defmodule VivaTensor.Fixtures do
  # The tiny checkpoints and what transformers says of them.
  def names, do: ~w(gemma3 llama llama2-sharded-f16 llama3 mistral phi2 phi3 qwen2 qwen3)
  def path(name), do: Path.join("test/fixtures/tiny", name)
  def load(name), do: VivaTensor.load_model!(path(name))
  def golden(name), do: name |> path() |> Path.join("golden.json") |> File.read!() |> :json.decode()

  # An answer that would take minutes: it ends when its work is stopped.
  def endless, do: [max_new_tokens: 50_000, stop_on_eos: false]

  def endless_model do
    {:ok, model} = VivaTensor.load_model(endless_folder(), context: 60_000)
    model
  end

  # The tiny llama, said to be made for long texts.
  defp endless_folder do
    folder = folder()
    File.cp_r!(path("llama"), folder)
    config = folder |> Path.join("config.json") |> File.read!() |> :json.decode()
    write_config(folder, %{config | "max_position_embeddings" => 60_000})
    folder
  end

  # A folder with a model of 100 MB of zeros, which does not load in one slice.
  def large_folder do
    folder = folder()

    for name <- ["tokenizer.json", "tokenizer_config.json"],
        do: File.cp!(Path.join(path("llama"), name), Path.join(folder, name))

    config = "llama" |> path() |> Path.join("config.json") |> File.read!() |> :json.decode()
    {d, kv, f} = {80, 40, 200_000}
    write_config(folder, %{config | "intermediate_size" => f, "num_hidden_layers" => 1})
    layer = "model.layers.0."

    shapes = [
      {"model.embed_tokens", [512, d]},
      {"model.norm", [d]},
      {"lm_head", [512, d]},
      {layer <> "input_layernorm", [d]},
      {layer <> "post_attention_layernorm", [d]},
      {layer <> "self_attn.q_proj", [d, d]},
      {layer <> "self_attn.k_proj", [kv, d]},
      {layer <> "self_attn.v_proj", [kv, d]},
      {layer <> "self_attn.o_proj", [d, d]},
      {layer <> "mlp.gate_proj", [f, d]},
      {layer <> "mlp.up_proj", [f, d]},
      {layer <> "mlp.down_proj", [d, f]}
    ]

    {tensors, size} =
      Enum.map_reduce(shapes, 0, fn {name, shape}, start ->
        last = start + 2 * Enum.product(shape)
        {{name <> ".weight", %{dtype: "F16", shape: shape, data_offsets: [start, last]}}, last}
      end)

    header = tensors |> Map.new() |> :json.encode() |> IO.iodata_to_binary()
    {:ok, file} = :file.open(Path.join(folder, "model.safetensors"), [:write, :raw, :binary])
    :ok = :file.write(file, [<<byte_size(header)::64-little>>, header])
    {:ok, _} = :file.position(file, 8 + byte_size(header) + size)
    :ok = :file.truncate(file)
    :ok = :file.close(file)
    folder
  end

  defp write_config(folder, config), do: File.write!(Path.join(folder, "config.json"), :json.encode(config))

  # A folder of the test's own, until the run ends.
  def folder do
    folder = Path.join(System.tmp_dir!(), "viva_tensor_#{System.pid()}_#{System.unique_integer([:positive])}")
    File.mkdir_p!(folder)
    ExUnit.after_suite(fn _ -> File.rm_rf!(folder) end)
    folder
  end

  # Whether it becomes true soon.
  def soon?(check, tries \\ 500) do
    cond do
      check.() -> true
      tries == 0 -> false
      true -> Process.sleep(2) && soon?(check, tries - 1)
    end
  end
end
