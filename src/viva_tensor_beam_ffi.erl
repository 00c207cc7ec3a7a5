%% The numbers of inference in pure Gleam: products of packed rows and vectors, and what else runs once a weight.
%%
%% A vector comes as integers: of 30 bits, or of 18 where the weights have 4 or 8; a row as small integers with scales of
%% its own. So a sum is exact until it meets its scale. The surprise: two rows of 4 or 8 bits lie in one integer, 27 or 30
%% bits apart, and one multiplication serves both. What the scales are made of is 16-bit floats, which are whole numbers
%% of 2^-24: as such they lie in pairs, for a float costs a call to take out of a binary, and an integer does not.
%%
%% Packed rows, one after the other:
%%   int24: <<Step:64/float, (W:24/little-signed) x columns>>
%%   int8:  (<<Scale:32/float, (W:8/signed) x 32>>) x columns / 32
%%   int4:  (<<Scale:32/float, Least:32/float, (High:4, Low:4) x 16>>) x columns / 32; Low are the first 16 columns
%%   pairs, which parts/3 makes of int4, scales in 2^-24:
%%         (<<Scale0:48, Least0:48, Scale1:48, Least1:48, (W0 + W1 bsl 27):32 x 32>>) x columns / 32, signed but for the last
%%   byte_pairs, which parts/3 makes of int8, likewise:
%%         (<<Scale0:48, Scale1:48, (W0 + W1 bsl 30):40 x 32>>) x columns / 32, signed
-module(viva_tensor_beam_ffi).

-export([pack/3, cut_rows/2, unpermute/2, unpermute_rows/3, parts/3, gated/2, add/2, scaled/3, heads/2]).
-export([ends_with/2, part_index/1, product/3, row/3, row_bytes/2, open/1, gguf_part/1, gguf_part_path/3, read_at/3, close/1, size/1, kind/1]).
-export([list_folder/1, attend/4, dot/2, sum_of_squares/1, rotate/3, guarded/1, floats/2, chacha/2, parallelism/0]).
-export([start/2, call/2, acquire/1, release/1, stop/1, find/2, pick/2, order/1, float32/1, error_reason/1]).

-define(ONE, 536870912.0).
%% Room for what some tokens leave behind: in less, the collection of garbage takes as long as the arithmetic.
-define(HEAP_WORDS, 4000000).
%% 2^24
-define(UNITS, 16777216.0).

%% What a row takes in memory.
row_bytes(int24, Columns) -> 8 + 3 * Columns;
row_bytes(int8, Columns) -> Columns div 32 * 36;
row_bytes(int4, Columns) -> Columns div 32 * 24;
row_bytes(pairs, Columns) -> Columns div 32 * 152;
row_bytes(byte_pairs, Columns) -> Columns div 32 * 172.

%% A file's rows as packed rows.
pack(Format, Bytes, Columns) ->
    case Format of
        q80 -> {int8, pack_q8_0(Bytes, <<>>)};
        q40 -> {int4, pack_q4_0(Bytes, <<>>)};
        q41 -> {int4, pack_q4_1(Bytes, <<>>)};
        _ -> {int24, pack_floats(Format, Bytes, Columns, <<>>)}
    end.

pack_q8_0(<<D:16/little-float, W:32/binary, Rest/binary>>, Out) -> pack_q8_0(Rest, <<Out/binary, D:32/float, W/binary>>);
pack_q8_0(<<>>, Out) -> Out.

pack_q4_0(<<D:16/little-float, W:16/binary, Rest/binary>>, Out) ->
    pack_q4_0(Rest, <<Out/binary, D:32/float, (-8.0 * D):32/float, W/binary>>);
pack_q4_0(<<>>, Out) -> Out.

pack_q4_1(<<D:16/little-float, M:16/little-float, W:16/binary, Rest/binary>>, Out) ->
    pack_q4_1(Rest, <<Out/binary, D:32/float, M:32/float, W/binary>>);
pack_q4_1(<<>>, Out) -> Out.

