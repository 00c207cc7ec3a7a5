%% The few OTP calls that Gleam cannot express: exceptions, the terminal, numbers in text, JSON.
-module(viva_tensor_ffi).

-export([finally/2, split_once/2, graphemes/1]).
-export([arguments/0, set_up_terminal/0, error_is_terminal/0, write/1, write_error/1, read_line/1, halt/1, read_file/1]).
-export([parse_int/1, parse_float/1, short_float/1, fixed_float/2, monotonic_seconds/0]).
-export([json_encode/1, json_decode/1]).
-export([start_ticker/1, stop_ticker/1]).
-export([write_file/2, utf8/1, bytes/1, trim_end/1, is_negative/1]).
-export([schedulers/0, find_library/1, gpus/0, free_bytes/0]).

%% Runs Work, then Cleanup, also when Work raises or is thrown out of.
finally(Work, Cleanup) ->
    try
        Work()
    after
        Cleanup()
    end.

split_once(Text, Separator) ->
    case binary:split(Text, Separator) of
        [Before, After] -> {ok, {Before, After}};
        [_] -> {error, nil}
    end.

graphemes(Text) ->
    [unicode:characters_to_binary([Grapheme]) || Grapheme <- string:to_graphemes(Text)].

%% The command line's arguments as UTF-8, under any locale; the place of the first one that is not UTF-8.
arguments() -> arguments(init:get_plain_arguments(), 1, []).

arguments([], _, Read) -> {ok, lists:reverse(Read)};
arguments([Argument | Rest], Place, Read) ->
    case argument(Argument) of
        Text when is_binary(Text) -> arguments(Rest, Place + 1, [Text | Read]);
        _ -> {error, Place}
    end.

%% What does not decode under the VM's locale comes as the tuple that says so, and with a Latin-1 locale each byte as
%% a character of its own. OTP's specification of init:get_plain_arguments/0 does not know of that tuple.
-dialyzer({no_match, argument/1}).
argument(Characters) when is_list(Characters) ->
    case file:native_name_encoding() of
        latin1 -> unicode:characters_to_binary(list_to_binary(Characters));
        utf8 -> unicode:characters_to_binary(Characters)
    end;
argument(Undecoded) -> Undecoded.

%% With a Latin-1 locale (LANG=C) each byte from outside arrives as a character of its own.
from_outside(Characters) ->
    Bytes = file:native_name_encoding() =:= latin1 andalso lists:all(fun(C) -> C < 256 end, Characters),
    case Bytes of
        true -> repair(list_to_binary(Characters));
        false -> characters_to_binary(Characters)
    end.

characters_to_binary(Characters) ->
    case unicode:characters_to_binary(Characters) of
        Binary when is_binary(Binary) -> Binary;
        {_, Good, _} -> <<Good/binary, 16#FFFD/utf8>>
    end.

%% Bytes that are UTF-8 as they are; other bytes as Latin-1.
repair(Bytes) ->
    case unicode:characters_to_binary(Bytes) of
        Binary when is_binary(Binary) -> Binary;
        _ -> unicode:characters_to_binary(Bytes, latin1)
    end.

%% Standard input and output pass bytes on as they are, so they are UTF-8 whatever the locale says. A reader that
%% goes away is no event to report.
set_up_terminal() ->
    _ = logger:set_primary_config(level, none),
    _ = io:setopts(standard_io, [binary, {encoding, latin1}]),
    _ = io:setopts(standard_error, [{encoding, latin1}]),
    nil.

%% Whether standard error is a terminal, and no file or pipe. One without a size counts as a pipe.
error_is_terminal() -> element(1, io:columns(standard_error)) =:= ok.

%% To standard output; false when nobody reads it any more.
write(Text) -> write(standard_io, Text).

write_error(Text) -> write(standard_error, Text).

write(Device, Text) ->
    try
        file:write(Device, Text) =:= ok
    catch
        error:_ -> false
    end.

%% A line of standard input without its end, or {error, nil} at the end of the file.
read_line(Prompt) ->
    case io:get_line(standard_io, Prompt) of
        Line when is_binary(Line) ->
            {ok, from_outside(unicode:characters_to_list(string:trim(Line, trailing, "\r\n")))};
        _ -> {error, nil}
    end.

halt(Status) -> erlang:halt(Status).

read_file(Path) ->
    case file:read_file(Path) of
        {ok, Bytes} -> {ok, Bytes};
        {error, Reason} -> {error, unicode:characters_to_binary(file:format_error(Reason))}
    end.

%% All of it or nothing: written beside the file and then put in its place.
write_file(Path, Parts) ->
    Beside = <<Path/binary, ".", (integer_to_binary(erlang:unique_integer([positive])))/binary, ".part">>,
    Written =
        case file:write_file(Beside, Parts) of
            ok -> file:rename(Beside, Path);
            Failed -> Failed
        end,
    case Written of
        ok ->
            {ok, nil};
        {error, Reason} ->
            _ = file:delete(Beside),
            {error, unicode:characters_to_binary(file:format_error(Reason))}
    end.

utf8(Bytes) ->
    case unicode:characters_to_binary(Bytes) of
        Bytes -> {ok, Bytes};
        _ -> {error, nil}
    end.

bytes(Text) -> Text.

trim_end(Text) -> string:trim(Text, trailing, " ").

is_negative(Float) -> <<Float/float>> >= <<-0.0/float>>.

schedulers() -> erlang:system_info(schedulers_online).

%% Where the system's loader would look for it.
find_library(Name) ->
    Asked = string:lexemes(os:getenv("LD_LIBRARY_PATH", ""), ":"),
    Usual = ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib", "/usr/lib/wsl/lib"],
    Paths = [filename:join(Folder, Name) || Folder <- Asked ++ Usual],
    case lists:search(fun filelib:is_regular/1, Paths) of
        {value, Path} -> {ok, unicode:characters_to_binary(Path)};
        false -> {error, nil}
    end.

