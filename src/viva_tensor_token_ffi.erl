%% The text of inference in pure Gleam: bytes, characters, the symbols of byte-level vocabularies, merges, stop texts.
%%
%% A text may be bytes that are no UTF-8: a token can end inside a character.
-module(viva_tensor_token_ffi).

-export([compile_pattern/1, number/2, split_first/2, veil/1, cut_at/2, replace/3, byte_symbols/1, characters/1]).
-export([before_each/2, byte_tokens/1, merge/2, bytes_of_symbols/1, byte_of_token/1, utf8_or_marks/1]).
-export([merges_of_scores/1, number_first/1, find_stop/2, split_all/2, strip_breaks/3, bytes_of/1, as_text/1]).
-export([first_foreign/1, find_pieces/2, utf8_prefix/1]).

bytes_of(Text) -> binary_to_list(Text).

as_text(Bytes) -> Bytes.

%% Where the first byte stands that is not UTF-8.
first_foreign(Bytes) ->
    case unicode:characters_to_binary(Bytes) of
        Text when is_binary(Text) -> {error, nil};
        {_, Whole, _} -> {ok, byte_size(Whole)}
    end.

%% {Whole, Rest}: whole characters, with U+FFFD for bytes that never become one, and what may yet become one.
utf8_prefix(Bytes) -> utf8_prefix(Bytes, <<>>).

