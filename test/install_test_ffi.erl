%% What the tests of the installation need: a web server of a few lines that can also misbehave, archives, and VMs of
%% their own.
-module(install_test_ffi).

-export([serve/2, serve_untrusted/1, has_trusted_list/0, archive/1, elf/1, library/0]).
-export([checksum/1, priv/2, files/1, read/1, fetch/4, target/1, own_target/0]).
-export([install_command/1, reload/0, with_sum/2]).

%% Serves Work a base URL on the loopback. Files are {Name, Body, Manner}: whole, {cut, Bytes}, {status, Number}, or
%% {moved, Name}.
serve(Files, Work) ->
    Options = [binary, {ip, {127, 0, 0, 1}}, {active, false}, {packet, http_bin}, {reuseaddr, true}],
    {ok, Listening} = gen_tcp:listen(0, Options),
    {ok, Port} = inet:port(Listening),
    Server = spawn_link(fun() -> accept(Listening, Files) end),
    try
        Work(iolist_to_binary(io_lib:format("http://127.0.0.1:~b", [Port])))
    after
        unlink(Server),
        exit(Server, kill),
        gen_tcp:close(Listening)
    end.

accept(Listening, Files) ->
    {ok, Socket} = gen_tcp:accept(Listening),
    {ok, {http_request, 'GET', {abs_path, <<"/", Name/binary>>}, _}} = gen_tcp:recv(Socket, 0),
    headers(Socket),
    ok = inet:setopts(Socket, [{packet, raw}]),
    case lists:keyfind(Name, 1, Files) of
        false -> answer(Socket, "404 Not Found", [], <<>>, 0);
        {_, Body, whole} -> answer(Socket, "200 OK", [], Body, byte_size(Body));
        {_, Body, {cut, Bytes}} -> answer(Socket, "200 OK", [], binary:part(Body, 0, Bytes), byte_size(Body));
        {_, Body, {status, Status}} -> answer(Socket, [integer_to_list(Status), " So"], [], Body, byte_size(Body));
        {_, _, {moved, To}} -> answer(Socket, "302 Found", ["Location: /", To, "\r\n"], <<>>, 0)
    end,
    gen_tcp:close(Socket),
    accept(Listening, Files).

headers(Socket) ->
    case gen_tcp:recv(Socket, 0) of
        {ok, http_eoh} -> ok;
        {ok, _} -> headers(Socket)
    end.

answer(Socket, Status, Headers, Body, Length) ->
    Size = ["Content-Length: ", integer_to_list(Length), "\r\n"],
    ok = gen_tcp:send(Socket, ["HTTP/1.1 ", Status, "\r\nConnection: close\r\n", Size, Headers, "\r\n", Body]).

%% The base URL of a server whose certificate nobody has signed but itself.
serve_untrusted(Work) ->
    {ok, _} = application:ensure_all_started(ssl),
    Signed = [{digest, sha256}, {key, {namedCurve, secp256r1}}],
    Chain = #{root => Signed, intermediates => [], peer => Signed},
    #{server_config := Config} = public_key:pkix_test_data(#{server_chain => Chain, client_chain => Chain}),
    {ok, Listening} = ssl:listen(0, [{ip, {127, 0, 0, 1}}, {log_level, none} | Config]),
    {ok, {_, Port}} = ssl:sockname(Listening),
    Server = spawn(fun() ->
        {ok, Socket} = ssl:transport_accept(Listening),
        ssl:handshake(Socket)
    end),
    try
        Work(iolist_to_binary(io_lib:format("https://localhost:~b", [Port])))
    after
        exit(Server, kill),
        ssl:close(Listening)
    end.

%% Whether the system says whom it trusts.
has_trusted_list() ->
    try public_key:cacerts_get() of
        List -> List =/= []
    catch
        _:_ -> false
    end.

%% The bytes of an archive with these {Name, Bytes}.
archive(Entries) ->
    Path = <<(viva_tensor_test_ffi:make_folder())/binary, "/archive.tar.gz">>,
    ok = erl_tar:create(Path, [{binary_to_list(Name), Bytes} || {Name, Bytes} <- Entries], [compressed]),
    {ok, Bytes} = file:read_file(Path),
    Bytes.

%% The head of a library for a machine, and nothing behind it.
elf(Machine) -> <<16#7F, "ELF", 2, 1, 1, 0:(9 * 8), 3:16/little, Machine:16/little, 0:(100 * 8)>>.

library() ->
    {ok, Bytes} = file:read_file(filename:join(code:priv_dir(viva_tensor), "viva_tensor_nif.so")),
    Bytes.