pack_floats(_, <<>>, _, Out) -> Out;
pack_floats(Format, Bytes, Columns, Out) ->
    Size = Columns * case Format of f32 -> 4; _ -> 2 end,
    <<Row:Size/binary, Rest/binary>> = Bytes,
    Numbers = floats(Format, Row),
    Most = most(Numbers, 0.0),
    Step = step(Most),
    Packed = << <<(round(Number / Step)):24/little-signed>> || Number <- Numbers >>,
    pack_floats(Format, Rest, Columns, <<Out/binary, Step:64/float, Packed/binary>>).

%% The least power of two that so large a number has at most 23 bits of: no half is rounded unless it is tiny.
step(Most) when Most > 1.0e-290 ->
    Step = math:pow(2.0, math:ceil(math:log2(Most / 8388607.0))),
    case Most / Step > 8388607.0 of
        true -> 2.0 * Step;
        false -> Step
    end;
step(_) -> 1.0.

%% Numbers of a file; one that is not finite raises.
floats(f32, Bytes) -> f32(Bytes);
floats(f16, Bytes) -> f16(Bytes);
floats(bf16, Bytes) -> bf16(Bytes).

f32(<<Number:32/little-float, Rest/binary>>) -> [Number | f32(Rest)];
f32(<<>>) -> [].

f16(<<Number:16/little-float, Rest/binary>>) -> [Number | f16(Rest)];
f16(<<>>) -> [].

bf16(<<Low, High, Rest/binary>>) ->
    <<Number:32/float>> = <<High, Low, 0, 0>>,
    [Number | bf16(Rest)];
bf16(<<>>) -> [].

float32(Number) ->
    <<Rounded:32/float>> = <<Number:32/float>>,
    Rounded.

most([Number | Rest], Most) when Number > Most -> most(Rest, Number);
most([Number | Rest], Most) when -Number > Most -> most(Rest, -Number);
most([_ | Rest], Most) -> most(Rest, Most);
most([], Most) -> Most.

%% One packed row as numbers.
row({Kind, Bytes}, Columns, Row) ->
    Size = row_bytes(Kind, Columns),
    unpack(Kind, Columns, binary:part(Bytes, Row * Size, Size)).

unpack(int24, Columns, Bytes) ->
    Size = 3 * Columns,
    <<Scale:64/float, Row:Size/binary>> = Bytes,
    [W * Scale || <<W:24/little-signed>> <= Row];
unpack(int8, _, Bytes) ->
    lists:append([[W * D || <<W:8/signed>> <= Row] || <<D:32/float, Row:32/binary>> <= Bytes]);
unpack(int4, _, Bytes) ->
    lists:append([
        [D * W + M || <<_:4, W:4>> <= Row] ++ [D * W + M || <<W:4, _:4>> <= Row]
     || <<D:32/float, M:32/float, Row:16/binary>> <= Bytes
    ]).

%% Each matrix {Kind, Rows, Parts} times the vector; Parts are packed rows, a process each.
%% Dialyzer does not know spawn_opt's option scheduler, which OTP does not write about.
-dialyzer({no_match, product/3}).
product(Matrices, Vector, Processes) ->
    Most = most(Vector, 0.0),
    {K, Scale} =
        case Most > 1.0e-290 of
            true -> {?ONE / Most, Most / ?ONE};
            false -> {0.0, 0.0}
        end,
    Kinds = [Kind || {Kind, _, _} <- Matrices],
    Forms = [
        {Kind, form(Kind, Vector, K)}
     || Kind <- [int24, pairs, byte_pairs], lists:member(Kind, Kinds)
    ],
    Work = fun(Part) ->
        [
            part(Kind, lists:nth(Part, Parts), proplists:get_value(Kind, Forms), Scale)
         || {Kind, _, Parts} <- Matrices
        ]
    end,
    case Processes of
        1 ->
            whole(Matrices, Work(1));
        _ ->
            Self = self(),
            Tags = [
                begin
                    Tag = make_ref(),
                    spawn_opt(fun() -> Self ! {Tag, Work(Part)} end, [link, {min_heap_size, 20000}, {scheduler, scheduler(Part)}]),
                    Tag
                end
             || Part <- lists:seq(2, Processes)
            ],
            First = Work(1),
            Others = [receive {Tag, Result} -> Result end || Tag <- Tags],
            whole(Matrices, join([First | Others]))
    end.

