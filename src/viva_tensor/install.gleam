//// Puts the native library in its place, and says what there is to compute
//// with.
////
//// ```sh
//// gleam run -m viva_tensor/install
//// ```
////
//// The work is done in viva_tensor_install.erl, which Mix uses, too. The
//// surprise: nothing here may ask for devices before the library is in place,
//// because the VM looks for it once.

import viva_tensor as t
import viva_tensor/native
import viva_tensor/otp

const help = "Puts viva_tensor's native library in its place.

  gleam run -m viva_tensor/install              builds it where the sources and
                                                cargo are there
  gleam run -m viva_tensor/install -- --from X  fetches a prebuilt one
  gleam run -m viva_tensor/install -- --build   builds it, or says why not

  --from X   the URL (http or https) or the folder in which the archives lie;
             {version} in it stands for this package's version. Without it the
             environment variable VIVA_TENSOR_URL says where.
  --build    build with cargo, also where VIVA_TENSOR_URL is set
  --help     this text

A fetched library has to have the sha256 that this package's
priv/checksums.txt says, and to load in a VM of its own, before it takes the
place of the one that is there. In a checkout, which has no such list, the
environment variable VIVA_TENSOR_SHA256 says it.
"

type How {
  Any
  Build
}

type Wanted {
  Install(from: native.Maybe(String), how: How)
  Help
  Wrong(reason: String)
}

@external(erlang, "viva_tensor_install", "install")
fn install(from: native.Maybe(String), how: How) -> Result(String, String)

/// Does what the command line's arguments say, and ends the VM: with 0, with 1
/// after an error, or with 2 after wrong usage.
pub fn main() -> Nil {
  otp.set_up_terminal()
  otp.halt(case otp.arguments() {
    Ok(words) -> run(words)
    Error(_) -> run(["an argument that is not UTF-8"])
  })
}

/// Does what the words say and returns the exit status.
pub fn run(words: List(String)) -> Int {
  case parse(words, Install(native.None, Any)) {
    Help -> {
      otp.write(help)
      0
    }
    Wrong(reason) -> {
      otp.write_error("error: " <> reason <> "\n\n" <> help)
      2
    }
    Install(from: native.Some(_), how: Build) ->
      run(["either --from or --build"])
    Install(from:, how:) ->
      case install(from, how) {
        Ok(done) -> {
          otp.write(done <> "\n\n" <> devices())
          0
        }
        Error(reason) -> {
          otp.write_error("error: " <> reason <> "\n")
          1
        }
      }
  }
}

fn parse(words: List(String), wanted: Wanted) -> Wanted {
  case words, wanted {
    [], _ -> wanted
    ["--help", ..], _ | ["-h", ..], _ -> Help
    ["--from"], _ -> Wrong("--from needs a URL or a folder")
    ["--from", place, ..rest], Install(how:, ..)
    | ["--from=" <> place, ..rest], Install(how:, ..)
    -> parse(rest, Install(native.Some(place), how))
    ["--build", ..rest], Install(from:, ..) -> parse(rest, Install(from, Build))
    [word, ..], _ -> Wrong("unknown: " <> word)
  }
}

fn devices() -> String {
  otp.concat({
    use device <- otp.map(t.devices())
    let availability = case device.availability {
      t.Available -> "available"
      t.Missing -> "missing"
    }
    otp.pad(device.name, to: 6)
    <> otp.pad(availability, to: 11)
    <> device.note
    <> "\n"
  })
}
