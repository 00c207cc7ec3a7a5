%% Packed weights on the BEAM: what viva_tensor_nif's packed_* functions do, to the same bits, for any machine.
%%
%% native/engine/src/quant/*.rs say what each format means. Here a weight is not kept in few bits: what it means is
%% computed once and kept as float32, which is what a reference needs. Elements are finite; whoever calls has looked.
%% The surprise: float32 arithmetic is float64's, rounded. For one division or product of two float32 that is the same.
-module(viva_tensor_packed).

-export([pack/5, round_rows/3]).

%% 2^-126 and 2^-90
-define(SMALLEST, 1.1754943508222875e-38).
-define(SMALLEST_STEP, 8.077935669463161e-28).

%% (Format, Inputs, Outputs, Transposed, Data) -> {packed, Data, Bytes, RelativeError, LargestError, Pruned}, where the
%% first Data is [in, out], or [out, in] when Transposed, and the second [in, out].
pack(Format, Inputs, Outputs, Transposed, Data) ->
    Elements = [X || <<X:32/float-little>> <= Data],
    Rows =
        case Transposed of
            true -> chunks(Inputs, Elements);
            false -> transpose(chunks(Outputs, Elements))
        end,
    Packed = [pack_row(Format, Inputs, Row) || Row <- Rows],
    {Error, Norm, Largest} = losses(Rows, Packed, {0.0, 0.0, 0.0}),
    Relative =
        case Norm == 0 of
            true -> 0.0;
            false -> math:sqrt(Error / Norm)
        end,
    Meaning = <<<<X:32/float-little>> || Column <- transpose(Packed), X <- Column>>,
    {packed, Meaning, byte_size(Meaning), Relative, Largest, pruned(Format, Rows)}.

losses([Row | Rows], [Packed | More], Sums) -> losses(Rows, More, losses_of_row(Row, Packed, Sums));
losses([], [], Sums) -> Sums.

losses_of_row([W | Ws], [P | Ps], {Error, Norm, Largest}) ->
    Difference = abs(P - W),
    losses_of_row(Ws, Ps, {Error + Difference * Difference, Norm + W * W, max(Largest, Difference)});
losses_of_row([], [], Sums) ->
    Sums.

pack_row({fp8_blocks, Columns}, _, Row) -> lists:flatmap(fun round_fp8/1, chunks(Columns, Row));
pack_row({int4, Columns}, _, Row) -> lists:flatmap(fun(Group) -> round_steps(7, Group) end, chunks(Columns, Row));
pack_row(fp8, _, Row) -> round_fp8(Row);
pack_row(int8, _, Row) -> round_steps(127, Row);
pack_row(int8_sparse24, _, Row) -> prune(round_steps(127, Row), Row);
pack_row(int4_sparse24, _, Row) -> prune(round_steps(7, Row), Row).

%% Rows of Length elements, each rounded to what eight bits and one scale can say.
round_rows(Activations, Length, Data) ->
    Round =
        case Activations of
            float -> fun(Row) -> Row end;
            rounded_fp8 -> fun round_fp8/1;
            rounded_int8 -> fun(Row) -> round_steps(127, Row) end
        end,
    Rows = chunks(Length, [X || <<X:32/float-little>> <= Data]),
    <<<<X:32/float-little>> || Row <- Rows, X <- Round(Row)>>.

%% E4M3.

round_fp8(Weights) ->
    Scale =
        case largest(Weights) of
            Zero when Zero == 0 -> 1.0;
            Largest -> max(single(Largest / 448.0), ?SMALLEST)
        end,
    [single(e4m3(single(Weight / Scale)) * Scale) || Weight <- Weights].

%% The nearest number of four significant bits, or of steps of 2^-9 below 2^-6; ties go to the even one. -0 keeps its sign.
e4m3(Number) ->
    <<Sign:1, Exponent:11, _:52>> = <<Number/float>>,
    Step = math:pow(2, max(Exponent - 1023, -6) - 3),
    Magnitude = half_even(min(abs(Number), 448.0) / Step) * Step,
    case Sign of
        0 -> Magnitude;
        1 -> -Magnitude
    end.

%% Integers.

round_steps(Max, Weights) ->
    Scale =
        case largest(Weights) of
            Zero when Zero == 0 -> 1.0;
            Largest -> max(single(Largest / Max), ?SMALLEST_STEP)
        end,
    [single(code(single(Weight / Scale), Max) * Scale) || Weight <- Weights].

code(Quotient, Max) when Quotient < 0 -> -code(-Quotient, Max);
code(Quotient, Max) -> min(half_even(Quotient), Max).

%% Two of four.

prune([A, B, C, D | Packed], [Wa, Wb, Wc, Wd | Weights]) ->
    Kept = kept([Wa, Wb, Wc, Wd]),
    Four = lists:zip([1, 2, 3, 4], [A, B, C, D]),
    [keep(lists:member(Place, Kept), X) || {Place, X} <- Four] ++ prune(Packed, Weights);
prune([], []) ->
    [].

keep(true, X) -> X;
keep(false, _) -> 0.0.

%% The places of the two largest magnitudes; of equals those that come first.
kept(Four) ->
    Sorted = lists:sort([{-abs(Weight), Place} || {Place, Weight} <- lists:zip([1, 2, 3, 4], Four)]),
    [Place || {_, Place} <- lists:sublist(Sorted, 2)].

pruned(Format, Rows) when Format =:= int8_sparse24; Format =:= int4_sparse24 ->
    lists:sum([lost(Four) || Row <- Rows, Four <- chunks(4, Row)]);
pruned(_, _) ->
    0.

lost(Four) -> max(0, length([Weight || Weight <- Four, Weight /= 0]) - 2).

%% Numbers and lists.

largest(Weights) -> lists:foldl(fun(Weight, Largest) -> max(Largest, abs(Weight)) end, 0.0, Weights).

single(X) ->
    <<Y:32/float>> = <<X:32/float>>,
    Y.

half_even(X) ->
    Whole = trunc(X),
    case X - Whole of
        Rest when Rest > 0.5 -> Whole + 1;
        Rest when Rest == 0.5 -> Whole + Whole band 1;
        _ -> Whole
    end.

chunks(_, []) ->
    [];
chunks(Length, List) ->
    {Chunk, Rest} = split(Length, List, []),
    [Chunk | chunks(Length, Rest)].

%% lists:split/2, but the last chunk may be shorter.
split(0, Rest, Done) -> {lists:reverse(Done), Rest};
split(_, [], Done) -> {lists:reverse(Done), []};
split(Left, [X | Xs], Done) -> split(Left - 1, Xs, [X | Done]).

transpose([[] | _]) -> [];
transpose(Rows) -> [[hd(Row) || Row <- Rows] | transpose([tl(Row) || Row <- Rows])].