%% Another for each part: left alone, a process waits on the run queue of the one that spawned it until it is stolen.
scheduler(Part) -> (erlang:system_info(scheduler_id) + Part - 2) rem erlang:system_info(schedulers_online) + 1.

join([[] | _]) -> [];
join(Results) -> [lists:append([hd(Result) || Result <- Results]) | join([tl(Result) || Result <- Results])].

%% Without the row that makes an odd number of rows even.
whole([{_, Rows, _} | Matrices], [Product | Products]) -> [lists:sublist(Product, Rows) | whole(Matrices, Products)];
whole([], _) -> [].

%% The vector as a kind of rows wants it; for pairs of so many bits that a sum of 32 products stays below half of where
%% the upper row begins: 32 * 15 * 131071 < 2^26, 32 * 128 * 131071 < 2^29.
form(int24, Vector, K) -> integers(Vector, K);
form(_, Vector, _) -> blocks(Vector, 131071.0).

part(int24, Bytes, Plain, Scale) -> int24(Bytes, Plain, Scale, []);
part(pairs, Bytes, Blocks, _) -> pairs(Bytes, 0.0, 0.0, Blocks, Blocks, []);
part(byte_pairs, Bytes, Blocks, _) -> byte_pairs(Bytes, 0.0, 0.0, Blocks, Blocks, []).

%% {Scale, Sum, X0 ... X31} of each 32 numbers as integers of their own scale, Largest at most; Scale makes up for the
%% rows' units.
blocks([], _) -> [];
blocks(Numbers, Largest) ->
    {Block, Rest} = lists:split(32, Numbers),
    case most(Block, 0.0) of
        Most when Most > 1.0e-290 ->
            K = Largest / Most,
            Integers = integers(Block, K),
            [list_to_tuple([Most / Largest / ?UNITS, lists:sum(Integers) | Integers]) | blocks(Rest, Largest)];
        _ ->
            [list_to_tuple([0.0, 0 | lists:duplicate(32, 0)]) | blocks(Rest, Largest)]
    end.

%% Here and below a test for floats lets the compiler do without one at each operation.
integers([Number | Rest], K) when is_float(Number), is_float(K) -> [round(Number * K) | integers(Rest, K)];
integers([], _) -> [].

int24(<<S:64/float, Rest/binary>>, All, Scale, Out) -> int24(Rest, All, 0, S, All, Scale, Out);
int24(<<>>, _, _, Out) -> lists:reverse(Out).

int24(<<W0:24/little-signed, W1:24/little-signed, W2:24/little-signed, W3:24/little-signed, W4:24/little-signed, W5:24/little-signed, W6:24/little-signed, W7:24/little-signed, Rest/binary>>,
    [X0, X1, X2, X3, X4, X5, X6, X7 | Left], Sum, S, All, Scale, Out) ->
    int24(Rest, Left, Sum + W0 * X0 + W1 * X1 + W2 * X2 + W3 * X3 + W4 * X4 + W5 * X5 + W6 * X6 + W7 * X7, S, All, Scale, Out);
int24(Rest, [], Sum, S, All, Scale, Out) ->
    int24(Rest, All, Scale, [Sum * S * Scale | Out]);
int24(<<W:24/little-signed, Rest/binary>>, [X | Left], Sum, S, All, Scale, Out) ->
    int24(Rest, Left, Sum + W * X, S, All, Scale, Out).

%% Four sums of eight: the next need not wait for the one before.
-define(PRODUCTS,
        (P0 * X0 + P1 * X1 + P2 * X2 + P3 * X3 + P4 * X4 + P5 * X5 + P6 * X6 + P7 * X7) +
        (P8 * X8 + P9 * X9 + P10 * X10 + P11 * X11 + P12 * X12 + P13 * X13 + P14 * X14 + P15 * X15) +
        (P16 * X16 + P17 * X17 + P18 * X18 + P19 * X19 + P20 * X20 + P21 * X21 + P22 * X22 + P23 * X23) +
        (P24 * X24 + P25 * X25 + P26 * X26 + P27 * X27 + P28 * X28 + P29 * X29 + P30 * X30 + P31 * X31)).

