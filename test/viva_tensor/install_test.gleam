//// What the installation refuses, and that it leaves the library that is there
//// as it was.

import support
import viva_tensor/otp

type Bytes

type Manner {
  Whole
  Cut(bytes: Int)
  Status(status: Int)
  Moved(to: String)
}

@external(erlang, "install_test_ffi", "serve")
fn serve(files: List(#(String, Bytes, Manner)), work: fn(String) -> a) -> a

@external(erlang, "install_test_ffi", "serve_untrusted")
fn serve_untrusted(work: fn(String) -> a) -> a

@external(erlang, "install_test_ffi", "has_trusted_list")
fn has_trusted_list() -> Bool

@external(erlang, "install_test_ffi", "archive")
fn archive(entries: List(#(String, Bytes))) -> Bytes

@external(erlang, "install_test_ffi", "elf")
fn elf(machine: Int) -> Bytes

@external(erlang, "viva_tensor_ffi", "bytes")
fn bytes(text: String) -> Bytes

@external(erlang, "erlang", "byte_size")
fn size(bytes: Bytes) -> Int

@external(erlang, "install_test_ffi", "checksum")
fn checksum(bytes: Bytes) -> String

@external(erlang, "install_test_ffi", "priv")
fn priv(names: List(String), contents: List(String)) -> String

@external(erlang, "install_test_ffi", "files")
fn files(folder: String) -> List(String)

@external(erlang, "install_test_ffi", "fetch")
fn fetch(
  place: String,
  priv: String,
  version: String,
  target: String,
) -> Result(String, String)

@external(erlang, "install_test_ffi", "target")
fn target(architecture: String) -> String

@external(erlang, "install_test_ffi", "own_target")
fn own_target() -> String

@external(erlang, "install_test_ffi", "with_sum")
fn with_sum(sum: String, work: fn() -> a) -> a

@external(erlang, "install_test_ffi", "install_command")
fn install_command(words: List(String)) -> #(Int, String)

const intel = "x86_64-linux-gnu"

fn name(target: String) -> String {
  "viva_tensor_nif-1.2.3-" <> target <> ".tar.gz"
}

/// Fetches from a folder with the library "old", of which the list says this
/// sum, and looks whether it is refused with these words and "old" is still
/// there, alone.
fn refused(
  place: String,
  target: String,
  sum: String,
  words: List(String),
) -> Nil {
  let list = sum <> "  " <> name(target) <> "\n"
  let folder = priv(["checksums.txt", "viva_tensor_nif.so"], [list, "old"])
  let assert Error(reason) = fetch(place, folder, "1.2.3", target)
  support.each(["unchanged", ..words], fn(word) {
    let found = otp.split_once(reason, at: word)
    let assert #(Ok(_), _, _) = #(found, word, reason)
  })
  assert files(folder) == ["checksums.txt", "viva_tensor_nif.so"]
  assert otp.read_file(folder <> "/viva_tensor_nif.so") == Ok("old")
}

fn good() -> Bytes {
  archive([#("viva_tensor_nif.so", elf(62))])
}

pub fn a_wrong_checksum_is_refused_test() {
  use url <- serve([#(name(intel), good(), Whole)])
  let wrong = checksum(bytes("something else"))
  refused(url, intel, wrong, ["wrong checksum", wrong, checksum(good())])
}

pub fn a_cut_download_is_refused_test() {
  let length = size(good())
  use url <- serve([#(name(intel), good(), Cut(length - 1))])
  refused(url, intel, checksum(good()), [url, "closed the connection"])
}

pub fn what_the_server_does_not_have_is_refused_test() {
  use url <- serve([#(name(intel), good(), Status(503))])
  refused(url, intel, checksum(good()), ["503"])
  refused(url <> "/elsewhere", intel, checksum(good()), ["404"])
}

pub fn a_server_that_is_not_there_is_refused_test() {
  let gone = serve([], fn(url) { url })
  refused(gone, intel, checksum(good()), [gone, "connection refused"])
}

pub fn another_scheme_is_refused_test() {
  let words = ["ftp://somewhere", "https://", "or a folder"]
  refused("ftp://somewhere", intel, checksum(good()), words)
}

pub fn a_server_that_nobody_vouches_for_is_refused_test() {
  use url <- serve_untrusted
  // Without a list nobody can vouch for anybody.
  let words = case has_trusted_list() {
    True -> [url, "unknown_ca"]
    False -> ["no list of trusted certificates"]
  }
  refused(url, intel, checksum(good()), words)
}

pub fn another_machine_than_the_listed_ones_is_refused_test() {
  let list = checksum(good()) <> "  " <> name(intel) <> "\n"
  let folder = priv(["checksums.txt", "viva_tensor_nif.so"], [list, "old"])
  let assert Error(reason) =
    fetch("anywhere", folder, "1.2.3", "riscv64-linux-gnu")
  let words = ["riscv64-linux-gnu", "1.2.3", name(intel), "unchanged"]
  support.each(words, fn(word) {
    let assert Ok(_) = otp.split_once(reason, at: word)
  })
  // Nor does another version's library serve.
  let assert Error(_) = fetch("anywhere", folder, "1.2.4", intel)
  assert otp.read_file(folder <> "/viva_tensor_nif.so") == Ok("old")
}

pub fn a_library_for_another_machine_is_refused_test() {
  use url <- serve([
    #(name("aarch64-linux-gnu"), good(), Whole),
    #(name("aarch64-macos"), good(), Whole),
  ])
  let sum = checksum(good())
  let words = ["for another machine", "ELF machine 62"]
  refused(url, "aarch64-linux-gnu", sum, ["ELF machine 183", ..words])
  refused(url, "aarch64-macos", sum, ["Mach-O", ..words])
}

pub fn a_library_that_does_not_load_is_refused_test() {
  // 243 is no machine that a test runs on, but the header is not asked there.
  let broken = archive([#("viva_tensor_nif.so", elf(243))])
  use url <- serve([#(name("other"), broken, Whole)])
  refused(url, "other", checksum(broken), ["cannot be loaded here"])
}

pub fn another_content_is_refused_test() {
  let empty = archive([])
  let two =
    archive([#("viva_tensor_nif.so", elf(62)), #("../evil", bytes("evil"))])
  let none = bytes("no archive")
  use url <- serve([
    #(name("empty"), empty, Whole),
    #(name("two"), two, Whole),
    #(name("none"), none, Whole),
  ])
  refused(url, "empty", checksum(empty), ["expected viva_tensor_nif.so"])
  refused(url, "two", checksum(two), ["expected viva_tensor_nif.so", "evil"])
  refused(url, "none", checksum(none), ["not an archive"])
}

pub fn without_a_list_nothing_is_fetched_test() {
  let folder = priv(["viva_tensor_nif.so"], ["old"])
  let assert Error(reason) = fetch("anywhere", folder, "1.2.3", intel)
  let assert Ok(_) = otp.split_once(reason, at: "checksums.txt: no such file")
  assert files(folder) == ["viva_tensor_nif.so"]
}

/// In a checkout the user vouches for a sum; a list, where there is one, counts
/// alone.
pub fn a_sum_of_the_user_test() {
  use url <- serve([#(name(intel), good(), Whole)])
  let fetch_with = fn(sum, folder) {
    use <- with_sum(sum)
    let assert Error(reason) = fetch(url, folder, "1.2.3", intel)
    reason
  }
  let bare = fn() { priv(["viva_tensor_nif.so"], ["old"]) }
  let wrong = checksum(bytes("something else"))
  let listed =
    priv(["checksums.txt"], [checksum(good()) <> "  " <> name(intel) <> "\n"])
  use #(reason, words) <- support.each([
    #(fetch_with("", bare()), ["checksums.txt: ", "VIVA_TENSOR_SHA256"]),
    #(fetch_with("12ab", bare()), ["64 hexadecimal digits, found 12ab"]),
    #(fetch_with(wrong, bare()), ["wrong checksum", wrong, "unchanged"]),
    // Right sums: what is in that archive is no library, and so does not load.
    #(fetch_with(checksum(good()), bare()), ["cannot be loaded", "unchanged"]),
    #(fetch_with(wrong, listed), ["cannot be loaded"]),
  ])
  use word <- support.each(words)
  let assert #(_, _, Ok(_)) = #(reason, word, otp.split_once(reason, at: word))
}

pub fn a_folder_that_cannot_be_read_is_refused_test() {
  refused("no/such/folder", intel, checksum(good()), [
    "no/such/folder/" <> name(intel),
    "no such file",
  ])
}

pub fn a_redirection_is_followed_test() {
  use url <- serve([
    #(name(intel), bytes(""), Moved("there")),
    #("there", bytes("another archive"), Whole),
  ])
  refused(url, intel, checksum(good()), [checksum(bytes("another archive"))])
}

pub fn targets_test() {
  use #(architecture, expected) <- support.each([
    #("x86_64-pc-linux-gnu", "x86_64-linux-gnu"),
    #("aarch64-unknown-linux-gnu", "aarch64-linux-gnu"),
    #("x86_64-alpine-linux-musl", "x86_64-linux-musl"),
    #("x86_64-linux-gnu", "x86_64-linux-gnu"),
    #("aarch64-apple-darwin24.1.0", "aarch64-macos"),
    #("x86_64-apple-darwin21.6.0", "x86_64-macos"),
    #("amd64-portbld-freebsd14.0", "amd64-portbld-freebsd14.0"),
    #("win32", "win32"),
  ])
  assert target(architecture) == expected
}

pub fn wrong_usage_says_how_test() {
  use words <- support.each([
    ["--from"],
    ["somewhere"],
    ["--build", "--from", "somewhere"],
  ])
  let #(status, output) = install_command(words)
  assert #(words, status) == #(words, 2)
  let assert Ok(_) = otp.split_once(output, at: "--from X")
}

pub fn the_help_says_how_test() {
  let #(status, output) = install_command(["--help"])
  assert status == 0
  let assert Ok(_) = otp.split_once(output, at: "VIVA_TENSOR_URL")
}

pub fn an_error_of_the_command_test() {
  let #(status, output) = install_command(["--from", "no/such/folder"])
  assert status == 1
  let assert Ok(_) = otp.split_once(output, at: "error: ")
  assert own_target() != ""
}
