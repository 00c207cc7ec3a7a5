%% What `erl -noshell -eval` runs for beam.rs: a loop that compiles what it is told to.
%%
%% A request is {compile, Lib, Ebin, Sources}, all of them strings. The answer is a line of its own: a record
%% separator, then `done Module...` or `failed`. What the compilers print comes before it.
ok = io:setopts([{encoding, unicode}]),

CompileErlang = fun(Sources, Ebin) ->
    Self = self(),
    Options = [report_errors, report_warnings, debug_info, {outdir, Ebin}],
    Jobs = [spawn_link(fun() -> Self ! {self(), compile:file(Source, Options)} end) || Source <- Sources],
    Results = [receive {Job, Result} -> Result end || Job <- Jobs],
    case [Module || {ok, Module} <- Results] of
        Modules when length(Modules) =:= length(Sources) -> {ok, Modules};
        _ -> failed
    end
end,

CompileElixir = fun
    ([], _) ->
        {ok, []};
    (Sources, Ebin) ->
        {ok, _} = application:ensure_all_started([compiler, elixir]),
        'Elixir.Code':put_compiler_option(ignore_module_conflict, true),
        Binary = fun unicode:characters_to_binary/1,
        Options = [{return_diagnostics, true}],
        case 'Elixir.Kernel.ParallelCompiler':compile_to_path(lists:map(Binary, Sources), Binary(Ebin), Options) of
            {ok, Modules, _} -> {ok, Modules};
            {error, _, _} -> failed
        end
end,

%% Erlang first: an Elixir module may call a parse transform's or a behaviour's functions while it is compiled.
Compile = fun(Sources, Ebin) ->
    {Elixir, Erlang} = lists:partition(fun(Source) -> filename:extension(Source) =:= ".ex" end, Sources),
    maybe
        {ok, First} ?= CompileErlang(Erlang, Ebin),
        {ok, Second} ?= CompileElixir(Elixir, Ebin),
        {ok, First ++ Second}
    end
end,

Loop = fun Loop() ->
    case io:read('') of
        {ok, {compile, Lib, Ebin, Sources}} ->
            % It is made first because -include_lib finds only applications whose ebin is there.
            ok = filelib:ensure_path(Ebin),
            Paths = filelib:wildcard(filename:join(Lib, "*/ebin")),
            ok = code:add_paths(Paths),
            Result = Compile(Sources, Ebin),
            ok = code:del_paths(Paths),
            case Result of
                {ok, Modules} -> io:put_chars(["\x{1e}done", [[$\s, atom_to_list(Module)] || Module <- Modules], $\n]);
                failed -> io:put_chars("\x{1e}failed\n")
            end,
            Loop();
        eof ->
            halt(0)
    end
end,
Loop().