%% Each sum has two rows in it: the lower one's below bit 27, as a number that may be negative.
pairs(<<D0:48/signed, M0:48/signed, D1:48/signed, M1:48/signed,
        P0:32, P1:32, P2:32, P3:32, P4:32, P5:32, P6:32, P7:32, P8:32, P9:32, P10:32, P11:32, P12:32, P13:32, P14:32,
        P15:32, P16:32, P17:32, P18:32, P19:32, P20:32, P21:32, P22:32, P23:32, P24:32, P25:32, P26:32, P27:32,
        P28:32, P29:32, P30:32, P31:32,
        Rest/binary>>,
    Sum0, Sum1,
    [{Scale, Least,
        X0, X1, X2, X3, X4, X5, X6, X7, X8, X9, X10, X11, X12, X13, X14, X15, X16, X17, X18, X19, X20, X21, X22, X23,
        X24, X25, X26, X27, X28, X29, X30, X31} | Left],
    All, Out) when is_float(Sum0), is_float(Sum1), is_float(Scale) ->
    Both = ?PRODUCTS,
    Upper = (Both + 16#4000000) bsr 27,
    Lower = Both - (Upper bsl 27),
    Row0 = Sum0 + Scale * ((D0 + 0.0) * Lower + (M0 + 0.0) * Least),
    Row1 = Sum1 + Scale * ((D1 + 0.0) * Upper + (M1 + 0.0) * Least),
    pairs(Rest, Row0, Row1, Left, All, Out);
pairs(<<>>, Sum0, Sum1, [], _, Out) ->
    lists:reverse(Out, [Sum0, Sum1]);
pairs(<<>>, _, _, _, _, []) ->
    [];
pairs(Rest, Sum0, Sum1, [], All, Out) ->
    pairs(Rest, 0.0, 0.0, All, All, [Sum1, Sum0 | Out]).

byte_pairs(<<D0:48/signed, D1:48/signed,
        P0:40/signed, P1:40/signed, P2:40/signed, P3:40/signed, P4:40/signed, P5:40/signed, P6:40/signed,
        P7:40/signed, P8:40/signed, P9:40/signed, P10:40/signed, P11:40/signed, P12:40/signed, P13:40/signed,
        P14:40/signed, P15:40/signed, P16:40/signed, P17:40/signed, P18:40/signed, P19:40/signed, P20:40/signed,
        P21:40/signed, P22:40/signed, P23:40/signed, P24:40/signed, P25:40/signed, P26:40/signed, P27:40/signed,
        P28:40/signed, P29:40/signed, P30:40/signed, P31:40/signed,
        Rest/binary>>,
    Sum0, Sum1,
    [{Scale, _,
        X0, X1, X2, X3, X4, X5, X6, X7, X8, X9, X10, X11, X12, X13, X14, X15, X16, X17, X18, X19, X20, X21, X22, X23,
        X24, X25, X26, X27, X28, X29, X30, X31} | Left],
    All, Out) when is_float(Sum0), is_float(Sum1), is_float(Scale) ->
    Both = ?PRODUCTS,
    Upper = (Both + 16#20000000) bsr 30,
    Lower = Both - (Upper bsl 30),
    byte_pairs(Rest, Sum0 + Scale * ((D0 + 0.0) * Lower), Sum1 + Scale * ((D1 + 0.0) * Upper), Left, All, Out);
byte_pairs(<<>>, Sum0, Sum1, [], _, Out) ->
    lists:reverse(Out, [Sum0, Sum1]);
byte_pairs(<<>>, _, _, _, _, []) ->
    [];
byte_pairs(Rest, Sum0, Sum1, [], All, Out) ->
    byte_pairs(Rest, 0.0, 0.0, All, All, [Sum1, Sum0 | Out]).

%% Attention of one query over the keys and values of one head, the latest first, as far as the window.
attend(Query, Keys, Values, Scale) ->
    Scores = [dot(Query, Key) * Scale || Key <- Keys],
    Most = lists:max(Scores),
    Weights = [math:exp(max(Score - Most, -700.0)) || Score <- Scores],
    Total = lists:sum(Weights),
    [Value / Total || Value <- weighted(Weights, Values, [])].

weighted([Weight | Weights], [Value | Values], []) when is_float(Weight) ->
    weighted(Weights, Values, [Weight * Number || Number <- Value]);
weighted([Weight | Weights], [Value | Values], Sum) ->
    weighted(Weights, Values, add(Weight, Value, Sum));
weighted(_, _, Sum) ->
    Sum.

add(Weight, [Number | Numbers], [Sum | Sums]) when is_float(Weight), is_float(Number), is_float(Sum) ->
    [Weight * Number + Sum | add(Weight, Numbers, Sums)];
add(_, [], []) -> [].

dot(One, Other) -> dot(One, Other, 0.0).

dot([A | As], [B | Bs], Sum) when is_float(A), is_float(B), is_float(Sum) -> dot(As, Bs, Sum + A * B);
dot([], [], Sum) -> Sum.

sum_of_squares(Numbers) -> dot(Numbers, Numbers).

%% Pairs (i, i + half) of a head, turned by the angles' cosines and sines.
rotate(Head, Cosines, Sines) ->
    {First, Second} = lists:split(length(Cosines), Head),
    turn(First, Second, Cosines, Sines, [], []).

turn([A | As], [B | Bs], [C | Cs], [S | Ss], Low, High) when is_float(A), is_float(B), is_float(C), is_float(S) ->
    turn(As, Bs, Cs, Ss, [A * C - B * S | Low], [B * C + A * S | High]);
turn([], Rest, [], [], Low, High) ->
    lists:reverse(Low, lists:reverse(High, Rest)).

%% {error, Reason} of work that meets a number that is not finite, or bytes that are not what they should be.
guarded(Work) ->
    try
        {ok, Work()}
    catch
        error:badarith -> {error, <<"numbers that are not finite">>};
        error:{badmatch, _} -> {error, <<"bytes that are no finite numbers">>};
        error:function_clause -> {error, <<"bytes that are no finite numbers">>}
    end.

cut_rows(Bytes, Size) -> [Row || <<Row:Size/binary>> <= Bytes].

%% Rows as rotary pairs (i, i + half) of each head; GGUF's llama family has (2 i, 2 i + 1).
unpermute([], _) -> [];
unpermute(Values, Width) ->
    {Head, Rest} = lists:split(Width, Values),
    {Even, Odd} = alternate(Head),
    Even ++ Odd ++ unpermute(Rest, Width).

alternate([A, B | Rest]) ->
    {As, Bs} = alternate(Rest),
    {[A | As], [B | Bs]};
alternate([]) -> {[], []}.

unpermute_rows(Bytes, Size, Width) -> iolist_to_binary(unpermute(cut_rows(Bytes, Size), Width)).

%% Rows shared out among so many processes, those of 4 and 8 bits in pairs.
parts({Kind, Bytes}, Columns, Processes) ->
    Rows = byte_size(Bytes) div row_bytes(Kind, Columns),
    {Form, Packed, Count} =
        case Kind of
            int4 -> {pairs, in_pairs(Bytes, row_bytes(Kind, Columns), 24), (Rows + 1) div 2};
            int8 -> {byte_pairs, in_pairs(Bytes, row_bytes(Kind, Columns), 36), (Rows + 1) div 2};
            _ -> {Kind, Bytes, Rows}
        end,
    Size = row_bytes(Form, Columns),
    Borders = [Count * Part div Processes * Size || Part <- lists:seq(0, Processes)],
    {Form, Rows, [binary:part(Packed, From, To - From) || {From, To} <- lists:zip(lists:droplast(Borders), tl(Borders))]}.

in_pairs(Bytes, Size, Block) -> << <<(pair(Pair, Size, Block))/binary>> || Pair <- pairs_of(Bytes, Size) >>.

pairs_of(Bytes, Size) ->
    case Bytes of
        <<Pair:(2 * Size)/binary, Rest/binary>> -> [Pair | pairs_of(Rest, Size)];
        <<Row:Size/binary>> -> [<<Row/binary, 0:(8 * Size)>>];
        <<>> -> []
    end.

pair(Pair, Size, Block) ->
    <<One:Size/binary, Other:Size/binary>> = Pair,
    << <<(both(A, B))/binary>> || {A, B} <- lists:zip(cut_rows(One, Block), cut_rows(Other, Block)) >>.

both(<<D0:32/float, M0:32/float, A:16/binary>>, <<D1:32/float, M1:32/float, B:16/binary>>) ->
    Weights = << <<(W0 + (W1 bsl 27)):32>> || {W0, W1} <- lists:zip(halves(A), halves(B)) >>,
    <<(units(D0)):48, (units(M0)):48, (units(D1)):48, (units(M1)):48, Weights/binary>>;
both(<<D0:32/float, A:32/binary>>, <<D1:32/float, B:32/binary>>) ->
    Weights = [W0 + (W1 bsl 30) || {W0, W1} <- lists:zip(bytes(A), bytes(B))],
    <<(units(D0)):48, (units(D1)):48, (<< <<W:40>> || W <- Weights >>)/binary>>.

%% What was a 16-bit float, or eight times one, as a whole number of 2^-24.
units(Scale) -> round(Scale * ?UNITS).

bytes(Bytes) -> [W || <<W:8/signed>> <= Bytes].

halves(Bytes) -> [W || <<_:4, W:4>> <= Bytes] ++ [W || <<W:4, _:4>> <= Bytes].

%% silu(gate) * up
gated([G | Gs], [U | Us]) when is_float(G), is_float(U) -> [G / (1.0 + math:exp(min(-G, 700.0))) * U | gated(Gs, Us)];
gated([], []) -> [].

add([A | As], [B | Bs]) when is_float(A), is_float(B) -> [A + B | add(As, Bs)];
add([], []) -> [].

scaled([X | Xs], [W | Ws], Factor) when is_float(X), is_float(W), is_float(Factor) -> [X * Factor * W | scaled(Xs, Ws, Factor)];
scaled([], [], _) -> [].

heads([], _) -> [];
heads(Numbers, Width) ->
    {Head, Rest} = lists:split(Width, Numbers),
    [Head | heads(Rest, Width)].

%% Files.

ends_with(Text, Suffix) ->
    Skipped = byte_size(Text) - byte_size(Suffix),
    Skipped >= 0 andalso binary:part(Text, Skipped, byte_size(Suffix)) =:= Suffix.

part_index(Path) ->
    case re:run(Path, <<"^(.*)-([0-9]+)-of-([0-9]+)\.safetensors$">>, [dotall, {capture, [1, 3], binary}]) of
        {match, [Prefix, Count]} ->
            case binary_to_integer(Count) > 1 of
                true -> {ok, <<Prefix/binary, ".safetensors.index.json">>};
                false -> {error, nil}
            end;
        _ -> {error, nil}
    end.

%% "m-00002-of-00003.gguf" is {<<"m">>, 2, 3}.
gguf_part(Path) ->
    case re:run(Path, <<"^(.*)-([0-9]{5})-of-([0-9]{5})\.gguf$">>, [dotall, {capture, [1, 2, 3], binary}]) of
        {match, [Prefix, Place, Count]} -> {ok, {Prefix, binary_to_integer(Place), binary_to_integer(Count)}};
        nomatch -> {error, nil}
    end.

gguf_part_path(Prefix, Place, Count) ->
    Numbers = iolist_to_binary(io_lib:format("-~5..0b-of-~5..0b.gguf", [Place, Count])),
    <<Prefix/binary, Numbers/binary>>.

open(Path) ->
    case file:open(Path, [read, raw, binary]) of
        {ok, File} -> {ok, File};
        {error, Reason} -> {error, Reason}
    end.

error_reason(Reason) -> unicode:characters_to_binary(file:format_error(Reason)).

close(File) ->
    _ = file:close(File),
    nil.

size(Path) -> filelib:file_size(Path).

read_at(File, Offset, Bytes) ->
    case file:pread(File, Offset, Bytes) of
        {ok, Read} when byte_size(Read) =:= Bytes -> {ok, Read};
        {ok, Read} -> {error, {short, byte_size(Read)}};
        eof -> {error, {short, 0}};
        {error, Reason} -> {error, {refused, error_reason(Reason)}}
    end.

kind(Path) ->
    case {filelib:is_dir(Path), filelib:is_regular(Path)} of
        {true, _} -> folder;
        {_, true} -> file;
        _ -> nothing
    end.

list_folder(Path) ->
    case file:list_dir(Path) of
        {ok, Names} -> {ok, lists:sort([Name || Name <- [unicode:characters_to_binary(N) || N <- Names], is_binary(Name)])};
        {error, Reason} -> {error, error_reason(Reason)}
    end.

%% Chance.

%% The first 53 bits of a block as a number in [0, 1).
chacha(Seed, Position) ->
    Key = <<Seed:64/little, 0:192>>,
    <<Bits:64/little>> = crypto:crypto_one_time(chacha20, Key, <<Position:64/little, 0:64>>, <<0:64>>, true),
    (Bits bsr 11) / (1 bsl 53).

parallelism() -> erlang:system_info(schedulers_online).

%% By falling logit, then by id.
order(Candidates) ->
    lists:sort(fun({IdA, A}, {IdB, B}) -> A > B orelse (A == B andalso IdA < IdB) end, Candidates).

%% A session: a process that keeps a state and lives as long as the one that opened it.

start(State, Fresh) ->
    Opener = self(),
    Session = fun() ->
        monitor(process, Opener),
        serve(State, Fresh, none)
    end,
    spawn_opt(Session, [{min_heap_size, ?HEAP_WORDS}]).

serve(State, Fresh, User) ->
    receive
        {'DOWN', _, process, User, _} ->
            serve(State, Fresh, none);
        {'DOWN', _, process, _, _} ->
            ok;
        {acquire, From, Tag} when User =:= none ->
            monitor(process, From),
            From ! {Tag, {ok, nil}},
            serve(State, Fresh, From);
        {acquire, From, Tag} ->
            From ! {Tag, {error, busy}},
            serve(State, Fresh, User);
        {release, From, Tag} ->
            From ! {Tag, {ok, nil}},
            serve(State, Fresh, case From of User -> none; _ -> User end);
        {call, From, Tag, Work} ->
            try Work(State) of
                {Next, Answer} ->
                    From ! {Tag, {ok, Answer}},
                    serve(Next, Fresh, User)
            catch
                error:badarith ->
                    From ! {Tag, {error, overflow}},
                    serve(Fresh, Fresh, User)
            end;
        {stop, From, Tag} when User =:= none; User =:= From ->
            From ! {Tag, {ok, nil}};
        {stop, From, Tag} ->
            From ! {Tag, {error, busy}},
            serve(State, Fresh, User)
    end.

call(Session, Work) -> ask(Session, fun(From, Tag) -> {call, From, Tag, Work} end).

acquire(Session) -> ask(Session, fun(From, Tag) -> {acquire, From, Tag} end).

release(Session) -> ask(Session, fun(From, Tag) -> {release, From, Tag} end).

stop(Session) -> ask(Session, fun(From, Tag) -> {stop, From, Tag} end).

ask(Session, Message) ->
    Tag = monitor(process, Session),
    Session ! Message(self(), Tag),
    receive
        {Tag, Answer} ->
            demonitor(Tag, [flush]),
            Answer;
        {'DOWN', Tag, process, Session, _} ->
            {error, closed}
    end.

find(Key, Table) ->
    case Table of
        #{Key := Value} -> {ok, Value};
        _ -> {error, nil}
    end.

%% The value at a place of a tuple, counted from 0.
pick(Tuple, Place) when Place >= 0, Place < tuple_size(Tuple) -> {ok, element(Place + 1, Tuple)};
pick(_, _) -> {error, nil}.
