%% Chat templates, cut into text, outputs and blocks, and their tokens.
-module(viva_tensor_template_ffi).

-export([scan/1, trim/1, trim_left/1, trim_right/1, upper/1, lower/1, title/1, split_words/1, slice/4, length/1]).
-export([contains/2, starts_with/2]).

%% {ok, [{plain, Text} | {print, Tokens} | {block, Tokens}]}; one line break at the template's end is dropped.
scan(Source) ->
    try
        {ok, parts(drop_last_break(binary:replace(Source, <<"\r\n">>, <<"\n">>, [global])), [])}
    catch
        throw:{template, Reason} -> {error, Reason}
    end.

drop_last_break(Source) ->
    Size = byte_size(Source) - 1,
    case Source of
        <<Text:Size/binary, "\n">> when Size >= 0 -> Text;
        _ -> Source
    end.

parts(Source, Done) ->
    case binary:match(Source, [<<"{{">>, <<"{%">>, <<"{#">>]) of
        nomatch ->
            lists:reverse(plain(Source, Done));
        {At, 2} ->
            <<Before:At/binary, Open:2/binary, Behind/binary>> = Source,
            {Trim, Inside} = open_mark(Behind),
            Text = before(Open, Trim, Before, Done),
            {Part, Close, Rest} = inside(Open, Inside),
            parts(behind(Open, Close, Rest), part(Part, plain(Text, Done)))
    end.

plain(<<>>, Done) -> Done;
plain(Text, Done) -> [{plain, Text} | Done].

part(none, Done) -> Done;
part(Part, Done) -> [Part | Done].

open_mark(<<"-", Rest/binary>>) -> {trim, Rest};
open_mark(<<"+", Rest/binary>>) -> {keep, Rest};
open_mark(Rest) -> {default, Rest}.

%% White space between the line's beginning and a block is dropped.
before(_, trim, Text, _) -> trim_right(Text);
before(<<"{{">>, _, Text, _) -> Text;
before(_, keep, Text, _) -> Text;
before(_, default, Text, Done) ->
    Line = re:replace(Text, "(^|\n)[ \t]*$", "\\1", [{return, binary}, dollar_endonly]),
    %% A line that begins with an output before this text has no white space of its own.
    case {binary:match(Text, <<"\n">>), Done} of
        {nomatch, [_ | _]} -> Text;
        _ -> Line
    end.

behind(_, trim, Rest) -> trim_left(Rest);
behind(<<"{{">>, _, Rest) -> Rest;
behind(_, keep, Rest) -> Rest;
behind(_, default, <<"\n", Rest/binary>>) -> Rest;
behind(_, default, Rest) -> Rest.

inside(<<"{#">>, Source) ->
    case binary:split(Source, <<"#}">>) of
        [Comment, Rest] -> {none, close_mark(Comment), Rest};
        _ -> throw({template, <<"a comment without an end">>})
    end;
inside(<<"{{">>, Source) ->
    {Tokens, Close, Rest} = tokens(Source, <<"}}">>, [], 0),
    {{print, Tokens}, Close, Rest};
inside(<<"{%">>, Source) ->
    {Tokens, Close, Rest} = tokens(Source, <<"%}">>, [], 0),
    {{block, Tokens}, Close, Rest}.

close_mark(<<>>) -> default;
close_mark(Comment) ->
    case binary:last(Comment) of
        $- -> trim;
        _ -> default
    end.

%% Depth counts braces, so that the end of a map is not the end of an output.
tokens(<<"-", End:2/binary, Rest/binary>>, End, Done, 0) -> {lists:reverse(Done), trim, Rest};
tokens(<<"+", End:2/binary, Rest/binary>>, End, Done, 0) -> {lists:reverse(Done), keep, Rest};
tokens(<<End:2/binary, Rest/binary>>, End, Done, 0) -> {lists:reverse(Done), default, Rest};
tokens(<<Space, Rest/binary>>, End, Done, Depth) when Space =< 32 -> tokens(Rest, End, Done, Depth);
tokens(<<Quote, Rest/binary>>, End, Done, Depth) when Quote =:= $'; Quote =:= $" ->
    {Text, More} = quoted(Rest, Quote, <<>>),
    tokens(More, End, [{quoted, Text} | Done], Depth);
tokens(<<Digit, _/binary>> = Source, End, Done, Depth) when Digit >= $0, Digit =< $9 ->
    {match, [Number]} = re:run(Source, "^[0-9]+(?:\\.[0-9]+)?", [{capture, first, binary}]),
    Size = byte_size(Number),
    <<_:Size/binary, Rest/binary>> = Source,
    Token =
        case binary:match(Number, <<".">>) of
            nomatch -> {whole, binary_to_integer(Number)};
            _ -> {fraction, binary_to_float(Number)}
        end,
    tokens(Rest, End, [Token | Done], Depth);
