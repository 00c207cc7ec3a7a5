%% The only NIF module, shared by Gleam and Elixir: one call is one bounded slice of work.
%%
%% Every function returns {ok, Value} or {error, Error}; no argument raises. An Error is the tuple or atom that
%% the variant of that name in viva_tensor.gleam is. The bodies below run only while no native library is loaded.
%% The surprise: loading never fails for want of the library; then every call answers
%% {error, {nif_not_loaded, Reason}}, and loaded/0 says false.
-module(viva_tensor_nif).

-export([loaded/0, load_open/2, load_step/1, model_info/1, tokenize/3, detokenize/3, render/3]).
-export([open/1, submit/3, step/1, cancel/1, close/1, read_bandwidth/1]).

-nifs([loaded/0, load_open/2, load_step/1, model_info/1, tokenize/3, detokenize/3, render/3]).
-nifs([open/1, submit/3, step/1, cancel/1, close/1, read_bandwidth/1]).

-on_load(on_load/0).

-define(REASON, {?MODULE, reason}).

on_load() ->
    case {erlang:load_nif(filename:join(priv(), "viva_tensor_nif"), 0), erlang:module_loaded(?MODULE)} of
        {ok, _} ->
            persistent_term:erase(?REASON),
            ok;
        %% A hot reload: to accept it would replace the code that runs by the bodies below.
        {{error, _} = Error, true} ->
            Error;
        {{error, {_, Text}}, false} ->
            persistent_term:put(?REASON, unicode:characters_to_binary(Text)),
            ok
    end.

%% An application that is only on the code path has no lib dir: then priv lies beside ebin.
priv() ->
    case code:priv_dir(viva_tensor) of
        {error, bad_name} -> filename:join(filename:dirname(filename:dirname(code:which(?MODULE))), "priv");
        Path -> Path
    end.

not_loaded() ->
    {error, {nif_not_loaded, persistent_term:get(?REASON, <<"the library lacks this function">>)}}.

%% Whether the native library serves the calls.
loaded() -> false.

%% (Path, {load_options, auto | cpu, {some, Context} | none, {some, Threads} | none}) -> Loader
load_open(_Path, _Options) -> not_loaded().

%% (Loader) -> {loading, DoneBytes, TotalBytes} | {ready, Model}
load_step(_Loader) -> not_loaded().

%% (Model) -> {model_info, Architecture, Source, Weights, ...}
model_info(_Model) -> not_loaded().

%% (Model, Text, boolean()) -> [Id]
tokenize(_Model, _Text, _AddSpecial) -> not_loaded().

%% (Model, [Id], boolean()) -> Text
detokenize(_Model, _Ids, _SkipSpecial) -> not_loaded().

%% (Model, [{message, Role, Content}], boolean()) -> Text
render(_Model, _Messages, _AddGenerationPrompt) -> not_loaded().

%% (Model) -> Session
open(_Model) -> not_loaded().

%% (Session, {text, Text} | {chat, Messages} | {tokens, [Id]}, {request, ...}) -> {submitted, PromptIds, Cached}
submit(_Session, _Prompt, _Request) -> not_loaded().

%% ([Session]) -> [{ok, {progress, Text, Ids, Logprobs, Status}} | {error, Error}]
step(_Sessions) -> not_loaded().

%% (Session) -> {timings, PrefillTokens, PrefillSeconds, DecodeTokens, DecodeSeconds}; ends the turn
cancel(_Session) -> not_loaded().

%% (Session) -> nil; frees the cache at once
close(_Session) -> not_loaded().

%% ({some, Threads} | none) -> bytes a second
read_bandwidth(_Threads) -> not_loaded().
