%% Puts the native library in its place: a prebuilt one from a web server or a folder, or one that cargo builds.
%%
%% A prebuilt one goes archive -> sha256 against priv/checksums.txt (or, where there is none, the user's word) -> unpacked in memory -> its own header -> a VM of
%% its own that loads it -> renamed into place. What fails on the way leaves the library that is there as it was. The
%% surprise: this is Erlang, so that Mix has it where there is no Gleam, and it never calls viva_tensor_nif, which must
%% first be loaded when the library is there.
-module(viva_tensor_install).

-export([install/2, fetch/4, build/1, sources/0]).
-export([priv/0, version/0, archive/2, target/0, target/1]).

-include_lib("kernel/include/file.hrl").

-define(LIBRARY, "viva_tensor_nif.so").
-define(VARIABLE, "VIVA_TENSOR_URL").
-define(SUM_VARIABLE, "VIVA_TENSOR_SHA256").

%% From is none or {some, Place}; How is any or build. {ok, Text} says what is there now, {error, Text} what is wrong.
install(_, build) ->
    case sources() of
        {ok, Root} -> build(Root);
        {error, Where} ->
            {error, text(["there are no sources to build in ", Where, "/native; they are in the repository"])}
    end;
install({some, Place}, any) -> fetch(Place);
install(none, any) ->
    case {os:getenv(?VARIABLE, ""), sources(), cargo()} of
        {"", {ok, Root}, {ok, _}} -> build(Root);
        {"", Sources, Cargo} -> {error, nothing_to_do(Sources, Cargo)};
        {Place, _, _} -> fetch(text(Place))
    end.

fetch(Place) ->
    case version() of
        {ok, Version} -> fetch(Place, priv(), Version, target());
        {error, Reason} -> {error, Reason}
    end.

nothing_to_do(Sources, Cargo) ->
    Archive =
        case version() of
            {ok, Version} -> archive(Version, target());
            {error, _} -> archive("VERSION", target())
        end,
    Build =
        case {Sources, Cargo} of
            {{error, _}, _} -> "To build one, take the sources of the repository.";
            {_, {error, _}} -> "To build one, install Rust (https://rustup.rs) and try again.";
            _ -> "To build one: --build."
        end,
    text(["no place to fetch from is known: name the folder of ", Archive, " with --from, or in the environment ",
        "variable ", ?VARIABLE, ", as a URL or a path. ", Build]).

%% A prebuilt library.

%% Place is an http(s) URL or a path, in which {version} stands for the version.
fetch(Place, Priv, Version, Target) ->
    Name = archive(Version, Target),
    Folder = text(string:replace(Place, "{version}", Version, all)),
    lists:foreach(fun to_code_path/1, ["crypto", "asn1", "public_key", "ssl", "inets"]),
    try
        Expected = expected(Priv, Name, Version, Target),
        Bytes = get_bytes(Folder, Name),
        check_sum(Bytes, Expected, Name),
        Library = unpack(Bytes, Name),
        check_header(Library, Target, Name),
        put_in_place(Library, Priv, Name),
        {ok, text([Name, " of ", Folder, " is in place"])}
    catch
        throw:Reason -> {error, text([Reason, unchanged(Priv)])}
    end.

%% Mix takes away the applications that no project names.
to_code_path(Name) ->
    case code:lib_dir(list_to_atom(Name)) of
        {error, bad_name} -> code:add_pathsz(filelib:wildcard(filename:join([code:lib_dir(), Name ++ "-*", "ebin"])));
        _ -> ok
    end.

unchanged(Priv) ->
    case filelib:is_regular(filename:join(Priv, ?LIBRARY)) of
        true -> " (the library that was there is unchanged)";
        false -> ""
    end.

%% The sum of priv/checksums.txt; where there is none, as in a checkout, the one that the user vouches for.
expected(Priv, Name, Version, Target) ->
    Path = filename:join(Priv, "checksums.txt"),
    case {file:read_file(Path), os:getenv(?SUM_VARIABLE, "")} of
        {{ok, Text}, _} -> listed(Text, Path, Name, Version, Target);
        {{error, enoent}, [_ | _] = Sum} -> vouched_for(Sum);
        {{error, Reason}, _} ->
            throw([Path, ": ", file:format_error(Reason), "; released packages have it. A checkout of the sources is",
                " built instead (--build), or say the archive's sha256 in the environment variable ", ?SUM_VARIABLE])
    end.

vouched_for(Sum) ->
    case re:run(Sum, "^[0-9a-fA-F]{64}$", [{capture, none}, dollar_endonly]) of
        match -> text(string:lowercase(Sum));
        nomatch -> throw([?SUM_VARIABLE, ": expected 64 hexadecimal digits, found ", Sum])
    end.

%% Each line as sha256sum writes it: the sum, two spaces, the name.
listed(Text, Path, Name, Version, Target) ->
    Lines = [string:lexemes(Line, " *") || Line <- string:lexemes(Text, "\r\n")],
    Wanted = text(Name),
    case [Sum || [Sum, Found] <- Lines, Found =:= Wanted] of
        [Sum | _] -> Sum;
        [] ->
            Known = [Found || [_, <<"viva_tensor_nif-", _/binary>> = Found] <- Lines],
            throw(["there is no prebuilt library of version ", Version, " for this machine, ", Target, "; ", Path,
                " knows ", case Known of [] -> "none"; _ -> lists:join(", ", Known) end])
    end.

get_bytes(<<"http://", _/binary>> = Base, Name) -> download(Base, Name);
get_bytes(<<"https://", _/binary>> = Base, Name) -> download(Base, Name);
get_bytes(Folder, Name) ->
    case binary:match(Folder, <<"://">>) of
        nomatch -> ok;
        _ -> throw([Folder, ": expected a URL that begins with http:// or https://, or a folder"])
    end,
    Path = filename:join(Folder, Name),
    case file:read_file(Path) of
        {ok, Bytes} -> Bytes;
        {error, Reason} -> throw([Path, ": ", file:format_error(Reason)])
    end.

download(Base, Name) ->
    Url = unicode:characters_to_list([string:trim(Base, trailing, "/"), "/", Name]),
    _ = [
        case application:ensure_all_started(Application) of
            {ok, _} -> ok;
            {error, _} ->
                throw(["to fetch needs OTP's ", atom_to_list(Application), ", which is not installed (Debian: ",
                    "erlang-inets and erlang-ssl); or fetch ", Url, " by other means and name its folder with --from"])
        end
     || Application <- [ssl, inets]
    ],
    Http = [{connect_timeout, 30000}, {timeout, 900000}, {autoredirect, true} | tls(Base)],
    case httpc:request(get, {Url, []}, Http, [{body_format, binary}]) of
        {ok, {{_, 200, _}, _, Bytes}} -> Bytes;
        {ok, {{_, Status, Reason}, _, _}} ->
            throw([Url, ": the server answered ", integer_to_list(Status), " ", Reason]);
        {error, Reason} -> throw([Url, ": ", why(Reason)])
    end.

%% Certificates are checked against the system's.
tls(<<"https", _/binary>>) ->
    Trusted =
        try
            public_key:cacerts_get()
        catch
            _:_ -> throw("this system has no list of trusted certificates (Debian: ca-certificates)")
        end,
    [{ssl, [
        {verify, verify_peer}, {cacerts, Trusted}, {depth, 10}, {log_level, none},
        {customize_hostname_check, [{match_fun, public_key:pkix_verify_hostname_match_fun(https)}]}
    ]}];
tls(_) -> [].

why({failed_connect, Details}) ->
    Reasons = [Reason || {_, _, Reason} <- Details],
    case Reasons of
        [timeout | _] -> "no connection: no answer in 30 seconds";
        [Reason | _] when is_atom(Reason) -> ["no connection: ", inet:format_error(Reason)];
        [Reason | _] -> io_lib:format("no connection: ~0tp", [Reason]);
        [] -> io_lib:format("no connection: ~0tp", [Details])
    end;
why(socket_closed_remotely) -> "the server closed the connection before the end of the file";
why({shutdown, server_closed}) -> why(socket_closed_remotely);
why(Reason) -> io_lib:format("~0tp", [Reason]).

check_sum(Bytes, Expected, Name) ->
    case binary:encode_hex(crypto:hash(sha256, Bytes), lowercase) of
        Expected -> ok;
        Found ->
            throw([Name, ": wrong checksum: expected the sha256 ", Expected, ", found ", Found, " in ",
                integer_to_list(byte_size(Bytes)), " bytes"])
    end.

unpack(Bytes, Name) ->
    case erl_tar:extract({binary, Bytes}, [memory, compressed]) of
        {ok, [{?LIBRARY, Library}]} -> Library;
        {ok, Files} ->
            Found = lists:join(", ", [File || {File, _} <- Files]),
            throw([Name, ": expected ", ?LIBRARY, " and nothing else, found ", Found]);
        {error, Reason} -> throw([Name, ": not an archive that can be unpacked: ", io_lib:format("~0tp", [Reason])])
    end.

%% What the library itself says that it was built for.
check_header(Library, Target, Name) ->
    Wanted =
        case string:split(Target, "-") of
            ["x86_64", "linux" ++ _] -> {elf, 62};
            ["aarch64", "linux" ++ _] -> {elf, 183};
            ["x86_64", "macos"] -> {mach_o, 16#01000007};
            ["aarch64", "macos"] -> {mach_o, 16#0100000C};
            _ -> unknown
        end,
    case {Wanted, header(Library)} of
        {unknown, _} -> ok;
        {Same, Same} -> ok;
        {_, Found} ->
            throw([Name, ": its library is for another machine: expected ", describe(Wanted), " for ", Target,
                ", found ", describe(Found)])
    end.

header(<<16#7F, "ELF", 2, 1, _:12/binary, Machine:16/little, _/binary>>) -> {elf, Machine};
header(<<16#FEEDFACF:32/little, Machine:32/little, _/binary>>) -> {mach_o, Machine};
header(_) -> neither.

describe({elf, Machine}) -> io_lib:format("ELF machine ~b", [Machine]);
describe({mach_o, Machine}) -> io_lib:format("Mach-O machine ~b", [Machine]);
describe(neither) -> "neither ELF nor Mach-O".

%% Into place.

%% Written beside its place, loaded there by a VM of its own, then renamed.
put_in_place(Library, Priv, Name) ->
    Unique = integer_to_list(erlang:unique_integer([positive])),
    Beside = filename:join(Priv, "install-" ++ os:getpid() ++ "-" ++ Unique),
    File = filename:join([Beside, "priv", ?LIBRARY]),
    try
        %% One at a time: filelib:ensure_path does not say that the first was refused.
        done(Priv, file:make_dir(Beside)),
        done(Beside, file:make_dir(filename:join(Beside, "ebin"))),
        done(Beside, file:make_dir(filename:join(Beside, "priv"))),
        done(File, file:write_file(File, Library)),
        try_out(Beside, Name),
        done(Priv, file:rename(File, filename:join(Priv, ?LIBRARY)))
    after
        file:del_dir_r(Beside)
    end.

done(_, ok) -> ok;
done(Path, {error, Reason}) -> throw([Path, ": ", file:format_error(Reason)]).

%% Only a VM can say whether the system's libraries are new enough for it, and whether it has the functions of this
%% version. Where there is no erl to start, as in some releases, the header has to do.
try_out(Beside, Name) ->
    Candidates = [filename:join([code:root_dir(), "bin", "erl"]), os:find_executable("erl")],
    case {[Erl || Erl <- Candidates, Erl =/= false, filelib:is_regular(Erl)], code:which(viva_tensor_nif)} of
        {[Erl | _], [_ | _] = Beam} ->
            Copy = filename:join([Beside, "ebin", "viva_tensor_nif.beam"]),
            {ok, _} = file:copy(Beam, Copy),
            Ask = "io:put_chars(case viva_tensor_nif:loaded() of true -> \"loaded\"; "
                "false -> {error, {_, Why}} = viva_tensor_nif:read_bandwidth(none), Why end), halt().",
            Words = ["-boot", "no_dot_erlang", "-noinput", "-noshell", "-pa", filename:dirname(Copy), "-eval", Ask],
            case run(Erl, Words, Beside, [], fun(_) -> ok end) of
                {0, <<"loaded">>} -> ok;
                {_, Output} -> throw([Name, ": its library cannot be loaded here: ", string:trim(Output)])
            end;
        _ -> ok
    end.

%% A library that cargo builds.

%% The folder with the sources, beside the priv of a checkout or of a dependency by path.
sources() ->
    Priv = priv(),
    Real =
        case file:read_link_all(Priv) of
            {ok, Link} -> filename:absname(Link, filename:dirname(Priv));
            {error, _} -> Priv
        end,
    Root = filename:dirname(Real),
    case filelib:is_regular(filename:join([Root, "native", "Cargo.toml"])) of
        true -> {ok, Root};
        false -> {error, Root}
    end.

%% As the Makefile calls it, so that neither builds anew what the other has built.
build(Root) ->
    Target = filename:absname(os:getenv("CARGO_TARGET_DIR", filename:join([Root, "native", "target"]))),
    Show = fun(Bytes) -> file:write(standard_error, Bytes) end,
    case cargo() of
        {error, Reason} -> {error, Reason};
        {ok, Cargo} ->
            Arguments = ["build", "--release", "--locked"],
            case run(Cargo, Arguments, filename:join(Root, "native"), [{"CARGO_TARGET_DIR", Target}], Show) of
                {0, _} -> place_built(filename:join([Target, "release", "libviva_tensor_nif." ++ extension()]), Root);
                {Status, _} ->
                    {error, text(["cargo ended with status ", integer_to_list(Status), ": nothing was installed"])}
            end
    end.

place_built(Built, Root) ->
    Library = filename:join([Root, "priv", ?LIBRARY]),
    New = filename:join([Root, "priv", ?LIBRARY ".new"]),
    %% The copy is younger than the sources, also where cargo had nothing to do.
    case {file:copy(Built, New), file:rename(New, Library)} of
        {{ok, _}, ok} -> {ok, <<"the native library was built and is in place">>};
        {{error, Reason}, _} -> {error, text([Built, ": ", file:format_error(Reason)])};
        {_, {error, Reason}} -> {error, text([Library, ": ", file:format_error(Reason)])}
    end.

extension() ->
    case os:type() of
        {unix, darwin} -> "dylib";
        _ -> "so"
    end.

%% rustup puts cargo where only login shells look.
cargo() ->
    InHome = filename:join([os:getenv("HOME", "/"), ".cargo", "bin", "cargo"]),
    case {os:find_executable("cargo"), filelib:is_regular(InHome)} of
        {false, true} -> {ok, InHome};
        {false, false} -> {error, <<"there is no cargo: install Rust (https://rustup.rs) and try again">>};
        {Path, _} -> {ok, Path}
    end.

%% {Status, Output}; each part of the output is shown as it comes.
run(Program, Arguments, Folder, Variables, Show) ->
    Port = open_port({spawn_executable, Program}, [
        {args, Arguments}, {cd, Folder}, {env, Variables}, binary, exit_status, stderr_to_stdout, use_stdio, hide
    ]),
    collect(Port, Show, []).

collect(Port, Show, Parts) ->
    receive
        {Port, {data, Part}} ->
            _ = Show(Part),
            collect(Port, Show, [Part | Parts]);
        {Port, {exit_status, Status}} -> {Status, iolist_to_binary(lists:reverse(Parts))}
    end.

%% What this is and where.

%% Without an application of that name in the code path: beside the ebin that this module lies in.
priv() ->
    case code:priv_dir(viva_tensor) of
        {error, bad_name} -> filename:join(filename:dirname(filename:dirname(code:which(?MODULE))), "priv");
        Path -> Path
    end.

version() ->
    _ = application:load(viva_tensor),
    case application:get_key(viva_tensor, vsn) of
        {ok, Version} -> {ok, Version};
        undefined -> {error, <<"viva_tensor's version is unknown: viva_tensor.app is not in the code path">>}
    end.

archive(Version, Target) -> lists:flatten(["viva_tensor_nif-", Version, "-", Target, ".tar.gz"]).

target() -> target(erlang:system_info(system_architecture)).

%% "x86_64-pc-linux-gnu" -> "x86_64-linux-gnu", "aarch64-apple-darwin24.1.0" -> "aarch64-macos"
target(Architecture) ->
    case string:lexemes(Architecture, "-") of
        [Machine, _, "darwin" ++ _] -> machine(Machine) ++ "-macos";
        [Machine, _, "linux", Library] -> machine(Machine) ++ "-linux-" ++ Library;
        [Machine, "linux", Library] -> machine(Machine) ++ "-linux-" ++ Library;
        _ -> Architecture
    end.

machine("amd64") -> "x86_64";
machine("arm64") -> "aarch64";
machine(Machine) -> Machine.

text(Parts) -> unicode:characters_to_binary(Parts).
