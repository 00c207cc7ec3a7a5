defmodule ElixirApp.MixProject do
  use Mix.Project

  def project do
    [
      app: :elixir_app,
      version: "0.1.0",
      elixir: "~> 1.18",
      deps: [{:viva_tensor, path: "../.."}]
    ]
  end

  def application, do: []
end
