%% Chat templates, cut into text, outputs and blocks, and their tokens.
-module(viva_tensor_template_ffi).

-export([scan/1, trim/1, trim_left/1, trim_right/1, upper/1, lower/1, title/1, title_words/1, split_words/1, slice/4, length/1]).
-export([contains/2, starts_with/2, strftime_now/1, strftime/2]).

%% {ok, [{plain, Text} | {print, Tokens} | {block, Tokens}]}; one line break at the template's end is dropped.
scan(Source) ->
    try
        Lines = binary:replace(Source, [<<"\r\n">>, <<"\r">>], <<"\n">>, [global]),
        {ok, parts(drop_last_break(Lines), [])}
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
quoted(<<"\\", Octal, Rest/binary>>, Quote, Done) when Octal >= $0, Octal =< $7 ->
    {match, [Digits]} = re:run(<<Octal, Rest/binary>>, "^[0-7]{1,3}", [{capture, first, binary}]),
    Size = byte_size(Digits) - 1,
    <<_:Size/binary, More/binary>> = Rest,
    quoted(More, Quote, <<Done/binary, (binary_to_integer(Digits, 8))/utf8>>);
quoted(<<"\\x", Hex:2/binary, Rest/binary>>, Quote, Done) -> quoted(Rest, Quote, escaped(Hex, Done));
quoted(<<"\\u", Hex:4/binary, Rest/binary>>, Quote, Done) -> quoted(Rest, Quote, escaped(Hex, Done));
quoted(<<"\\U", Hex:8/binary, Rest/binary>>, Quote, Done) -> quoted(Rest, Quote, escaped(Hex, Done));
quoted(<<C, Rest/binary>>, Quote, Done) -> quoted(Rest, Quote, <<Done/binary, C>>);
quoted(<<>>, _, _) -> throw({template, <<"a text without an end">>}).

escaped(Hex, Done) ->
    try
        <<Done/binary, (binary_to_integer(Hex, 16))/utf8>>
    catch
        error:badarg -> throw({template, <<"an escape in a text that is no character">>})
    end.

trim(Text) -> trim_left(trim_right(Text)).

trim_left(Text) -> re:replace(Text, "^\\s+", "", [unicode, ucp, {return, binary}]).

trim_right(Text) -> re:replace(Text, "\\s+$", "", [unicode, ucp, dollar_endonly, {return, binary}]).

upper(Text) -> unicode:characters_to_binary(string:uppercase(Text)).

lower(Text) -> unicode:characters_to_binary(string:lowercase(Text)).

%% Of Python's strings: a capital where no letter is before.
title(Text) -> unicode:characters_to_binary(title(unicode:characters_to_list(Text), false)).

title([First | Rest], true) -> [string:lowercase([First]) | title(Rest, is_letter(First))];
title([First | Rest], false) -> [string:titlecase([First]) | title(Rest, is_letter(First))];
title([], _) -> [].

is_letter(Character) -> string:uppercase([Character]) =/= string:lowercase([Character]).

%% Of Jinja's filters: a capital after white space and some brackets.
title_words(Text) ->
    Words = re:split(Text, "([-\\s({\\[<]+)", [unicode, ucp, {return, list}]),
    unicode:characters_to_binary([title_word(Word) || Word <- Words]).

title_word([First | Rest]) -> [string:uppercase([First]) | string:lowercase(Rest)];
title_word([]) -> [].

split_words(Text) -> string:lexemes(Text, " \t\n\r").

length(Text) -> erlang:length(unicode:characters_to_list(Text)).

contains(Text, Part) -> Part =:= <<>> orelse binary:match(Text, Part) =/= nomatch.

starts_with(Text, Start) -> binary:longest_common_prefix([Text, Start]) =:= byte_size(Start).

%% Python's slices; a border is {ok, Integer} or {error, nil}, the step is not 0.
slice(Values, From, To, Step) when is_binary(Values) ->
    unicode:characters_to_binary(slice(unicode:characters_to_list(Values), From, To, Step));
