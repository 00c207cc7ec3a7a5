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

-export([tensor_contiguous/5, tensor_first_non_finite/2, tensor_cast/3, tensor_binary/4, tensor_unary/3]).
-export([tensor_rows/5, tensor_matmul/8, tensor_conv2d/4, tensor_pool2d/4]).

-nifs([tensor_contiguous/5, tensor_first_non_finite/2, tensor_cast/3, tensor_binary/4, tensor_unary/3]).
-nifs([tensor_rows/5, tensor_matmul/8, tensor_conv2d/4, tensor_pool2d/4]).

-export([device_put/2, device_get/1, device_contiguous/4, device_first_non_finite/2, device_cast/3, device_unary/3]).
-export([device_binary/7, device_rows/5, device_matmul/6, device_gather/4, device_join/2]).

-nifs([device_put/2, device_get/1, device_contiguous/4, device_first_non_finite/2, device_cast/3, device_unary/3]).
-nifs([device_binary/7, device_rows/5, device_matmul/6, device_gather/4, device_join/2]).

-export([packed_pack/5, packed_unpack/1, packed_linear/4]).
-export([device_pack/5, device_unpack/1, device_products/1, device_linear/5]).

-nifs([packed_pack/5, packed_unpack/1, packed_linear/4]).
-nifs([device_pack/5, device_unpack/1, device_products/1, device_linear/5]).

-on_load(on_load/0).

-define(ANSWER, {?MODULE, answer}).

on_load() ->
    case {erlang:load_nif(filename:join(priv(), "viva_tensor_nif"), 0), erlang:module_loaded(?MODULE)} of
        {ok, _} ->
            persistent_term:erase(?ANSWER),
            ok;
        %% A hot reload: to accept it would replace the code that runs by the bodies below.
        {{error, _} = Error, true} ->
            Error;
        {{error, {_, Text}}, false} ->
            persistent_term:put(?ANSWER, answer(unicode:characters_to_binary(Text))),
            ok
    end.

%% An application that is only on the code path has no lib dir: then priv lies beside ebin.
priv() ->
    case code:priv_dir(viva_tensor) of
        {error, bad_name} -> filename:join(filename:dirname(filename:dirname(code:which(?MODULE))), "priv");
        Path -> Path
    end.

answer(Reason) -> {error, {nif_not_loaded, Reason}}.

%% The whole answer is kept, and not its reason, for Dialyzer takes what a body below returns for all that the function
%% ever does: that comes from where it does not look.
not_loaded() -> persistent_term:get(?ANSWER, answer(<<"the library lacks this function">>)).

%% Whether the native library serves the calls.
loaded() -> not_loaded() =:= loaded.

%% (Path, {load_options, auto | cpu, {some, Context} | none, {some, Threads} | none, Weights}) -> Loader
%% Weights: keep | fp8 | int8 | {int4, 32 | 64 | 128} | int8_sparse24 | int4_sparse24
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

%% Tensors: little-endian elements of Dtype, float64 | float32 | float16 | b_float16. viva_tensor_beam.erl says what
%% each of these does.

%% (Width, Shape, Strides, Offset, Data) -> Data
tensor_contiguous(_Width, _Shape, _Strides, _Offset, _Data) -> not_loaded().

%% (Dtype, Data) -> Index | -1
tensor_first_non_finite(_Dtype, _Data) -> not_loaded().

%% (From, To, Data) -> Data
tensor_cast(_From, _To, _Data) -> not_loaded().

%% (add | subtract | ..., Dtype, Data, Data) -> Data
tensor_binary(_Op, _Dtype, _A, _B) -> not_loaded().

%% (exp | {scale, Factor} | ..., Dtype, Data) -> Data
tensor_unary(_Op, _Dtype, _A) -> not_loaded().

%% (sum | {layer_norm, Epsilon} | ..., From, To, Data, Length) -> Data
tensor_rows(_Op, _From, _To, _A, _Length) -> not_loaded().

