%% The test runner, and what tests need of OTP: processes, subprocesses, files.
-module(viva_tensor_test_ffi).

-export([run/0]).
-export([spawned/1, kill/1, notify/2, await/1, received/0, await_process/1, raises/1, milliseconds/0, sleep/1]).
-export([large_model/0, killed_while_loading/1, killed_while_reading/2]).
-export([garbage_answers/0, garbage_requests/1]).
-export([command_line/3, without_library/1, library_loaded/0]).
-export([gunzip/1, set_device/1, generated/2, unhex/1, first_far/4, le64/1]).
-export([write_file/2, remove_file/1, prefix/2, make_folder/0, copy_folder/1, not_utf8/0, spoiled/2]).

%% The runner.

run() ->
    Sources = filelib:wildcard("test/**/*_test.gleam"),
    {Native, Plain} = lists:partition(fun(Source) -> lists:prefix("test/native/", Source) end, Sources),
    Tests = [module_tests(Source) || Source <- Plain ++ native_sources(Native)],
    Result = eunit:test(Tests, []),
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
    {Source, [{timeout, 300, {Module, Name}} || Name <- tests(Module)]}.

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

%% A model that is worth interrupting.

%% A llama of 61 M parameters, all of them zero; the file is sparse.
large_model() ->
    Folder = make_folder(),
    [
        {ok, _} = file:copy(filename:join("test/fixtures/tiny/llama", Name), filename:join(Folder, Name))
     || Name <- ["tokenizer.json", "tokenizer_config.json"]
    ],
    {D, F, KV, V} = {1024, 4096, 256, 512},
    Config = #{
        architectures => [<<"LlamaForCausalLM">>],
        model_type => <<"llama">>,
        hidden_size => D,
        intermediate_size => F,
        num_hidden_layers => 4,
        num_attention_heads => 16,
        num_key_value_heads => 4,
        max_position_embeddings => 4096,
        rms_norm_eps => 1.0e-5,
        rope_theta => 10000.0,
        vocab_size => V,
        eos_token_id => 1,
        tie_word_embeddings => true,
        dtype => <<"float16">>
    },
    ok = file:write_file(filename:join(Folder, "config.json"), json:encode(Config)),
    Layer = [
        {"input_layernorm", [D]},
        {"post_attention_layernorm", [D]},
        {"self_attn.q_proj", [D, D]},
        {"self_attn.k_proj", [KV, D]},
        {"self_attn.v_proj", [KV, D]},
        {"self_attn.o_proj", [D, D]},
        {"mlp.gate_proj", [F, D]},
        {"mlp.up_proj", [F, D]},
        {"mlp.down_proj", [D, F]}
    ],
    Layers = [{io_lib:format("layers.~b.~ts", [L, Name]), Shape} || L <- lists:seq(0, 3), {Name, Shape} <- Layer],
    Shapes = [{"embed_tokens", [V, D]}, {"norm", [D]} | Layers],
    {Tensors, Size} = lists:mapfoldl(fun tensor/2, 0, Shapes),
    Header = iolist_to_binary(json:encode(maps:from_list(Tensors))),
    {ok, File} = file:open(filename:join(Folder, "model.safetensors"), [write, raw, binary]),
    ok = file:write(File, [<<(byte_size(Header)):64/little>>, Header]),
    {ok, _} = file:position(File, 8 + byte_size(Header) + Size),
    ok = file:truncate(File),
    ok = file:close(File),
    Folder.

tensor({Name, Shape}, Start) ->
    End = Start + 2 * lists:foldl(fun erlang:'*'/2, 1, Shape),
    Key = unicode:characters_to_binary(["model.", Name, ".weight"]),
    {{Key, #{dtype => <<"F16">>, shape => Shape, data_offsets => [Start, End]}}, End}.

%% Milliseconds from the kill of a process that loads until nobody works on that load any more.
killed_while_loading(Path) ->
    {ok, Loader} = viva_tensor_nif:load_open(Path, {load_options, auto, none, none, keep}),
    Step = fun() -> viva_tensor_nif:load_step(Loader) end,
    killed(Step, Step, Step).

%% The same for a process that reads a long prompt.
killed_while_reading(Model, Ids) ->
    Request = {request, 1, 0.0, top_k_infinity, 1.0, 0.0, 1.0, 0, [], false, none},
    {ok, Session} = viva_tensor_nif:open(Model),
    Submit = fun() -> viva_tensor_nif:submit(Session, {tokens, Ids}, Request) end,
    killed(Submit, fun() -> viva_tensor_nif:step([Session]) end, fun() -> viva_tensor_nif:close(Session) end).

killed(Begin, Step, Try) ->
    Test = self(),
    Worker = spawn(fun() ->
        {ok, _} = Begin(),
        Test ! begun,
        repeat(Step)
    end),
    receive
        begun -> timer:sleep(7)
    end,
    {error, busy} = Try(),
    exit(Worker, kill),
    await_free(Try, erlang:monotonic_time(millisecond)).

repeat(Work) ->
    Work(),
    repeat(Work).

%% The try that gets through does work of its own, which does not count.
await_free(Try, Start) ->
    Waited = erlang:monotonic_time(millisecond) - Start,
    case Try() of
        {error, busy} ->
            timer:sleep(1),
            await_free(Try, Start);
        _ ->
            Waited
    end.

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

spoiled(Path, Word) ->
    {ok, File} = file:read_file(Path),
    [Before, After] = binary:split(File, Word),
    <<_, Rest/binary>> = Word,
    Copy = filename:join(make_folder(), filename:basename(Path)),
    ok = file:write_file(Copy, [Before, 16#FF, Rest, After]),
    Copy.

%% Tensors.

gunzip(Path) ->
    {ok, Bytes} = file:read_file(Path),
    zlib:gunzip(Bytes).

%% Which path tensors take from now on.
set_device(Name) ->
    case Name of
        <<>> -> os:unsetenv("VIVA_TENSOR_DEVICE");
        _ -> os:putenv("VIVA_TENSOR_DEVICE", binary_to_list(Name))
    end,
    nil.

%% The numbers of tools/make_tensor_fixtures.py.
generated(_, 0) -> [];
generated(Seed, Count) ->
    Next = (Seed * 6364136223846793005 + 1442695040888963407) band (1 bsl 64 - 1),
    [(((Next bsr 33) rem 255) - 127) / 32 | generated(Next, Count - 1)].

unhex(Hex) -> binary:decode_hex(Hex).

%% The index of the first element that is further off than Tolerance * (1 + what was expected), -1 without one. A NaN
%% is near a NaN.
first_far(Dtype, Expected, Actual, Tolerance) ->
    far(viva_tensor_beam:unpack(Dtype, Expected), viva_tensor_beam:unpack(float64, Actual), Tolerance, 0).

far([], [], _, _) -> -1;
far([E | Es], [A | As], Tolerance, Index) ->
    Near =
        case {is_float(E), is_float(A)} of
            {true, true} -> abs(E - A) =< Tolerance * (1 + abs(E));
            {false, false} -> E =:= A orelse (is_nan(E) andalso is_nan(A));
            _ -> false
        end,
    case Near of
        true -> far(Es, As, Tolerance, Index + 1);
        false -> Index
    end;
far(_, _, _, Index) -> Index.

is_nan(Bits) -> Bits band 16#7FFFFFFFFFFFFFFF > 16#7FF0000000000000.

le64(Number) -> <<Number:64/little>>.