checksum(Bytes) -> binary:encode_hex(crypto:hash(sha256, Bytes), lowercase).

%% A new priv folder with these {Name, Bytes}.
priv(Names, Contents) ->
    Folder = viva_tensor_test_ffi:make_folder(),
    [ok = file:write_file(filename:join(Folder, Name), Bytes) || {Name, Bytes} <- lists:zip(Names, Contents)],
    Folder.

files(Folder) ->
    {ok, Names} = file:list_dir(Folder),
    lists:sort([unicode:characters_to_binary(Name) || Name <- Names]).

read(Path) ->
    {ok, Bytes} = file:read_file(Path),
    Bytes.

fetch(Place, Priv, Version, Target) ->
    viva_tensor_install:fetch(Place, Priv, binary_to_list(Version), binary_to_list(Target)).

target(Architecture) -> list_to_binary(viva_tensor_install:target(binary_to_list(Architecture))).

own_target() -> list_to_binary(viva_tensor_install:target()).

%% The command, as `gleam run -m viva_tensor/install` starts it: {Status, Output and errors}.
install_command(Words) ->
    Ebin = filename:dirname(code:which(viva_tensor)),
    vm(["-pa", Ebin, "-noshell", "-eval", "'viva_tensor@install':main()", "-extra" | Words]).

vm(Words) ->
    Port = open_port({spawn_executable, os:find_executable("erl")}, [
        {args, Words}, {env, [{"VIVA_TENSOR_URL", false}]}, binary, exit_status, stderr_to_stdout, use_stdio
    ]),
    collect(Port, []).

collect(Port, Parts) ->
    receive
        {Port, {data, Part}} -> collect(Port, [Part | Parts]);
        {Port, {exit_status, Status}} -> {Status, iolist_to_binary(lists:reverse(Parts))}
    end.

%% In a VM of its own, with a model that answers: the NIF module is loaded again, from the same place and from the place
%% of a second version, is purged and comes back. After each, the model or a new one answers as before.
reload() ->
    Ebin = filename:dirname(code:which(viva_tensor)),
    Root = viva_tensor_test_ffi:make_folder(),
    Other = filename:join([Root, "viva_tensor-9.9.9", "ebin"]),
    Priv = filename:join([Root, "viva_tensor-9.9.9", "priv"]),
    ok = filelib:ensure_path(Other),
    ok = filelib:ensure_path(Priv),
    {ok, _} = file:copy(filename:join(Ebin, "viva_tensor_nif.beam"), filename:join(Other, "viva_tensor_nif.beam")),
    ok = file:write_file(filename:join(Priv, "viva_tensor_nif.so"), library()),
    Script = [
        "Load = fun() -> {ok, M} = viva_tensor:load_model(<<\"test/fixtures/tiny/llama\">>), M end,",
        "Options = {generate_opts, 3, 0.0, {top_k, 40}, 0.95, 42, true},",
        "Answer = fun(M) -> case viva_tensor:generate(M, <<\"Hello, world!\">>, Options) of",
        "  {ok, R} -> element(3, R); {error, E} -> element(1, E) end end,",
        "Say = fun(What, It) -> io:format(\"~s ~0p~n\", [What, It]) end,",
        "Model = Load(), Say(\"before\", Answer(Model)),",
        "Say(\"again\", element(1, code:load_file(viva_tensor_nif))), Say(\"model\", Answer(Model)),",
        "Second = fun() -> element(1, code:load_abs(\"", filename:join(Other, "viva_tensor_nif"), "\")) end,",
        "Say(\"other\", Second()), Say(\"model\", Answer(Model)),",
        "Say(\"loaded\", viva_tensor_nif:loaded()),",
        "code:purge(viva_tensor_nif), code:delete(viva_tensor_nif), code:purge(viva_tensor_nif),",
        "Say(\"new\", Answer(Load())), Say(\"old\", Answer(Model)),",
        "code:purge(viva_tensor_nif), code:delete(viva_tensor_nif), code:purge(viva_tensor_nif),",
        "Say(\"other\", Second()),",
        "Say(\"new\", Answer(Load())), Say(\"old\", Answer(Model)), halt()."
    ],
    vm(["-pa", Ebin, "-noshell", "-kernel", "logger_level", "none", "-eval", unicode:characters_to_list(Script)]).

%% The environment variable is taken away again.
with_sum(Sum, Work) ->
    os:putenv("VIVA_TENSOR_SHA256", binary_to_list(Sum)),
    try
        Work()
    after
        os:unsetenv("VIVA_TENSOR_SHA256")
    end.
