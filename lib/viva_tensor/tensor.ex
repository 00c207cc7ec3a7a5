defmodule VivaTensor.Tensor do
  @moduledoc """
  Numbers in a grid of any number of axes, as in NumPy.

      import VivaTensor.Tensor, only: [new: 1]

      new([[1, 2], [3, 4]]) |> VivaTensor.Tensor.matmul(new([[1], [1]]))
      #=> #VivaTensor.Tensor<float64 [2, 1]
      #=>   [[3.0], [7.0]]>

  A tensor is a value over a binary: little-endian elements in row-major order, of the type `:float64`, `:float32`,
  `:float16` or `:bfloat16`. Large ones are computed on by the native library, where it is loaded; otherwise the BEAM
  does the same, slower. Both round each result once to the element type. Of two types the result has the one that holds
  both.

  `to_device/2` brings a tensor to a GPU, where every function computes and its result stays; `to_host/1` brings it back, and
  so does what gives numbers or bytes. docs/devices.md says more.

  Operators have functions: `add/2`, `subtract/2`, `multiply/2` and `divide/2` take two tensors whose shapes broadcast,
  or a tensor and a number. IEEE 754 holds inside tensors: 1 / 0 is an infinity and 0 / 0 is NaN. Outside, Elixir's
  floats are finite, so `to_list/1` and scalar results give `:infinity`, `:neg_infinity` and `:nan`, as Nx does.

  What cannot be done raises a `VivaTensor.Error` with the reason `:invalid_option`, which says what was expected.

  ## Nx

  Both libraries hold numbers in binaries, which need no copy:

      Nx.from_binary(VivaTensor.Tensor.to_binary(t), {:f, 32}) |> Nx.reshape({2, 3})
      VivaTensor.Tensor.from_binary(Nx.to_binary(x), Tuple.to_list(Nx.shape(x)), :float32)

  `{:f, 64}`, `{:f, 32}`, `{:f, 16}` and `{:bf, 16}` are `:float64`, `:float32`, `:float16` and `:bfloat16`.
  """

  import Kernel, except: [max: 2, min: 2]

  alias VivaTensor.Error

  @enforce_keys [:shape, :dtype, :data]
  defstruct @enforce_keys

  @type dtype :: :float64 | :float32 | :float16 | :bfloat16
  @type shape :: [non_neg_integer()]
  @typedoc "`data` is a binary, or a block of a GPU's memory."
  @type t :: %__MODULE__{shape: shape(), dtype: dtype(), data: binary() | tuple()}
  @type device :: :auto | :cpu | :beam | {:cuda, non_neg_integer()}
  @type value :: float() | :infinity | :neg_infinity | :nan
  @type operand :: t() | number()

  @dtypes [:float64, :float32, :float16, :bfloat16]
  @widths %{float64: 8, float32: 4, float16: 2, bfloat16: 2}
  @infinity 0x7FF0000000000000
  @neg_infinity 0xFFF0000000000000
  @nan 0x7FF8000000000000

  # More are no tensor: they fit no memory, and asking the VM for them would end it.
  @most 68_719_476_736
  # From here on it is asked whether the memory is there: a GiB of float64.
  @many 134_217_728
  # From how many elements, or multiply-adds, on the native library is faster.
  @enough 256
  @enough_products 2048

  @doc """
  A tensor of a number, or of lists of them to any depth; lists side by side are of one length.

      iex> VivaTensor.Tensor.new([[1, 2, 3], [4, 5, 6]]).shape
      [2, 3]
      iex> VivaTensor.Tensor.new([1.5, :infinity], :float16) |> VivaTensor.Tensor.to_list()
      [1.5, :infinity]
      iex> VivaTensor.Tensor.new([[1, 2], [3]])
      ** (VivaTensor.Error) data: expected lists of one length side by side, found [[1, 2], [3]]
  """
  @spec new(number() | list(), dtype()) :: t()
  def new(data, dtype \\ :float64) do
    check_dtype(dtype)
    shape = shape_of(data)

    case flatten(data, shape) do
      {:ok, numbers} -> make(shape, dtype, :viva_tensor_beam.pack(kernel(dtype), numbers))
      :error -> refuse(:data, "lists of one length side by side", data)
    end
  end

  defp shape_of([first | _] = list), do: [length(list) | shape_of(first)]
  defp shape_of([]), do: [0]
  defp shape_of(_), do: []

  defp flatten(data, shape) do
    {:ok, List.flatten([flat(data, shape)])}
  catch
    :uneven -> :error
  end

  defp flat(data, [length | shape]) when is_list(data) and length(data) == length, do: Enum.map(data, &flat(&1, shape))
  defp flat(data, []) when is_float(data), do: data
  defp flat(:infinity, []), do: @infinity
  defp flat(:neg_infinity, []), do: @neg_infinity
  defp flat(:nan, []), do: @nan

  defp flat(data, []) when is_integer(data) do
    data / 1
  rescue
    ArithmeticError -> if data > 0, do: @infinity, else: @neg_infinity
  end

  defp flat(_, _), do: throw(:uneven)

  @doc """
  A tensor of one value.

      iex> VivaTensor.Tensor.fill([2], 0.5) |> VivaTensor.Tensor.to_list()
      [0.5, 0.5]
  """
  @spec fill(shape(), number(), dtype()) :: t()
  def fill(shape, value, dtype \\ :float64) do
    check_shape(shape)
    make(shape, dtype, :binary.copy(new(value, dtype).data, Enum.product(shape)))
  end

  @doc """
  A tensor of zeros.

      iex> VivaTensor.Tensor.zeros([2, 1]) |> VivaTensor.Tensor.to_list()
      [[0.0], [0.0]]
  """
  @spec zeros(shape(), dtype()) :: t()
  def zeros(shape, dtype \\ :float64), do: fill(shape, 0.0, dtype)

  @doc """
  A tensor of ones.

      iex> VivaTensor.Tensor.ones([2]) |> VivaTensor.Tensor.to_list()
      [1.0, 1.0]
  """
  @spec ones(shape(), dtype()) :: t()
  def ones(shape, dtype \\ :float64), do: fill(shape, 1.0, dtype)

  @doc """
  Random numbers from 0.0 up to, not including, 1.0; the same seed, from 0 to 2^64 - 1, gives the same numbers.

      iex> VivaTensor.Tensor.random_uniform([3], 42) == VivaTensor.Tensor.random_uniform([3], 42)
      true
  """
  @spec random_uniform(shape(), non_neg_integer()) :: t()
  def random_uniform(shape, seed \\ :viva_tensor_beam.fresh_seed()) do
    check_shape(shape)
    make(shape, :float64, :viva_tensor_beam.random_uniform(seed, Enum.product(shape)))
  end

  @doc """
  A tensor over little-endian elements in row-major order, which are not copied.

      iex> VivaTensor.Tensor.from_binary(<<1.0::float-32-little>>, [1], :float32) |> VivaTensor.Tensor.to_list()
      [1.0]
      iex> VivaTensor.Tensor.from_binary(<<1, 2, 3>>, [1], :float32)
      ** (VivaTensor.Error) data: expected 4 bytes for the shape [1], found 3 bytes
  """
  @spec from_binary(binary(), shape(), dtype()) :: t()
  def from_binary(data, shape, dtype \\ :float64) when is_binary(data) do
    check_dtype(dtype)
    check_shape(shape)
    expected = Enum.product(shape) * @widths[dtype]

    if byte_size(data) == expected do
      make(shape, dtype, data)
    else
      raise %Error{
        reason: :invalid_option,
        details: %{
          option: "data",
          expected: "#{expected} bytes for the shape #{inspect(shape)}",
          found: "#{byte_size(data)} bytes"
        }
      }
    end
  end

  @doc """
  The elements in row-major order, little-endian.

      iex> VivaTensor.Tensor.to_binary(VivaTensor.Tensor.new([1.0], :float32))
      <<1.0::float-32-little>>
  """
  @spec to_binary(t()) :: binary()
  def to_binary(%__MODULE__{} = tensor), do: to_host(tensor).data

  @doc """
  The tensor where a device computes on it: `{:cuda, 0}` is the first GPU's memory, to which the elements are copied; the
  others compute in the host's memory. Operands are in one place.

  Raises a `VivaTensor.Error` that says why there is no such GPU, or `:out_of_memory`.

      iex> VivaTensor.Tensor.new([1]) |> VivaTensor.Tensor.to_device(:cpu) |> VivaTensor.Tensor.to_list()
      [1.0]
  """
  @spec to_device(t(), device()) :: t()
  def to_device(%__MODULE__{data: {:block, _, index, _, _}} = tensor, {:cuda, index}), do: tensor

  def to_device(%__MODULE__{} = tensor, {:cuda, index} = device) when is_integer(index) and index >= 0 do
    case :viva_tensor_nif.device_put(index, to_binary(tensor)) do
      {:ok, data} -> %{tensor | data: data}
      {:error, error} -> raise error |> Error.from_native() |> Error.without_driver(device)
    end
  end

  def to_device(%__MODULE__{} = tensor, device) when device in [:auto, :cpu, :beam], do: to_host(tensor)
  def to_device(%__MODULE__{}, other), do: refuse(:device, ":auto, :cpu, :beam or {:cuda, index}", other)

  @doc """
  The tensor in the host's memory: itself, where it is there.

      iex> t = VivaTensor.Tensor.new([1])
      iex> VivaTensor.Tensor.to_host(t) == t
      true
  """
  @spec to_host(t()) :: t()
  def to_host(%__MODULE__{data: data} = tensor) when is_binary(data), do: tensor
  def to_host(%__MODULE__{data: block} = tensor), do: %{tensor | data: answer(:viva_tensor_nif.device_get(block))}

  @doc """
  Where the elements are: `{:cuda, 0}`, or `:auto` for the host's memory, where the fastest there is computes.

      iex> VivaTensor.Tensor.device(VivaTensor.Tensor.new([1]))
      :auto
  """
  @spec device(t()) :: :auto | {:cuda, non_neg_integer()}
  def device(%__MODULE__{data: {:block, _, index, _, _}}), do: {:cuda, index}
  def device(%__MODULE__{}), do: :auto

  defp beside(tensor, other), do: to_device(tensor, device(other))

  @doc """
  The elements as nested lists, a number where there is no axis.

      iex> VivaTensor.Tensor.new([[1, 2]]) |> VivaTensor.Tensor.to_list()
      [[1.0, 2.0]]
  """
  @spec to_list(t()) :: list() | value()
  def to_list(%__MODULE__{shape: shape} = tensor), do: tensor |> numbers() |> nest(Enum.reverse(shape))

  defp numbers(tensor), do: Enum.map(:viva_tensor_beam.unpack(kernel(tensor.dtype), to_binary(tensor)), &value/1)

  defp value(number) when is_float(number), do: number
  defp value(@infinity), do: :infinity
  defp value(@neg_infinity), do: :neg_infinity
  defp value(_), do: :nan

  defp nest([number], []), do: number
  defp nest(numbers, [_]), do: numbers
  defp nest([], shape), do: empty(Enum.reverse(shape))
  defp nest(numbers, [length | outer]), do: numbers |> Enum.chunk_every(length) |> nest(outer)

  defp empty([length | inner]), do: if(length == 0, do: [], else: List.duplicate(empty(inner), length))
  defp empty([]), do: []

  @doc """
  The number of elements.

      iex> VivaTensor.Tensor.size(VivaTensor.Tensor.zeros([2, 3]))
      6
  """
  @spec size(t()) :: non_neg_integer()
  def size(%__MODULE__{shape: shape}), do: Enum.product(shape)

  @doc """
  Stored as another type, rounded to nearest even.

      iex> VivaTensor.Tensor.new([0.1]) |> VivaTensor.Tensor.cast(:float16) |> VivaTensor.Tensor.to_list()
      [0.0999755859375]
  """
  @spec cast(t(), dtype()) :: t()
  def cast(%__MODULE__{dtype: dtype} = tensor, dtype), do: tensor

  def cast(%__MODULE__{} = tensor, dtype) do
    check_dtype(dtype)
    make(tensor.shape, dtype, call(:cast, size(tensor), [kernel(tensor.dtype), kernel(dtype), tensor.data]))
  end

  @doc """
  The same elements in another shape.

      iex> VivaTensor.Tensor.new([1, 2]) |> VivaTensor.Tensor.reshape([2, 1]) |> VivaTensor.Tensor.to_list()
      [[1.0], [2.0]]
  """
  @spec reshape(t(), shape()) :: t()
  def reshape(%__MODULE__{} = tensor, shape) do
    check_shape(shape)
    if Enum.product(shape) != size(tensor), do: refuse(:shape, "one of #{size(tensor)} elements", shape)
    %{tensor | shape: shape}
  end

  @doc """
  The axes in another order; without one, in reverse.

      iex> VivaTensor.Tensor.new([[1, 2], [3, 4]]) |> VivaTensor.Tensor.transpose() |> VivaTensor.Tensor.to_list()
      [[1.0, 3.0], [2.0, 4.0]]
  """
  @spec transpose(t(), [non_neg_integer()] | nil) :: t()
  def transpose(%__MODULE__{shape: shape} = tensor, axes \\ nil) do
    all = Enum.to_list(0..(length(shape) - 1)//1)
    axes = axes || Enum.reverse(all)
    if not is_list(axes) or Enum.sort(axes) != all, do: refuse(:axes, "each of #{inspect(all)} once", axes)
    strides = strides(shape)
    pick = fn list -> Enum.map(axes, &Enum.at(list, &1)) end
    arranged(tensor, pick.(shape), pick.(strides))
  end

  # Elements of a view, in row-major order; a stride of 0 stretches an axis.
  defp arranged(tensor, shape, strides) do
    arguments = [@widths[tensor.dtype], shape, strides, 0, tensor.data]
    make(shape, tensor.dtype, call(:contiguous, Enum.product(shape), arguments))
  end

  defp strides(shape) do
    {strides, _} = shape |> Enum.reverse() |> Enum.map_reduce(1, &{&2, &1 * &2})
    Enum.reverse(strides)
  end

  for {name, op, what} <- [
        {:add, :add, "The sum of elements."},
        {:subtract, :subtract, "The difference of elements."},
        {:multiply, :multiply, "The product of elements."},
        {:divide, :divide, "The quotient of elements; by zero as IEEE 754 says."}
      ] do
    result = apply(Kernel, %{add: :+, subtract: :-, multiply: :*, divide: :/}[name], [6.0, 2.0])

    @doc """
    #{what} Shapes broadcast, and a number is a tensor without axes.

        iex> VivaTensor.Tensor.new([6]) |> VivaTensor.Tensor.#{name}(2) |> VivaTensor.Tensor.to_list()
        [#{result}]
    """
    @spec unquote(name)(operand(), operand()) :: t()
    def unquote(name)(a, b), do: binary(unquote(op), a, b)
  end

  # A number takes the type of the tensor beside it.
  defp binary(op, a, b) when is_number(a), do: binary(op, beside(new(a, b.dtype), b), b)
  defp binary(op, a, b) when is_number(b), do: binary(op, a, beside(new(b, a.dtype), a))

  defp binary(op, %__MODULE__{} = a, %__MODULE__{} = b) do
    shape = broadcast(a.shape, b.shape)
    dtype = common(a.dtype, b.dtype)
    [left, right] = Enum.map([a, b], &(&1 |> cast(dtype) |> stretched(shape)))
    make(shape, dtype, call(:binary, Enum.product(shape), [op, kernel(dtype), left.data, right.data]))
  end

  defp common(dtype, dtype), do: dtype
  defp common(a, b), do: if(:float64 in [a, b], do: :float64, else: :float32)

  defp broadcast(a, b) do
    rank = Kernel.max(length(a), length(b))
    [one, other] = Enum.map([a, b], &(List.duplicate(1, rank - length(&1)) ++ &1))

    shape =
      Enum.zip_with(one, other, fn
        same, same -> same
        1, length -> length
        length, 1 -> length
        _, _ -> refuse(:shape, "one that broadcasts with #{inspect(a)}", b)
      end)

    check_shape(shape)
    shape
  end

  defp stretched(%{shape: shape} = tensor, shape), do: tensor

  defp stretched(tensor, shape) do
    missing = length(shape) - length(tensor.shape)
    lengths = List.duplicate(1, missing) ++ tensor.shape
    strides = List.duplicate(0, missing) ++ strides(tensor.shape)

    stretched =
      Enum.zip_with([lengths, strides, shape], fn [l, stride, wanted] -> if l == wanted, do: stride, else: 0 end)

    arranged(tensor, shape, stretched)
  end

  for {name, example} <- [
        negate: {1.0, -1.0},
        absolute: {-1.0, 1.0},
        exp: {0.0, 1.0},
        log: {1.0, 0.0},
        sqrt: {4.0, 2.0},
        tanh: {0.0, 0.0},
        sigmoid: {0.0, 0.5},
        relu: {-1.0, 0.0},
        silu: {0.0, 0.0},
        gelu: {0.0, 0.0}
      ] do
    {from, to} = example

    @doc """
    `#{name}` of every element.

        iex> VivaTensor.Tensor.new([#{from}]) |> VivaTensor.Tensor.#{name}() |> VivaTensor.Tensor.to_list()
        [#{to}]
    """
    @spec unquote(name)(t()) :: t()
    def unquote(name)(%__MODULE__{} = tensor) do
      arguments = [unquote(name), kernel(tensor.dtype), tensor.data]
      %{tensor | data: call(:unary, size(tensor), arguments)}
    end
  end

  for {name, result} <- [sum: 6.0, mean: 2.0, max: 3.0, min: 1.0, variance: 2 / 3, argmax: 2, argmin: 0] do
    @doc """
    `#{name}` of all elements, as a number; with the option `axis`, which may count from the end, along it, as a tensor.

        iex> VivaTensor.Tensor.new([1, 2, 3]) |> VivaTensor.Tensor.#{name}()
        #{result}
    """
    @spec unquote(name)(t(), axis: integer()) :: t() | value() | non_neg_integer()
    def unquote(name)(%__MODULE__{} = tensor, options \\ []), do: reduce(unquote(name), tensor, options)
  end

  defp reduce(op, tensor, []) do
    if size(tensor) == 0 and op != :sum, do: refuse(op, "a tensor with elements", tensor.shape)

    if size(tensor) == 0,
      do: 0.0,
      else: rows(op, tensor, size(tensor), :float64) |> then(&numbers(make([1], :float64, &1))) |> hd() |> index(op)
  end

  defp reduce(op, tensor, axis: axis) do
    rank = length(tensor.shape)

    if not is_integer(axis) or axis < -rank or axis >= rank,
      do: refuse(:axis, "an axis of #{inspect(tensor.shape)}", axis)

    axis = Integer.mod(axis, rank)
    length = Enum.at(tensor.shape, axis)
    if length == 0, do: refuse(:axis, "an axis with elements", axis)
    order = Enum.reject(0..(rank - 1)//1, &(&1 == axis)) ++ [axis]
    dtype = if op in [:argmax, :argmin], do: :float64, else: tensor.dtype
    make(List.delete_at(tensor.shape, axis), dtype, rows(op, transpose(tensor, order), length, dtype))
  end

  defp reduce(_op, _tensor, options), do: refuse(:options, "axis", options)

  defp rows(op, tensor, length, to) do
    if size(tensor) == 0,
      do: beside(make([0], to, <<>>), tensor).data,
      else: call(:rows, size(tensor), [op, kernel(tensor.dtype), kernel(to), tensor.data, length])
  end

  defp index(number, op) when op in [:argmax, :argmin], do: trunc(number)
  defp index(number, _op), do: number

  @doc """
  exp(x) over its sum along the last axis.

      iex> VivaTensor.Tensor.new([1, 1]) |> VivaTensor.Tensor.softmax() |> VivaTensor.Tensor.to_list()
      [0.5, 0.5]
  """
  @spec softmax(t()) :: t()
  def softmax(%__MODULE__{shape: []} = tensor), do: beside(fill([], 1.0, tensor.dtype), tensor)

  def softmax(%__MODULE__{} = tensor),
    do: %{tensor | data: rows(:softmax, tensor, List.last(tensor.shape), tensor.dtype)}

  @doc """
  The matrix product: [M, K] x [K, N] -> [M, N].

      iex> a = VivaTensor.Tensor.new([[1, 2], [3, 4]])
      iex> VivaTensor.Tensor.to_list(VivaTensor.Tensor.matmul(a, a))
      [[7.0, 10.0], [15.0, 22.0]]
      iex> VivaTensor.Tensor.matmul(a, VivaTensor.Tensor.ones([3, 2]))
      ** (VivaTensor.Error) shape: expected [2, N], found [3, 2]
  """
  @spec matmul(t(), t()) :: t()
  def matmul(%__MODULE__{shape: [m, k]} = a, %__MODULE__{shape: [k, n]} = b) do
    check_shape([m, n])
    dtype = common(a.dtype, b.dtype)
    [left, right] = Enum.map([a, b], &cast(&1, dtype).data)

    data =
      if 0 in [m, k, n],
        do: beside(zeros([m, n], dtype), a).data,
        else: call(:matmul, m * k * n, [kernel(dtype), m, k, n, left, {k, 1}, right, {n, 1}], @enough_products)

    make([m, n], dtype, data)
  end

  def matmul(%__MODULE__{shape: [_, k]}, %__MODULE__{shape: other}) do
    raise %Error{reason: :invalid_option, details: %{option: "shape", expected: "[#{k}, N]", found: inspect(other)}}
  end

  def matmul(%__MODULE__{shape: other}, %__MODULE__{}), do: refuse(:shape, "two axes", other)

  # On a GPU, where an operand is there.
  defp call(kernel, work, arguments, enough \\ @enough) do
    case Enum.filter(arguments, &(is_binary(&1) or match?({:block, _, _, _, _}, &1))) do
      [data | _] = operands when is_binary(data) ->
        Enum.each(operands, &together(data, &1))
        host_call(kernel, work, arguments, enough)

      [block | _] = operands ->
        Enum.each(operands, &together(block, &1))
        answer(device_call(kernel, work, arguments))
    end
  end

  defp together(one, other) do
    [a, b] = Enum.map([one, other], &if(is_binary(&1), do: "the host", else: "cuda:#{elem(&1, 2)}"))
    if a != b, do: refuse(:operands, "tensors in one place, which to_device/2 and to_host/1 bring together", {a, b})
  end

  defp device_call(:cast, _, [from, to, a]), do: :viva_tensor_nif.device_cast(from, to, a)
  defp device_call(:unary, _, [op, dtype, a]), do: :viva_tensor_nif.device_unary(op, dtype, a)
  defp device_call(:rows, _, [op, from, to, a, n]), do: :viva_tensor_nif.device_rows(op, from, to, a, n)
  defp device_call(:binary, n, [op, dtype, a, b]), do: :viva_tensor_nif.device_binary(op, dtype, [n], a, [1], b, [1])

  defp device_call(:contiguous, _, [width, shape, strides, 0, a]),
    do: :viva_tensor_nif.device_contiguous(width, shape, strides, a)

  defp device_call(:matmul, _, [dtype, m, k, n, a, {a_row, a_column}, b, {b_row, b_column}]),
    do: :viva_tensor_nif.device_matmul(dtype, {1, m, k, n}, a, {0, a_row, a_column}, b, {0, b_row, b_column})

  defp answer({:ok, value}), do: value
  defp answer({:error, error}), do: raise(Error.from_native(error))

  # The library gives what the BEAM gives; where it refuses, for want of memory say, the BEAM does the work.
  defp host_call(kernel, work, arguments, enough) do
    with true <- :viva_tensor_nif.loaded() and uses_library?(:viva_tensor_beam.device(), work, enough),
         {:ok, data} <- apply(:viva_tensor_nif, native(kernel), arguments) do
      data
    else
      _ -> apply(:viva_tensor_beam, kernel, arguments)
    end
  end

  defp uses_library?(:beam, _work, _enough), do: false
  defp uses_library?(:cpu, work, _enough), do: work > 0
  defp uses_library?(_auto, work, enough), do: work >= enough

  for kernel <- [:cast, :contiguous, :binary, :unary, :rows, :matmul] do
    defp native(unquote(kernel)), do: unquote(:"tensor_#{kernel}")
  end

  defp kernel(:bfloat16), do: :b_float16
  defp kernel(dtype), do: dtype

  defp make(shape, dtype, data), do: %__MODULE__{shape: shape, dtype: dtype, data: data}

  defp check_dtype(dtype) when dtype in @dtypes, do: :ok
  defp check_dtype(other), do: refuse(:dtype, "one of #{inspect(@dtypes)}", other)

  defp check_shape(shape) do
    if not (is_list(shape) and Enum.all?(shape, &(is_integer(&1) and &1 >= 0))),
      do: refuse(:shape, "a list of lengths, none negative", shape)

    size = Enum.product(shape)
    if size > @most, do: refuse(:shape, "at most #{@most} elements", shape)
    free = if size > @many, do: div(:viva_tensor_ffi.free_bytes(), 8), else: size
    if size > free, do: refuse(:shape, "at most #{free} elements, as memory is free", shape)
    :ok
  end

  @spec refuse(atom(), String.t(), term()) :: no_return()
  defp refuse(option, expected, found), do: raise(Error.invalid_option(option, expected, found))

  defimpl Inspect do
    import Inspect.Algebra

    # Of long axes the ends.
    @edge 3

    def inspect(tensor, options) do
      shown = tensor |> VivaTensor.Tensor.to_list() |> shorten()
      body = to_doc(shown, %{options | limit: :infinity})
      shape = to_doc(tensor.shape, options)
      place = with {:cuda, index} <- VivaTensor.Tensor.device(tensor), do: " cuda:#{index}"
      head = concat(["#VivaTensor.Tensor<#{tensor.dtype} ", shape, if(place == :auto, do: "", else: place)])
      concat([nest(concat([head, line(), body]), 2), ">"]) |> group()
    end

    defp shorten(list) when is_list(list) do
      parts =
        if length(list) > 2 * @edge,
          do: Enum.take(list, @edge) ++ [:...] ++ Enum.take(list, -@edge),
          else: list

      Enum.map(parts, &shorten/1)
    end

    defp shorten(value), do: value
  end
end