utf8_prefix(Bytes, Done) ->
    case unicode:characters_to_binary(Bytes) of
        Text when is_binary(Text) -> {<<Done/binary, Text/binary>>, <<>>};
        {incomplete, Text, Rest} -> {<<Done/binary, Text/binary>>, Rest};
        {error, Text, Rest} ->
            Bad = bad_length(Rest),
            <<_:Bad/binary, More/binary>> = Rest,
            utf8_prefix(More, <<Done/binary, Text/binary, 16#FFFD/utf8>>)
    end.

%% Bytes that one U+FFFD stands for: the longest beginning of a character, one at least.
bad_length(<<A, B, C, _/binary>>) when A >= 16#F0, A =< 16#F4, B band 16#C0 =:= 16#80, C band 16#C0 =:= 16#80,
        (A =/= 16#F0 orelse B >= 16#90), (A =/= 16#F4 orelse B < 16#90) -> 3;
bad_length(<<A, B, _/binary>>) when A >= 16#F0, A =< 16#F4, B band 16#C0 =:= 16#80,
        (A =/= 16#F0 orelse B >= 16#90), (A =/= 16#F4 orelse B < 16#90) -> 2;
bad_length(<<A, B, _/binary>>) when A >= 16#E0, A =< 16#EF, B band 16#C0 =:= 16#80,
        (A =/= 16#E0 orelse B >= 16#A0), (A =/= 16#ED orelse B < 16#A0) -> 2;
bad_length(_) -> 1.

%% The pieces that a pattern matches, and what lies between, in their order.
find_pieces(Pattern, Text) ->
    case re:run(Text, Pattern, [global, {capture, first, index}]) of
        {match, Matches} -> cut(Text, 0, [Place || [Place] <- Matches]);
        nomatch -> [Text || Text =/= <<>>]
    end.

compile_pattern(Pattern) ->
    case re:compile(Pattern, [unicode, ucp]) of
        {ok, Compiled} -> {ok, Compiled};
        {error, _} -> {error, Pattern}
    end.

number([First | Rest], Next) -> [{First, Next} | number(Rest, Next + 1)];
number([], _) -> [].

number_first(Values) -> number_first(Values, 0).

number_first([First | Rest], Next) -> [{Next, First} | number_first(Rest, Next + 1)];
number_first([], _) -> [].

%% {ok, {Before, Stop}} of the stop that ends first, or {error, {Certain, Held}}.
find_stop(Text, Stops) ->
    Found = [
        {Start + Length, -Length, Start, Stop}
     || Stop <- Stops, {Start, Length} <- [binary:match(Text, Stop)]
    ],
    case lists:sort(Found) of
        [{_, _, Start, Stop} | _] -> {ok, {binary:part(Text, 0, Start), Stop}};
        [] ->
            Held = lists:max([held(Text, Stop, min(byte_size(Text), byte_size(Stop) - 1)) || Stop <- Stops]),
            Certain = byte_size(Text) - Held,
            {error, {binary:part(Text, 0, Certain), binary:part(Text, Certain, Held)}}
    end.

%% Bytes at the end of a text that a stop begins with.
held(_, _, 0) -> 0;
held(Text, Stop, Length) ->
    case binary:part(Text, byte_size(Text) - Length, Length) =:= binary:part(Stop, 0, Length) of
        true -> Length;
        false -> held(Text, Stop, Length - 1)
    end.

split_first(<<First/utf8, Rest/binary>>, With) -> <<First/utf8, With/binary, Rest/binary>>;
split_first(Text, _) -> Text.

%% The private plane 15 keeps places apart, and spaces stay what they are for templates that trim.
veil(Text) -> << <<(veiled(Character))/utf8>> || <<Character/utf8>> <= Text >>.

veiled(Character) when Character > 32, Character =< 16#FFFD -> Character + 16#F0000;
veiled(Character) -> Character.

cut_at(Text, []) -> [Text || Text =/= <<>>];
cut_at(Text, Texts) -> cut(Text, 0, binary:matches(Text, [One || One <- Texts, One =/= <<>>])).

replace(Text, Each, With) -> binary:replace(Text, Each, With, [global]).

characters(Text) -> [<<Character/utf8>> || <<Character/utf8>> <= Text].

before_each(Text, Mark) ->
    case binary:split(Text, Mark, [global]) of
        [<<>> | Rest] -> [<<Mark/binary, Part/binary>> || Part <- Rest];
        [First | Rest] -> [First | [<<Mark/binary, Part/binary>> || Part <- Rest]]
    end.

%% GPT-2's alphabet: bytes that print stand for themselves, the others for characters from 256 on, in their order.
byte_symbols(Word) -> [<<(symbol(Byte))/utf8>> || <<Byte>> <= Word].

symbol(Byte) when Byte >= 33, Byte =< 126; Byte >= 161, Byte =< 172; Byte >= 174 -> Byte;
symbol(Byte) when Byte =< 32 -> 256 + Byte;
symbol(Byte) when Byte =< 160 -> 256 + 33 + Byte - 127;
symbol(173) -> 256 + 67.

%% A token that has a character outside of the alphabet is its own text.
bytes_of_symbols(Text) ->
    Bytes = [byte(Character) || <<Character/utf8>> <= Text],
    case lists:member(none, Bytes) of
        true -> Text;
        false -> list_to_binary(Bytes)
    end.

byte(Character) when Character >= 33, Character =< 126; Character >= 161, Character =< 172 -> Character;
byte(Character) when Character >= 174, Character =< 255 -> Character;
byte(Character) when Character >= 256, Character =< 288 -> Character - 256;
byte(Character) when Character >= 289, Character =< 322 -> Character - 289 + 127;
byte(323) -> 173;
byte(_) -> none.

byte_tokens(Text) -> [<<"<0x", (binary:encode_hex(<<Byte>>))/binary, ">">> || <<Byte>> <= Text].

byte_of_token(<<"<0x", Hex:2/binary, ">">>) ->
    try
        {ok, binary:decode_hex(Hex)}
    catch
        error:badarg -> {error, nil}
    end;
byte_of_token(_) -> {error, nil}.

utf8_or_marks(Bytes) ->
    case unicode:characters_to_binary(Bytes) of
        Text when is_binary(Text) -> Text;
        _ -> binary:copy(<<16#FFFD/utf8>>, byte_size(Bytes))
    end.

%% Every pair of tokens that makes a token, by its score, then the longer left part.
merges_of_scores(Tokens) ->
    Numbered = number(Tokens, 0),
    Places = maps:from_list([{Text, Place} || {{Text, _}, Place} <- Numbered]),
    Merges = [
        {-Score, -Chars, Chars - length(Cuts) - 1, Place, First, Second, Left, Right}
     || {{Text, Score}, Place} <- Numbered,
        byte_size(Text) =< 256,
        Cuts <- [cuts(Text)],
        {Chars, Left, Right} <- Cuts,
        {ok, First} <- [maps:find(Left, Places)],
        {ok, Second} <- [maps:find(Right, Places)]
    ],
    [{Left, Right} || {_, _, _, _, _, _, Left, Right} <- lists:sort(Merges)].

cuts(Text) -> cuts(Text, 1, characters_sizes(Text), 0).

cuts(Text, Chars, [Size, Next | Rest], At) ->
    Cut = At + Size,
    [
        {Chars, binary:part(Text, 0, Cut), binary:part(Text, Cut, byte_size(Text) - Cut)}
        | cuts(Text, Chars + 1, [Next | Rest], Cut)
    ];
cuts(_, _, _, _) -> [].

characters_sizes(Text) -> [byte_size(<<Character/utf8>>) || <<Character/utf8>> <= Text].

split_all(Text, At) -> binary:split(Text, At, [global]).

strip_breaks(<<"
", Rest/binary>>, true, Right) -> strip_breaks(Rest, true, Right);
strip_breaks(Text, _, true) -> string:trim(Text, trailing, "
");
strip_breaks(Text, _, false) -> Text.

%% Symbols in pairs: the pair of the lowest rank becomes one wherever it stands, until no pair has a rank.
merge(Ranks, Symbols) ->
    case best(Ranks, Symbols, none, none) of
        none -> Symbols;
        {Left, Right} -> merge(Ranks, join_pairs(Symbols, Left, Right, <<Left/binary, Right/binary>>))
    end.

best(Ranks, [Left | [Right | _] = Rest], Least, Pair) ->
    case Ranks of
        #{{Left, Right} := Rank} when Rank < Least -> best(Ranks, Rest, Rank, {Left, Right});
        _ -> best(Ranks, Rest, Least, Pair)
    end;
best(_, _, _, Pair) -> Pair.

join_pairs([Left, Right | Rest], Left, Right, Both) -> [Both | join_pairs(Rest, Left, Right, Both)];
join_pairs([First | Rest], Left, Right, Both) -> [First | join_pairs(Rest, Left, Right, Both)];
join_pairs([], _, _, _) -> [].

cut(Text, At, [{Start, Length} | Rest]) ->
    Before = [binary:part(Text, At, Start - At) || Start > At],
    Piece = [binary:part(Text, Start, Length) || Length > 0],
    Before ++ Piece ++ cut(Text, Start + Length, Rest);
cut(Text, At, []) ->
    [binary:part(Text, At, byte_size(Text) - At) || At < byte_size(Text)].
