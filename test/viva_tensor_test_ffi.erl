%% The test runner, and what tests need of OTP: processes, subprocesses, files.
-module(viva_tensor_test_ffi).

-export([run/0]).
-export([spawned/1, kill/1, notify/2, await/1, received/0, await_process/1, raises/1, milliseconds/0, sleep/1]).
-export([garbage_answers/0, garbage_requests/1]).
-export([command_line/3, without_library/1, library_loaded/0]).
-export([write_file/2, remove_file/1, prefix/2, make_folder/0, copy_folder/1, not_utf8/0]).

%% The runner.

run() ->
    Sources = filelib:wildcard("test/**/*_test.gleam"),
    {Native, Plain} = lists:partition(fun(Source) -> lists:prefix("test/native/", Source) end, Sources),
    Tests = [module_tests(Source) || Source <- Plain ++ native_sources(Native)],
    Result = eunit:test(Tests, [verbose]),
    _ = file:del_dir_r(root()),
    case Result of
        ok -> halt(0);
        error -> halt(1)
    end.

native_sources(Sources) ->
    Library = filename:join(code:priv_dir(viva_tensor), "viva_tensor_nif.so"),
    case {library_loaded(), filelib:is_regular(Library)} of
        {true, _} ->
            Sources;
        {false, true} ->
            io:format(standard_error, "~ts is there and does not load.~n", [Library]),
            halt(1);
        {false, false} ->
            [
                io:format("skipped ~2b tests of ~ts: the native library is not built~n", [
                    length(tests(module(Source))), Source
                ])
             || Source <- Sources
            ],
            []
    end.

module_tests(Source) ->
    Module = module(Source),
    {Source, [{timeout, 60, {Module, Name}} || Name <- tests(Module)]}.

%% test/native/chat_test.gleam -> 'native@chat_test'
module(Source) ->
    ["test" | Parts] = filename:split(filename:rootname(Source)),
    list_to_atom(lists:flatten(lists:join("@", Parts))).

tests(Module) ->
    [
        Name
     || {Name, 0} <- Module:module_info(exports), lists:suffix("_test", atom_to_list(Name))
    ].

%% Processes.

spawned(Work) -> spawn(Work).

%% Returns once the process is gone.
kill(Process) ->
    Reference = monitor(process, Process),
    exit(Process, kill),
    receive
        {'DOWN', Reference, process, Process, _} -> nil
    end.

notify(Process, Message) ->
    Process ! {test_message, Message},
    nil.

await(Message) ->
    receive
        {test_message, Message} -> true
    after 20000 -> false
    end.

received() ->
    receive
        {test_message, Message} -> [Message | received()]
    after 0 -> []
    end.

await_process(Process) ->
    Reference = monitor(process, Process),
    receive
        {'DOWN', Reference, process, Process, _} -> nil
    end.

raises(Work) ->
    try Work() of
        _ -> false
    catch
        _:_ -> true
    end.

milliseconds() -> erlang:monotonic_time(millisecond).

sleep(Milliseconds) -> timer:sleep(Milliseconds), nil.

%% Garbage, as only an Erlang caller can pass it: {what was called, its answer}.

garbage() ->
    [
        garbage, -1, 1 bsl 100, 1.5, <<255>>, <<1:3>>, "text", [], [a | b], [<<255>>], {}, {text}, {text, <<255>>},
        {chat, [{message, 1, 2}]}, {tokens, [-1]}, {request}, {some}, #{}, self(), make_ref(), fun() -> ok end
    ].

%% Every function with the same garbage for every argument.
garbage_answers() ->
    Functions = [
        Function
     || {Name, Arity} = Function <- viva_tensor_nif:module_info(exports),
        Arity > 0,
        not lists:member(Name, [module_info])
    ],
    [
        answer({Name, Term}, fun() -> apply(viva_tensor_nif, Name, lists:duplicate(Arity, Term)) end)
     || {Name, Arity} <- Functions, Term <- garbage()
    ].