tokens(Source, End, Done, Depth) ->
    case re:run(Source, "^[A-Za-z_][A-Za-z_0-9]*", [{capture, first, binary}]) of
        {match, [Word]} ->
            Size = byte_size(Word),
            <<_:Size/binary, Rest/binary>> = Source,
            tokens(Rest, End, [{word, Word} | Done], Depth);
        nomatch ->
            {Sign, Rest} = sign(Source),
            tokens(Rest, End, [{sign, Sign} | Done], Depth + depth(Sign))
    end.

depth(<<"{">>) -> 1;
depth(<<"}">>) -> -1;
depth(_) -> 0.

sign(<<Sign:2/binary, Rest/binary>>) when
    Sign =:= <<"==">>; Sign =:= <<"!=">>; Sign =:= <<"<=">>; Sign =:= <<">=">>; Sign =:= <<"//">>; Sign =:= <<"**">>
->
    {Sign, Rest};
sign(<<Sign/utf8, Rest/binary>>) ->
    {<<Sign/utf8>>, Rest};
sign(_) ->
    throw({template, <<"a block without an end">>}).

quoted(<<Quote, Rest/binary>>, Quote, Done) -> {Done, Rest};
quoted(<<"\\n", Rest/binary>>, Quote, Done) -> quoted(Rest, Quote, <<Done/binary, "\n">>);
quoted(<<"\\t", Rest/binary>>, Quote, Done) -> quoted(Rest, Quote, <<Done/binary, "\t">>);
quoted(<<"\\r", Rest/binary>>, Quote, Done) -> quoted(Rest, Quote, <<Done/binary, "\r">>);
quoted(<<"\\", C, Rest/binary>>, Quote, Done) when C =:= $\\; C =:= $'; C =:= $" ->
    quoted(Rest, Quote, <<Done/binary, C>>);
quoted(<<C, Rest/binary>>, Quote, Done) -> quoted(Rest, Quote, <<Done/binary, C>>);
quoted(<<>>, _, _) -> throw({template, <<"a text without an end">>}).

trim(Text) -> trim_left(trim_right(Text)).

trim_left(Text) -> re:replace(Text, "^\\s+", "", [unicode, ucp, {return, binary}]).

trim_right(Text) -> re:replace(Text, "\\s+$", "", [unicode, ucp, dollar_endonly, {return, binary}]).

upper(Text) -> unicode:characters_to_binary(string:uppercase(Text)).

lower(Text) -> unicode:characters_to_binary(string:lowercase(Text)).

%% Each word with a capital.
title(Text) -> unicode:characters_to_binary([title_word(Word) || Word <- re:split(Text, "(\\s+)", [unicode, {return, binary}])]).

title_word(Word) -> string:titlecase(string:lowercase(Word)).

split_words(Text) -> string:lexemes(Text, " \t\n\r").

length(Text) -> erlang:length(unicode:characters_to_list(Text)).

contains(Text, Part) -> Part =:= <<>> orelse binary:match(Text, Part) =/= nomatch.

starts_with(Text, Start) -> string:prefix(Text, Start) =/= nomatch.

%% Python's slices; a border or a step is {ok, Integer} or {error, nil}.
slice(Values, From, To, Step) when is_binary(Values) ->
    unicode:characters_to_binary(slice(unicode:characters_to_list(Values), From, To, Step));
slice(Values, From, To, Step) ->
    Length = erlang:length(Values),
    case Step of
        {ok, -1} -> slice(lists:reverse(Values), flip(From, Length), flip(To, Length), {error, nil});
        _ ->
            First = place(From, 0, Length),
            Last = place(To, Length, Length),
            every(step(Step), lists:sublist(Values, First + 1, max(Last - First, 0)))
    end.

flip({error, nil}, _) -> {error, nil};
flip({ok, Place}, _) when Place < 0 -> {ok, -Place - 1};
flip({ok, Place}, Length) -> {ok, max(Length - 1 - Place, 0)}.

step({ok, Step}) when Step > 0 -> Step;
step(_) -> 1.

every(1, Values) -> Values;
every(_, []) -> [];
every(Step, [First | Rest]) -> [First | every(Step, lists:nthtail(min(Step - 1, erlang:length(Rest)), Rest))].

place({error, nil}, Otherwise, _) -> Otherwise;
place({ok, Place}, _, Length) when Place < 0 -> max(Place + Length, 0);
place({ok, Place}, _, Length) -> min(Place, Length).
