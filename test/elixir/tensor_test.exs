defmodule VivaTensor.TensorTest do
  use ExUnit.Case, async: true

  alias VivaTensor.{Error, Tensor}

  doctest Tensor

  # Large enough for the native library; the same sums in float64 by hand.
  test "a large product equals the sum of its definition" do
    [m, k, n] = [17, 31, 23]
    [a, b] = [Tensor.random_uniform([m, k], 1), Tensor.random_uniform([k, n], 2)]
    rows = Tensor.to_list(a)
    columns = Tensor.to_list(Tensor.transpose(b))

    for {row, result} <- Enum.zip(rows, Tensor.to_list(Tensor.matmul(a, b))),
        {column, found} <- Enum.zip(columns, result) do
      expected = Enum.zip_with(row, column, &(&1 * &2)) |> Enum.sum()
      assert_in_delta found, expected, 1.0e-12
    end
  end

  test "shapes broadcast, and a number takes the tensor's type" do
    column = Tensor.new([[1], [2]])
    row = Tensor.new([10, 20, 30])
    assert Tensor.to_list(Tensor.add(column, row)) == [[11.0, 21.0, 31.0], [12.0, 22.0, 32.0]]
    assert Tensor.to_list(Tensor.subtract(row, column)) == [[9.0, 19.0, 29.0], [8.0, 18.0, 28.0]]
    half = Tensor.new([1, 2], :float16)
    assert Tensor.multiply(half, 3).dtype == :float16
    assert Tensor.to_list(Tensor.divide(1, half)) == [1.0, 0.5]
    assert Tensor.add(half, Tensor.new([1, 1], :bfloat16)).dtype == :float32
    assert_raise Error, ~r/one that broadcasts with \[2\]/, fn -> Tensor.add(half, Tensor.new([1, 2, 3])) end
  end

  test "what leaves the range is an infinity or no number, never a crash" do
    v = Tensor.new([1.0e308, 0.0, -1.0])
    assert Tensor.to_list(Tensor.multiply(v, 10)) == [:infinity, 0.0, -10.0]
    assert Tensor.to_list(Tensor.divide(v, 0)) == [:infinity, :nan, :neg_infinity]
    assert Tensor.to_list(Tensor.exp(Tensor.new([1000, -1000]))) == [:infinity, 0.0]
    assert Tensor.to_list(Tensor.log(Tensor.new([0, -1]))) == [:neg_infinity, :nan]
    assert Tensor.sum(Tensor.new([:infinity, :neg_infinity])) == :nan
  end

  test "reductions go along any axis, as those of all elements" do
    t = Tensor.new([[1, 5, 2], [4, 3, 6]])
    assert Tensor.to_list(Tensor.max(t, axis: 0)) == [4.0, 5.0, 6.0]
    assert Tensor.to_list(Tensor.sum(t, axis: -1)) == [8.0, 13.0]
    assert Tensor.to_list(Tensor.argmin(t, axis: 1)) == [0.0, 1.0]
    assert {Tensor.mean(t), Tensor.argmax(t), Tensor.sum(Tensor.zeros([0]))} == {3.5, 5, 0.0}
    assert_raise Error, ~r/axis: expected an axis of \[2, 3\], found 2/, fn -> Tensor.sum(t, axis: 2) end
    assert_raise Error, ~r/mean: expected a tensor with elements/, fn -> Tensor.mean(Tensor.zeros([0])) end
  end

  test "no axis, no element, and what is wrong" do
    assert Tensor.to_list(Tensor.new(7)) == 7.0
    assert Tensor.to_list(Tensor.zeros([2, 0])) == [[], []]
    assert Tensor.to_list(Tensor.zeros([0, 2])) == []
    assert Tensor.to_list(Tensor.matmul(Tensor.zeros([2, 0]), Tensor.zeros([0, 1]))) == [[0.0], [0.0]]

    assert Tensor.to_list(Tensor.transpose(Tensor.new([[[1, 2]], [[3, 4]]]), [2, 0, 1])) == [
             [[1.0], [3.0]],
             [[2.0], [4.0]]
           ]

    for wrong <- [[-1], :two, [1.0], [100_000_000_000], [60, 1_000_000_000]],
        do: assert_raise(Error, fn -> Tensor.zeros(wrong) end)

    assert_raise Error, ~r/dtype/, fn -> Tensor.new([1], :int8) end
    assert_raise Error, ~r/data/, fn -> Tensor.new(["1"]) end
    assert_raise Error, ~r/one of 2 elements/, fn -> Tensor.reshape(Tensor.new([1, 2]), [3]) end
  end

  # On a GPU where there is one; else the error says why there is none.
  test "tensors on a GPU compute there, and give what those of the host give" do
    a = Tensor.random_uniform([3, 4], 1)

    case move(a) do
      {:ok, there} ->
        assert Tensor.device(there) == {:cuda, 0}
        assert Tensor.to_host(there) == a
        assert inspect(there) =~ "float64 [3, 4] cuda:0"

        functions = [
          &Tensor.add(&1, 2),
          &Tensor.divide(1, &1),
          &Tensor.multiply(&1, Tensor.transpose(Tensor.reshape(&1, [4, 3]))),
          &Tensor.subtract(&1, Tensor.mean(&1, axis: 0)),
          &Tensor.matmul(&1, Tensor.transpose(&1)),
          &Tensor.softmax/1,
          &Tensor.exp/1,
          &Tensor.sum(&1, axis: -1),
          &Tensor.argmax(&1, axis: 0),
          &Tensor.cast(&1, :bfloat16)
        ]

        for function <- functions do
          found = function.(there)
          assert Tensor.device(found) == {:cuda, 0}
          off = Tensor.subtract(Tensor.to_host(found), function.(a)) |> Tensor.absolute() |> Tensor.max()
          assert off < 1.0e-13
        end

        for function <- [&Tensor.sum/1, &Tensor.variance/1, &Tensor.argmin/1, &Tensor.size/1],
            do: assert_in_delta(function.(there), function.(a), 1.0e-13)

        assert_raise Error, ~r/operands: expected tensors in one place/, fn -> Tensor.add(a, there) end

      {:error, error} ->
        assert error.reason in [:nif_not_loaded, :not_found, :unsupported, :invalid_option]
    end

    assert Tensor.to_device(a, :cpu) == a
    assert_raise Error, ~r/device: expected/, fn -> Tensor.to_device(a, :gpu) end
  end

  defp move(tensor) do
    {:ok, Tensor.to_device(tensor, {:cuda, 0})}
  rescue
    error in Error -> {:error, error}
  end

  test "inspect shows type, shape and the ends of long axes" do
    assert inspect(Tensor.new([[1, 2], [3, 4]])) == "#VivaTensor.Tensor<float64 [2, 2]\n  [[1.0, 2.0], [3.0, 4.0]]>"
    assert inspect(Tensor.zeros([1000], :bfloat16)) =~ "[0.0, 0.0, 0.0, :..., 0.0, 0.0, 0.0]"
  end
end