%% (Dtype, M, K, N, Data, {RowStride, ColumnStride}, Data, {RowStride, ColumnStride}) -> Data
tensor_matmul(_Dtype, _M, _K, _N, _A, _AStrides, _B, _BStrides) -> not_loaded().

%% (Dtype, Data, Data, {convolution_size, N, C, H, W, O, KH, KW, SH, SW, PH, PW}) -> Data
tensor_conv2d(_Dtype, _Input, _Kernel, _Size) -> not_loaded().

%% (max | mean, Dtype, Data, {pool_size, Planes, H, W, PH, PW, SH, SW}) -> Data
tensor_pool2d(_Op, _Dtype, _Input, _Size) -> not_loaded().

%% Tensors on a GPU: a Block is {block, Resource, Device, Start, Bytes}, a part of a resource's memory; of an operation
%% comes a new one. Strides count elements. Otherwise as above.

%% (Device, Data) -> Block
device_put(_Device, _Data) -> not_loaded().

%% (Block) -> Data
device_get(_Block) -> not_loaded().

%% (Width, Shape, Strides, Block) -> Block
device_contiguous(_Width, _Shape, _Strides, _Block) -> not_loaded().

%% (Dtype, Block) -> Index | -1
device_first_non_finite(_Dtype, _Block) -> not_loaded().

%% (From, To, Block) -> Block
device_cast(_From, _To, _Block) -> not_loaded().

%% (exp | {scale, Factor} | ..., Dtype, Block) -> Block
device_unary(_Op, _Dtype, _Block) -> not_loaded().

%% (add | subtract | ..., Dtype, Shape, Block, Strides, Block, Strides) -> Block
device_binary(_Op, _Dtype, _Shape, _A, _AStrides, _B, _BStrides) -> not_loaded().

%% (sum | {layer_norm, Epsilon} | ..., From, To, Block, Length) -> Block
device_rows(_Op, _From, _To, _Block, _Length) -> not_loaded().

%% (Dtype, {Batch, M, K, N}, Block, {BatchStride, RowStride, ColumnStride}, Block, {...}) -> Block
device_matmul(_Dtype, _Sizes, _A, _AStrides, _B, _BStrides) -> not_loaded().

%% (Length, RunBytes, [Index], Block) -> Block: [outer][Length] runs -> [outer][indices]
device_gather(_Length, _Run, _Indices, _Block) -> not_loaded().

%% (Outer, [{Block, RunBytes}]) -> Block: Outer lines, each a run of every block
device_join(_Outer, _Parts) -> not_loaded().

%% Packed weights: little-endian float32 elements. viva_tensor_packed.erl says what each of these does.

%% (Format, Inputs, Outputs, Transposed, Data) -> {packed, Resource, Bytes, RelativeError, LargestError, Pruned}
packed_pack(_Format, _Inputs, _Outputs, _Transposed, _Data) -> not_loaded().

%% (Resource) -> Data
packed_unpack(_Resource) -> not_loaded().

%% (Resource, float | rounded_fp8 | rounded_int8, Data, Bias | <<>>) -> Data
packed_linear(_Resource, _Activations, _Input, _Bias) -> not_loaded().

%% The same on a GPU: float32 elements in Blocks; the weight stays on the device, and products are queued there.

%% (Format, Inputs, Outputs, Transposed, Block) -> {packed, Resource, Bytes, RelativeError, LargestError, Pruned}
device_pack(_Format, _Inputs, _Outputs, _Transposed, _Weight) -> not_loaded().

%% (Resource) -> Block
device_unpack(_Resource) -> not_loaded().

%% (Resource) -> Text: who multiplies
device_products(_Resource) -> not_loaded().

%% (Resource, float | rounded_fp8 | rounded_int8, float32 | b_float16 of the input, Block, {bias, Block} | no_bias) -> Block
device_linear(_Resource, _Activations, _Dtype, _Input, _Bias) -> not_loaded().