%% How many GPUs the driver shows to programs.
gpus() -> length(filelib:wildcard("/dev/nvidia[0-9]*")).

parse_int(Text) ->
    try
        {ok, binary_to_integer(Text)}
    catch
        error:badarg -> {error, nil}
    end.

%% Also "1", "1e-3" and ".5", which binary_to_float/1 refuses.
parse_float(Text) ->
    Pattern = "^([-+]?)([0-9]*)(?:\\.([0-9]*))?(?:[eE]([-+]?[0-9]+))?$",
    case re:run(Text, Pattern, [{capture, all_but_first, binary}]) of
        {match, [_, <<>>]} -> {error, nil};
        {match, [_, <<>>, <<>> | _]} -> {error, nil};
        {match, [Sign, Whole | Rest]} -> join_float(Sign, Whole, Rest);
        _ -> {error, nil}
    end.

join_float(Sign, Whole, Rest) ->
    {Fraction, Exponent} =
        case Rest of
            [] -> {<<>>, <<"0">>};
            [Digits] -> {Digits, <<"0">>};
            [Digits, Power] -> {Digits, Power}
        end,
    try
        {ok, binary_to_float(<<Sign/binary, "0", Whole/binary, ".", Fraction/binary, "0e", Exponent/binary>>)}
    catch
        error:badarg -> {error, nil}
    end.

%% The shortest text that reads back as the same float.
short_float(Float) -> float_to_binary(Float, [short]).

fixed_float(Float, Decimals) -> float_to_binary(Float, [{decimals, Decimals}]).

monotonic_seconds() -> erlang:monotonic_time(nanosecond) / 1.0e9.

%% viva_tensor/json.gleam's values through OTP's json, keys in their order.
json_encode(Value) ->
    iolist_to_binary(json:encode(Value, fun encode_value/2)).

encode_value({object, Fields}, Encode) -> json:encode_key_value_list(Fields, Encode);
encode_value({array, Values}, Encode) -> json:encode_list(Values, Encode);
encode_value({text, Text}, _) -> json:encode_binary(Text);
encode_value({integer, Integer}, _) -> json:encode_integer(Integer);
encode_value({number, Float}, _) -> json:encode_float(Float);
encode_value({boolean, Boolean}, _) -> atom_to_binary(Boolean);
encode_value(null, _) -> <<"null">>;
encode_value(Key, _) when is_binary(Key) -> json:encode_binary(Key).

%% {error, Text} says where it stopped being JSON.
json_decode(Text) ->
    Decoders = #{
        null => null,
        array_finish => fun(Values, Accumulator) -> {{array, lists:reverse(Values)}, Accumulator} end,
        object_finish => fun(Fields, Accumulator) -> {{object, lists:reverse(Fields)}, Accumulator} end
    },
    try json:decode(Text, nil, Decoders) of
        {Value, _, <<>>} -> {ok, value(Value)};
        {_, _, Rest} -> {error, unicode:characters_to_binary(["something after the value: ", cut(Rest)])}
    catch
        error:unexpected_end -> {error, <<"its end comes too early">>};
        error:{invalid_byte, Byte} -> {error, iolist_to_binary(io_lib:format("an unexpected byte ~b", [Byte]))};
        error:Reason -> {error, unicode:characters_to_binary(io_lib:format("~tp", [Reason]))}
    end.

cut(Bytes) -> repair(binary:part(Bytes, 0, min(40, byte_size(Bytes)))).

%% Containers were tagged on the way; what is left are the leaves.
value({array, Values}) -> {array, [value(Value) || Value <- Values]};
value({object, Fields}) -> {object, [{Key, value(Value)} || {Key, Value} <- Fields]};
value(Text) when is_binary(Text) -> {text, Text};
value(Integer) when is_integer(Integer) -> {integer, Integer};
value(Float) when is_float(Float) -> {number, Float};
value(Boolean) when is_boolean(Boolean) -> {boolean, Boolean};
value(null) -> null.

%% A process that is to wake every Interval milliseconds and notes by how many it is late. The times to wake at
%% are fixed from the start, so a long delay counts for each of the ticks that fell into it.
start_ticker(Interval) ->
    spawn_link(fun() ->
        Start = erlang:monotonic_time(millisecond) + Interval,
        tick(wake_at(Start), Start, Interval, [])
    end).

tick(Timer, At, Interval, Delays) ->
    receive
        {timeout, Timer, tick} ->
            Delay = erlang:monotonic_time(microsecond) / 1000 - At,
            Next = At + Interval,
            tick(wake_at(Next), Next, Interval, [max(Delay, 0.0) | Delays]);
        {stop, Caller} ->
            Caller ! {self(), Delays}
    end.

wake_at(Milliseconds) -> erlang:start_timer(Milliseconds, self(), tick, [{abs, true}]).

%% Ends the process; its delays in milliseconds.
stop_ticker(Ticker) ->
    Ticker ! {stop, self()},
    receive
        {Ticker, Delays} -> Delays
    end.

%% What Linux says that programs can still have; without an answer, more than any machine has.
free_bytes() ->
    case file:read_file("/proc/meminfo") of
        {ok, Text} ->
            case re:run(Text, "MemAvailable: *([0-9]+) kB", [{capture, all_but_first, binary}]) of
                {match, [Kilobytes]} -> 1024 * binary_to_integer(Kilobytes);
                nomatch -> 1 bsl 62
            end;
        {error, _} -> 1 bsl 62
    end.