%% A good request with garbage in one field.
garbage_requests(Model) ->
    {ok, Session} = viva_tensor_nif:open(Model),
    Good = {request, 1, 0.0, top_k_infinity, 1.0, 0.0, 1.0, 0, [], true, none},
    [
        answer({Field, Term}, fun() ->
            _ = viva_tensor_nif:cancel(Session),
            viva_tensor_nif:submit(Session, {text, <<"Hello">>}, setelement(Field, Good, Term))
        end)
     || Field <- lists:seq(1, tuple_size(Good)), Term <- garbage()
    ].

answer(Called, Call) ->
    Kind =
        try Call() of
            {ok, _} -> <<"ok">>;
            {error, {invalid_option, Option, Expected, Found}} when
                is_binary(Option), is_binary(Expected), is_binary(Found)
            ->
                <<"invalid_option">>;
            Other ->
                text(Other)
        catch
            Class:Reason -> text({Class, Reason})
        end,
    {text(Called), Kind}.

text(Term) -> unicode:characters_to_binary(io_lib:format("~0tp", [Term])).

%% Subprocesses: {output, Status, StandardOutput, StandardError}.

%% The command line as `gleam run -m viva_tensor/cli` starts it, under a locale.
command_line(Arguments, Input, Locale) ->
    erl(filename:dirname(code:which(viva_tensor)), Arguments, Input, Locale).

%% The same with a copy of the code that has no native library.
without_library(Arguments) ->
    Folder = make_folder(),
    Ebin = filename:join([Folder, "viva_tensor", "ebin"]),
    copy_files(filename:dirname(code:which(viva_tensor)), Ebin),
    ok = file:make_dir(filename:join([Folder, "viva_tensor", "priv"])),
    erl(Ebin, Arguments, <<>>, <<"C.UTF-8">>).

erl(Ebin, Arguments, Input, Locale) ->
    Folder = make_folder(),
    {In, Err} = {filename:join(Folder, "in"), filename:join(Folder, "err")},
    ok = file:write_file(In, Input),
    Script = "exec \"$0\" \"$@\" <\"$TEST_IN\" 2>\"$TEST_ERR\"",
    Main = "'viva_tensor@@main':run('viva_tensor@cli')",
    Words = ["-c", Script, os:find_executable("erl"), "-pa", Ebin, "-noshell", "-eval", Main, "-extra"],
    Variables = [{"TEST_IN", In}, {"TEST_ERR", Err}, {"LC_ALL", Locale}, {"LANG", Locale}],
    Environment = [{Name, unicode:characters_to_list(Value)} || {Name, Value} <- Variables],
    Port = open_port({spawn_executable, "/bin/sh"}, [
        {args, Words ++ Arguments}, {env, Environment}, binary, exit_status, use_stdio
    ]),
    {Status, Output} = collect(Port, []),
    {ok, Errors} = file:read_file(Err),
    {output, Status, Output, Errors}.

collect(Port, Parts) ->
    receive
        {Port, {data, Part}} -> collect(Port, [Part | Parts]);
        {Port, {exit_status, Status}} -> {Status, iolist_to_binary(lists:reverse(Parts))}
    end.

library_loaded() -> viva_tensor_nif:loaded().

%% Files.

write_file(Path, Bytes) ->
    ok = filelib:ensure_dir(Path),
    ok = file:write_file(Path, Bytes),
    nil.

remove_file(Path) ->
    ok = file:delete(Path),
    nil.

prefix(Bytes, Size) -> binary:part(Bytes, 0, Size).

%% A new empty folder; the runner removes it in the end.
make_folder() ->
    Folder = filename:join(root(), integer_to_list(erlang:unique_integer([positive]))),
    ok = filelib:ensure_path(Folder),
    list_to_binary(Folder).

root() ->
    filename:join(os:getenv("TMPDIR", "/tmp"), "viva_tensor_test_" ++ os:getpid()).

%% A copy of a folder of files, to be damaged.
copy_folder(Folder) ->
    Copy = make_folder(),
    copy_files(Folder, Copy),
    Copy.

copy_files(From, To) ->
    ok = filelib:ensure_path(To),
    {ok, Names} = file:list_dir(From),
    [{ok, _} = file:copy(filename:join(From, Name), filename:join(To, Name)) || Name <- Names].

not_utf8() -> <<"n", 16#FF, "o">>.