slice(Values, From, To, Step) ->
    Length = erlang:length(Values),
    %% Where a forward slice may begin and end, or a backward one.
    {Lowest, Highest} = case Step > 0 of true -> {0, Length}; false -> {-1, Length - 1} end,
    Border = fun
        ({error, nil}, Otherwise) -> Otherwise;
        ({ok, Place}, _) when Place < 0 -> max(Place + Length, Lowest);
        ({ok, Place}, _) -> min(Place, Highest)
    end,
    Places =
        case Step > 0 of
            true -> places(Border(From, 0), Border(To, Length) - 1, Step);
            false -> places(Border(From, Length - 1), Border(To, -1) + 1, Step)
        end,
    Tuple = list_to_tuple(Values),
    [element(Place + 1, Tuple) || Place <- Places].

places(First, Last, Step) when Step > 0, First > Last; Step < 0, First < Last -> [];
places(First, Last, Step) -> lists:seq(First, Last, Step).

%% The time, UTC, as C's strftime writes it.
strftime_now(Format) -> strftime(Format, erlang:system_time(second)).

strftime(Format, Seconds) -> strftime(Format, calendar:system_time_to_universal_time(Seconds, second), <<>>).

strftime(<<"%-", Directive, Rest/binary>>, Time, Done) ->
    Written = directive(Directive, Time),
    strftime(Rest, Time, <<Done/binary, (unpadded(Written))/binary>>);
strftime(<<"%", Directive, Rest/binary>>, Time, Done) ->
    strftime(Rest, Time, <<Done/binary, (directive(Directive, Time))/binary>>);
strftime(<<Byte, Rest/binary>>, Time, Done) -> strftime(Rest, Time, <<Done/binary, Byte>>);
strftime(<<>>, _, Done) -> Done.

%% glibc leaves out the zero before a number.
unpadded(<<"0", Digit>>) -> <<Digit>>;
unpadded(Written) -> Written.

directive(Directive, {{Year, Month, Day} = Date, {Hour, Minute, Second}}) ->
    Write = fun(Form, Numbers) -> iolist_to_binary(io_lib:format(Form, Numbers)) end,
    case Directive of
        $Y -> Write("~B", [Year]);
        $y -> Write("~2..0B", [Year rem 100]);
        $m -> Write("~2..0B", [Month]);
        $d -> Write("~2..0B", [Day]);
        $e -> Write("~2B", [Day]);
        $H -> Write("~2..0B", [Hour]);
        $I -> Write("~2..0B", [(Hour + 11) rem 12 + 1]);
        $M -> Write("~2..0B", [Minute]);
        $S -> Write("~2..0B", [Second]);
        $f -> <<"000000">>;
        $p when Hour < 12 -> <<"AM">>;
        $p -> <<"PM">>;
        $j -> Write("~3..0B", [calendar:date_to_gregorian_days(Date) - calendar:date_to_gregorian_days(Year, 1, 1) + 1]);
        $A -> weekday(Date);
        $a -> binary:part(weekday(Date), 0, 3);
        $B -> month(Month);
        $b -> binary:part(month(Month), 0, 3);
        $h -> binary:part(month(Month), 0, 3);
        $F -> Write("~B-~2..0B-~2..0B", [Year, Month, Day]);
        $T -> Write("~2..0B:~2..0B:~2..0B", [Hour, Minute, Second]);
        $D -> Write("~2..0B/~2..0B/~2..0B", [Month, Day, Year rem 100]);
        $Z -> <<>>;
        $z -> <<>>;
        $% -> <<"%">>;
        Other -> <<"%", Other>>
    end.

weekday(Date) ->
    element(
        calendar:day_of_the_week(Date),
        {<<"Monday">>, <<"Tuesday">>, <<"Wednesday">>, <<"Thursday">>, <<"Friday">>, <<"Saturday">>, <<"Sunday">>}
    ).

month(Month) ->
    element(
        Month,
        {<<"January">>, <<"February">>, <<"March">>, <<"April">>, <<"May">>, <<"June">>, <<"July">>, <<"August">>,
            <<"September">>, <<"October">>, <<"November">>, <<"December">>}
    ).
