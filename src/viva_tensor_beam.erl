%% The tensor kernels in Erlang: what viva_tensor_nif's tensor functions do, under the same names, on any BEAM.
%%
%% Binaries of little-endian elements go in and out; in between an operand is unpacked once into a list, computed on,
%% and packed once. Every operation computes in float64 and rounds once to the element type, to nearest even.
%% The surprise: BEAM floats are finite, so a NaN or an infinity is an integer here, the bits of its float64.
%% Arithmetic follows IEEE 754: what leaves the range is an infinity, an invalid operation gives ?NAN, and a NaN that
%% goes in comes out with its bits, made quiet; of two, the first. What comes of many elements is ?NAN or no NaN.
-module(viva_tensor_beam).

-export([contiguous/5, binary/4, unary/3, map/3, cast/3, rows/5, matmul/8, conv2d/4, pool2d/4, first_non_finite/2]).
-export([digits/3]).
-export([unpack/2, pack/2, clean/1, clean_number/1, random_uniform/2, random_normal/2, fresh_seed/0, device/0]).

-define(INFINITY, 16#7FF0000000000000).
-define(NEGATIVE_INFINITY, 16#FFF0000000000000).
-define(NAN, 16#7FF8000000000000).
-define(QUIET, 16#0008000000000000).
-define(MAX, 1.7976931348623157e308).

%% Layout.

%% The elements of a view in row-major order. Strides and Offset count elements of Width bytes.
contiguous(Width, Shape, Strides, Offset, Data) ->
    case lists:member(0, Shape) of
        true ->
            <<>>;
        false ->
            {Axes, Run} = merge(lists:zip(Shape, Strides)),
            gather(Axes, Run * Width, Width, Offset * Width, Data, <<>>)
    end.

%% The trailing axes that lie side by side become one run of elements.
merge(Axes) -> merge(lists:reverse(Axes), 1).

merge([{1, _} | Outer], Run) -> merge(Outer, Run);
merge([{Length, Run} | Outer], Run) -> merge(Outer, Run * Length);
merge(Outer, Run) -> {lists:reverse(Outer), Run}.

gather([], Run, _, At, Data, Done) ->
    <<Done/binary, (binary:part(Data, At, Run))/binary>>;
gather([{Length, Stride} | Inner], Run, Width, At, Data, Done) ->
    gather_axis(Length, Stride * Width, Inner, Run, Width, At, Data, Done).

gather_axis(0, _, _, _, _, _, _, Done) ->
    Done;
gather_axis(Left, Step, [], Run, Width, At, Data, Done) ->
    <<_:At/binary, Element:Run/binary, _/binary>> = Data,
    gather_axis(Left - 1, Step, [], Run, Width, At + Step, Data, <<Done/binary, Element/binary>>);
gather_axis(Left, Step, Inner, Run, Width, At, Data, Done) ->
    More = gather(Inner, Run, Width, At, Data, Done),
    gather_axis(Left - 1, Step, Inner, Run, Width, At + Step, Data, More).

%% Elements in and out of binaries.

%% A comprehension passes over what is no finite float: then the list is too short.
unpack(float64, Data) ->
    Floats = [X || <<X:64/float-little>> <= Data],
    case length(Floats) * 8 =:= byte_size(Data) of
        true -> Floats;
        false -> [number(Bits) || <<Bits:64/little>> <= Data]
    end;
unpack(float32, Data) ->
    Floats = [X || <<X:32/float-little>> <= Data],
    case length(Floats) * 4 =:= byte_size(Data) of
        true -> Floats;
        false -> [widen32(Bits) || <<Bits:32/little>> <= Data]
    end;
unpack(float16, Data) ->
    Floats = [X || <<X:16/float-little>> <= Data],
    case length(Floats) * 2 =:= byte_size(Data) of
        true -> Floats;
        false -> [widen16(Bits) || <<Bits:16/little>> <= Data]
    end;
%% The upper half of a float32.
unpack(b_float16, Data) ->
    unpack(float32, <<<<0:16, Half:2/binary>> || <<Half:2/binary>> <= Data>>).

number(Bits) ->
    case <<Bits:64>> of
        <<Float/float>> -> Float;
        _ -> Bits
    end.

widen32(Bits) ->
    case <<Bits:32>> of
        <<Float:32/float>> -> Float;
        _ -> non_finite(Bits bsr 31, (Bits band 16#7FFFFF) bsl 29)
    end.

widen16(Bits) ->
    case <<Bits:16>> of
        <<Float:16/float>> -> Float;
        _ -> non_finite(Bits bsr 15, (Bits band 16#3FF) bsl 42)
    end.

non_finite(Sign, Fraction) -> (Sign bsl 63) bor ?INFINITY bor Fraction.

pack(float64, Numbers) -> pack64(Numbers, <<>>);
pack(float32, Numbers) ->
    try
        pack32(Numbers, <<>>)
    catch
        %% A float beyond float32's range.
        error:badarg -> <<<<(narrow(8, 23, X)):32/little>> || X <- Numbers>>
    end;
pack(float16, Numbers) -> <<<<(narrow(5, 10, X)):16/little>> || X <- Numbers>>;
pack(b_float16, Numbers) -> <<<<(narrow(8, 7, X)):16/little>> || X <- Numbers>>.

pack64([X | Xs], Done) when is_float(X) -> pack64(Xs, <<Done/binary, X:64/float-little>>);
pack64([Bits | Xs], Done) -> pack64(Xs, <<Done/binary, Bits:64/little>>);
pack64([], Done) -> Done.

pack32([X | Xs], Done) when is_float(X) -> pack32(Xs, <<Done/binary, X:32/float-little>>);
pack32([Bits | Xs], Done) -> pack32(Xs, <<Done/binary, (narrow(8, 23, Bits)):32/little>>);
pack32([], Done) -> Done.

%% The bits of a float of so many exponent and fraction bits, rounded to nearest even.
narrow(ExponentBits, FractionBits, Number) ->
    <<Sign:1, Exponent:11, Fraction:52>> = bits(Number),
    Top = (1 bsl ExponentBits - 1) bsl FractionBits,
    Magnitude =
        case Exponent of
            2047 when Fraction =:= 0 -> Top;
            %% A NaN keeps the upper bits of its payload, and is quiet.
            2047 -> Top bor (1 bsl (FractionBits - 1)) bor (Fraction bsr (52 - FractionBits));
            0 -> 0;
            _ -> min(Top, round_to(ExponentBits, FractionBits, Exponent - 1023, Fraction bor (1 bsl 52)))
        end,
    (Sign bsl (ExponentBits + FractionBits)) bor Magnitude.

bits(Float) when is_float(Float) -> <<Float/float>>;
bits(Bits) -> <<Bits:64>>.

%% Significand has 53 bits. Rounding up may carry into the exponent, which is what it should do.
round_to(ExponentBits, FractionBits, Exponent, Significand) ->
    Bias = 1 bsl (ExponentBits - 1) - 1,
    Biased = Exponent + Bias,
    {Shift, Base} =
        case Biased >= 1 of
            true -> {52 - FractionBits, (Biased - 1) bsl FractionBits};
            false -> {min(54, 53 - FractionBits - Biased), 0}
        end,
    Kept = Significand bsr Shift,
    Rest = Significand band (1 bsl Shift - 1),
    Half = 1 bsl (Shift - 1),
    Up = Rest > Half orelse (Rest =:= Half andalso Kept band 1 =:= 1),
    case Up of
        true -> Base + Kept + 1;
        false -> Base + Kept
    end.

%% For an accessor that always answers: a NaN as 0.0, an infinity as the largest float.
clean(Numbers) -> [clean_number(X) || X <- Numbers].

clean_number(X) when is_float(X) -> X;
clean_number(?INFINITY) -> ?MAX;
clean_number(?NEGATIVE_INFINITY) -> -?MAX;
clean_number(_) -> 0.0.

cast(Dtype, Dtype, Data) -> Data;
cast(From, To, Data) -> pack(To, [quiet(X) || X <- unpack(From, Data)]).

%% The index of the first NaN or infinity, -1 without one.
first_non_finite(Dtype, Data) -> first_integer(unpack(Dtype, Data), 0).

first_integer([X | Xs], Index) when is_float(X) -> first_integer(Xs, Index + 1);
first_integer([_ | _], Index) -> Index;
first_integer([], _) -> -1.

%% Arithmetic on one number, IEEE 754.

quiet(X) when is_float(X) -> X;
quiet(?INFINITY) -> ?INFINITY;
quiet(?NEGATIVE_INFINITY) -> ?NEGATIVE_INFINITY;
quiet(Nan) -> Nan bor ?QUIET.

is_nan(X) -> is_integer(X) andalso X =/= ?INFINITY andalso X =/= ?NEGATIVE_INFINITY.

%% 1 for negative numbers, -0.0 among them.
sign(X) ->
    <<Sign:1, _:63>> = bits(X),
    Sign.

infinity(0) -> ?INFINITY;
infinity(1) -> ?NEGATIVE_INFINITY.

add(A, B) when is_float(A), is_float(B) ->
    try
        A + B
    catch
        error:badarith -> infinity(sign(A))
    end;
add(A, B) ->
    case {is_nan(A), is_nan(B)} of
        {true, _} -> quiet(A);
        {_, true} -> quiet(B);
        _ when is_integer(A), is_integer(B), A =/= B -> ?NAN;
        _ when is_integer(A) -> A;
        _ -> B
    end.

subtract(A, B) ->
    case is_nan(A) orelse is_nan(B) of
        true -> add(A, B);
        false -> add(A, negate(B))
    end.

negate(X) when is_float(X) -> -X;
negate(Bits) -> quiet(Bits bxor (1 bsl 63)).

multiply(A, B) when is_float(A), is_float(B) ->
    try
        A * B
    catch
        error:badarith -> infinity(sign(A) bxor sign(B))
    end;
multiply(A, B) ->
    case {is_nan(A), is_nan(B)} of
        {true, _} -> quiet(A);
        {_, true} -> quiet(B);
        _ when A == 0.0; B == 0.0 -> ?NAN;
        _ -> infinity(sign(A) bxor sign(B))
    end.

divide(A, B) when is_float(A), is_float(B) ->
    try
        A / B
    catch
        error:badarith when A == 0.0, B == 0.0 -> ?NAN;
        error:badarith -> infinity(sign(A) bxor sign(B))
    end;
divide(A, B) ->
    case {is_nan(A), is_nan(B)} of
        {true, _} -> quiet(A);
        {_, true} -> quiet(B);
        _ when is_integer(A), is_integer(B) -> ?NAN;
        _ when is_integer(A) -> infinity(sign(A) bxor sign(B));
        _ when A == 0.0 -> A * (1 - 2 * sign(B));
        _ -> A * 0.0 * (1 - 2 * sign(B))
    end.

%% Whether A is above B; neither is a NaN.
above(A, B) when is_float(A), is_float(B) -> A > B;
above(A, A) -> false;
above(A, B) -> A =:= ?INFINITY orelse B =:= ?NEGATIVE_INFINITY.

larger(A, B) ->
    case {is_nan(A), is_nan(B)} of
        {true, _} -> quiet(A);
        {_, true} -> quiet(B);
        _ ->
            case above(B, A) of
                true -> B;
                false -> A
            end
    end.

smaller(A, B) ->
    case {is_nan(A), is_nan(B)} of
        {true, _} -> quiet(A);
        {_, true} -> quiet(B);
        _ ->
            case above(A, B) of
                true -> B;
                false -> A
            end
    end.

exponential(X) when is_float(X) ->
    try
        math:exp(X)
    catch
        error:badarith -> ?INFINITY
    end;
exponential(?NEGATIVE_INFINITY) -> 0.0;
exponential(X) -> quiet(X).

logarithm(X) when is_float(X), X > 0.0 -> math:log(X);
logarithm(X) when is_float(X), X == 0.0 -> ?NEGATIVE_INFINITY;
logarithm(X) when is_float(X) -> ?NAN;
logarithm(?NEGATIVE_INFINITY) -> ?NAN;
logarithm(X) -> quiet(X).

square_root(X) when is_float(X), X >= 0.0 -> math:sqrt(X);
square_root(X) when is_float(X) -> ?NAN;
square_root(?NEGATIVE_INFINITY) -> ?NAN;
square_root(X) -> quiet(X).

tangent(X) when is_float(X) -> math:tanh(X);
tangent(?INFINITY) -> 1.0;
tangent(?NEGATIVE_INFINITY) -> -1.0;
tangent(X) -> quiet(X).

error_function(X) when is_float(X) -> math:erf(X);
error_function(?INFINITY) -> 1.0;
error_function(?NEGATIVE_INFINITY) -> -1.0;
error_function(X) -> quiet(X).

%% Element by element.

binary(Op, Dtype, A, B) -> pack(Dtype, binary(Op, unpack(Dtype, A), unpack(Dtype, B))).

%% The quick way holds while all goes well; what it raises says that not all is finite.
binary(Op, As, Bs) ->
    try
        binary_finite(Op, As, Bs)
    catch
        error:badarith -> binary_any(Op, As, Bs)
    end.

binary_finite(add, As, Bs) -> add_all(As, Bs);
binary_finite(subtract, As, Bs) -> subtract_all(As, Bs);
binary_finite(multiply, As, Bs) -> multiply_all(As, Bs);
binary_finite(divide, As, Bs) -> divide_all(As, Bs);
binary_finite(_, _, _) -> error(badarith).

add_all([A | As], [B | Bs]) when is_float(A), is_float(B) -> [A + B | add_all(As, Bs)];
add_all([], []) -> [];
add_all(_, _) -> error(badarith).

subtract_all([A | As], [B | Bs]) when is_float(A), is_float(B) -> [A - B | subtract_all(As, Bs)];
subtract_all([], []) -> [];
subtract_all(_, _) -> error(badarith).

multiply_all([A | As], [B | Bs]) when is_float(A), is_float(B) -> [A * B | multiply_all(As, Bs)];
multiply_all([], []) -> [];
multiply_all(_, _) -> error(badarith).

divide_all([A | As], [B | Bs]) when is_float(A), is_float(B) -> [A / B | divide_all(As, Bs)];
divide_all([], []) -> [];
divide_all(_, _) -> error(badarith).

binary_any(Op, As, Bs) -> lists:zipwith(binary_function(Op), As, Bs).

binary_function(add) -> fun add/2;
binary_function(subtract) -> fun subtract/2;
binary_function(multiply) -> fun multiply/2;
binary_function(divide) -> fun divide/2;
binary_function(larger) -> fun larger/2;
binary_function(smaller) -> fun smaller/2.

unary(Op, Dtype, A) ->
    Xs = unpack(Dtype, A),
    pack(
        Dtype,
        try
            unary_finite(Op, Xs)
        catch
            error:badarith -> [unary_any(Op, X) || X <- Xs]
        end
    ).

unary_finite({scale, Factor}, Xs) -> scale_all(Factor, Xs);
unary_finite(exp, Xs) -> exp_all(Xs);
unary_finite(_, _) -> error(badarith).

scale_all(Factor, [X | Xs]) when is_float(Factor), is_float(X) -> [X * Factor | scale_all(Factor, Xs)];
scale_all(_, []) -> [];
scale_all(_, _) -> error(badarith).

exp_all([X | Xs]) when is_float(X) -> [math:exp(X) | exp_all(Xs)];
exp_all([]) -> [];
exp_all(_) -> error(badarith).

unary_any({scale, Factor}, X) -> multiply(X, Factor);
unary_any({clamp, Low, High}, X) -> smaller(larger(X, Low), High);
unary_any(exp, X) -> exponential(X);
unary_any(log, X) -> logarithm(X);
unary_any(sqrt, X) -> square_root(X);
unary_any(tanh, X) -> tangent(X);
unary_any(negate, X) -> negate(X);
unary_any(absolute, X) when is_float(X) -> abs(X);
unary_any(absolute, X) -> quiet(X band 16#7FFFFFFFFFFFFFFF);
unary_any(sigmoid, X) -> divide(1.0, add(1.0, exponential(negate(X))));
unary_any(relu, X) -> larger(X, 0.0);
unary_any(silu, X) -> divide(X, add(1.0, exponential(negate(X))));
unary_any(gelu, X) ->
    multiply(multiply(0.5, X), add(1.0, error_function(multiply(X, 0.7071067811865476))));
unary_any(gelu_tanh, X) ->
    Cube = multiply(multiply(X, X), X),
    Inner = multiply(0.7978845608028654, add(X, multiply(0.044715, Cube))),
    multiply(multiply(0.5, X), add(1.0, tangent(Inner))).

%% A caller's function sees finite floats alone; the others stay as they are.
map(Function, Dtype, A) ->
    Apply = fun
        (X) when is_float(X) -> Function(X);
        (Bits) -> Bits
    end,
    pack(Dtype, lists:map(Apply, unpack(Dtype, A))).

%% Row by row: A is rows of Length elements.

rows(Op, From, To, A, Length) ->
    pack(To, lists:flatmap(fun(Row) -> [plain(X) || X <- row(Op, Row)] end, chunk(unpack(From, A), Length))).

%% Whose NaN it was is not told by what comes of many elements.
plain(X) when is_float(X) -> X;
plain(X) ->
    case is_nan(X) of
        true -> ?NAN;
        false -> X
    end.

chunk([], _) -> [];
chunk(List, Length) ->
    {Row, Rest} = lists:split(Length, List),
    [Row | chunk(Rest, Length)].

row(sum, Row) -> [sum(Row)];
row(sum_of_squares, Row) -> [sum_of_squares(Row)];
row(mean, Row) -> [mean(Row)];
row(variance, Row) -> [variance(Row, mean(Row))];
row(max, [First | Rest]) -> [lists:foldl(fun(X, Best) -> larger(Best, X) end, quiet(First), Rest)];
row(min, [First | Rest]) -> [lists:foldl(fun(X, Best) -> smaller(Best, X) end, quiet(First), Rest)];
row(argmax, [First | Rest]) -> [float(argument(fun above/2, Rest, 1, First, 0))];
row(argmin, [First | Rest]) -> [float(argument(fun(A, B) -> above(B, A) end, Rest, 1, First, 0))];
row(softmax, Row) ->
    [Largest] = row(max, Row),
    Weights = [exponential(subtract(X, Largest)) || X <- Row],
    Total = sum(Weights),
    [divide(Weight, Total) || Weight <- Weights];
row(log_softmax, Row) ->
    [Largest] = row(max, Row),
    Shifted = [subtract(X, Largest) || X <- Row],
    Total = logarithm(sum([exponential(X) || X <- Shifted])),
    [subtract(X, Total) || X <- Shifted];
row({layer_norm, Epsilon}, Row) ->
    Mean = mean(Row),
    Deviation = square_root(add(variance(Row, Mean), Epsilon)),
    [divide(subtract(X, Mean), Deviation) || X <- Row];
row({rms_norm, Epsilon}, Row) ->
    Root = square_root(add(divide(sum_of_squares(Row), float(length(Row))), Epsilon)),
    [divide(X, Root) || X <- Row].

%% The first NaN, without one the first extreme.
argument(Beats, Xs, Next, Best, Index) ->
    case is_nan(Best) of
        true -> Index;
        false -> argument_loop(Beats, Xs, Next, Best, Index)
    end.

argument_loop(_, [], _, _, Index) -> Index;
argument_loop(Beats, [X | Xs], Next, Best, Index) ->
    case is_nan(X) orelse Beats(X, Best) of
        true -> argument(Beats, Xs, Next + 1, X, Next);
        false -> argument_loop(Beats, Xs, Next + 1, Best, Index)
    end.

%% From left to right.
sum(Xs) ->
    try
        sum_finite(Xs, 0.0)
    catch
        error:badarith -> lists:foldl(fun(X, Sum) -> add(Sum, X) end, 0.0, Xs)
    end.

sum_finite([X | Xs], Sum) when is_float(X), is_float(Sum) -> sum_finite(Xs, Sum + X);
sum_finite([], Sum) -> Sum;
sum_finite(_, _) -> error(badarith).

sum_of_squares(Xs) -> dot(Xs, Xs).

mean(Xs) -> divide(sum(Xs), float(length(Xs))).

%% The mean of the squared deviations.
variance(Xs, Mean) -> divide(sum_of_squares([subtract(X, Mean) || X <- Xs]), float(length(Xs))).

%% From left to right.
dot(As, Bs) ->
    try
        dot_finite(As, Bs, 0.0)
    catch
        error:badarith -> dot_any(As, Bs, 0.0)
    end.

dot_finite([A | As], [B | Bs], Sum) when is_float(A), is_float(B), is_float(Sum) ->
    dot_finite(As, Bs, Sum + A * B);
dot_finite([], [], Sum) -> Sum;
dot_finite(_, _, _) -> error(badarith).

dot_any([A | As], [B | Bs], Sum) -> dot_any(As, Bs, add(Sum, multiply(A, B)));
dot_any([], [], Sum) -> plain(Sum).

%% Products.

%% [M, K] x [K, N] -> [M, N]; each operand with the strides {of its rows, of its columns}, in elements.
matmul(Dtype, M, K, N, A, {ARow, AColumn}, B, {BRow, BColumn}) ->
    Width = width(Dtype),
    Rows = lines(Dtype, K, M, contiguous(Width, [M, K], [ARow, AColumn], 0, A)),
    Columns = lines(Dtype, K, N, contiguous(Width, [N, K], [BColumn, BRow], 0, B)),
    pack(Dtype, [dot(Row, Column) || Row <- Rows, Column <- Columns]).

lines(_, 0, Count, _) -> lists:duplicate(Count, []);
lines(Dtype, Length, _, Data) -> chunk(unpack(Dtype, Data), Length).

width(float64) -> 8;
width(float32) -> 4;
width(float16) -> 2;
width(b_float16) -> 2.

%% [N, C, H, W] * [O, C, KH, KW] -> [N, O, OH, OW], zeros around each plane.
conv2d(Dtype, Input, Kernel, {convolution_size, _N, C, H, W, _O, KH, KW, SH, SW, PH, PW}) ->
    Kernels = chunk(unpack(Dtype, Kernel), C * KH * KW),
    Images = chunk(chunk(chunk(unpack(Dtype, Input), W), H), C),
    Size = {H + 2 * PH, W + 2 * PW, KH, KW, SH, SW},
    pack(Dtype, [
        dot(Weights, Window)
     || Image <- Images,
        Windows <- [windows([pad(Plane, W, PH, PW) || Plane <- Image], Size)],
        Weights <- Kernels,
        Window <- Windows
    ]).

pad(Plane, W, PH, PW) ->
    Side = lists:duplicate(PW, 0.0),
    Blank = lists:duplicate(PH, lists:duplicate(W + 2 * PW, 0.0)),
    Blank ++ [Side ++ Row ++ Side || Row <- Plane] ++ Blank.

%% The windows of an image, [OH * OW], each [C * KH * KW].
windows(Planes, {H, W, KH, KW, SH, SW}) ->
    {OH, OW} = {(H - KH) div SH + 1, (W - KW) div SW + 1},
    Tuples = [list_to_tuple(Plane) || Plane <- Planes],
    Line = fun(Y) ->
        join([segments(element(Y * SH + KY, Plane), KW, SW, OW) || Plane <- Tuples, KY <- lists:seq(1, KH)])
    end,
    lists:flatmap(Line, lists:seq(0, OH - 1)).

segments(Row, KW, _, 1) -> [lists:sublist(Row, KW)];
segments(Row, KW, SW, Left) -> [lists:sublist(Row, KW) | segments(lists:nthtail(SW, Row), KW, SW, Left - 1)].

%% The first segments of all lines appended, then the second ones, ...
join([[] | _]) -> [];
join(Lines) -> [lists:append([hd(Line) || Line <- Lines]) | join([tl(Line) || Line <- Lines])].

%% Planes of [H, W] -> [OH, OW]
pool2d(Op, Dtype, Input, {pool_size, _Planes, H, W, PH, PW, SH, SW}) ->
    Planes = chunk(chunk(unpack(Dtype, Input), W), H),
    pack(Dtype, [
        plain(Value)
     || Plane <- Planes, Window <- windows([Plane], {H, W, PH, PW, SH, SW}), Value <- row(Op, Window)
    ]).

%% Numbers at random: ChaCha20 with the seed as its key, one block of 64 bytes for each eight numbers.

random_uniform(Seed, Count) ->
    pack(float64, take(Count, [unit(Bits) || <<Bits:64/little>> <= chacha20(Seed, Count)])).

%% In [0, 1): the upper 53 bits.
unit(Bits) -> (Bits bsr 11) * 1.1102230246251565e-16.

%% Standard normal numbers by pairs (Box and Muller, 1958).
random_normal(Seed, Count) ->
    Pairs = [pair(unit(A), unit(B)) || <<A:64/little, B:64/little>> <= chacha20(Seed, Count)],
    pack(float64, take(Count, lists:append(Pairs))).

%% 1 - A is in (0, 1], so its logarithm is finite.
pair(A, B) ->
    Radius = math:sqrt(-2.0 * math:log(1.0 - A)),
    Angle = 2.0 * math:pi() * B,
    [Radius * math:cos(Angle), Radius * math:sin(Angle)].

chacha20(Seed, Count) ->
    Key = <<Seed:64/little, 0:192>>,
    Blocks = (Count + 7) div 8,
    crypto:crypto_one_time(chacha20, Key, <<0:128>>, binary:copy(<<0:512>>, Blocks), true).

take(Count, List) -> lists:sublist(List, Count).

fresh_seed() -> binary:decode_unsigned(crypto:strong_rand_bytes(8)).

%% Which path the environment asks for.
device() ->
    case os:getenv("VIVA_TENSOR_DEVICE") of
        "beam" -> beam;
        "cpu" -> cpu;
        _ -> auto
    end.

%% Decimal digits: {Digits, Exponent}, the first digit before the point. The fewest that read back as the same
%% element, as many as Most at most.
digits(Dtype, Float, Most) -> digits(Dtype, Float, 0, Most - 1).

digits(Dtype, Float, Decimals, Most) ->
    Text = float_to_binary(Float, [{scientific, Decimals}]),
    Same = fun() -> pack(Dtype, [binary_to_float(point(Text))]) =:= pack(Dtype, [Float]) end,
    case Decimals >= Most orelse Same() of
        true ->
            [Mantissa, Exponent] = binary:split(Text, <<"e">>),
            {binary:replace(Mantissa, <<".">>, <<>>), binary_to_integer(Exponent)};
        false ->
            digits(Dtype, Float, Decimals + 1, Most)
    end.

%% With no decimals there is no point, and then no float for binary_to_float/1.
point(Text) ->
    case binary:match(Text, <<".">>) of
        nomatch -> binary:replace(Text, <<"e">>, <<".0e">>);
        _ -> Text
    end.
