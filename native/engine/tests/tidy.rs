//! The rules of the house, read off the sources of the whole repository: who may use what, what each file opens with,
//! where `unsafe` lives and what stands beside it.
//!
//! Each rule is a test, and a break is named by file and line. A rule works on a `Source`, whose code and comments are
//! apart, so a word in a comment breaks nothing. The surprise: each rule is tried on a text that breaks it, too.

use std::{
    collections::BTreeSet,
    fs,
    ops::Range,
    path::{Path, PathBuf},
};

use tidy_source::{Language, Source, line_of, words};

mod tidy_source;

/// A file wants to be two nouns from here on.
const LINES: usize = 600;

/// Files that may be longer, and why.
const LONG: [(&str, &str); 1] =
    [("src/viva_tensor.gleam", "the facade: Gleam cannot export a variant again, so all of them are defined there")];

/// The engine's rooms, from the ground up: each may use those before it and no other.
const FLOORS: [&str; 15] = [
    "error",
    "dtype",
    "bounded",
    "buffer",
    "quant",
    "sampler",
    "checkpoint",
    "tokenizer",
    "model",
    "chat",
    "backend",
    "tensor",
    "loaded",
    "loader",
    "session",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Paths of all files that are ours, but for fixtures and what tools have built.
fn files() -> Vec<String> {
    let mut paths = vec![];
    walk(&root(), "", &mut paths);
    assert!(paths.len() > 100, "the repository was not found");
    paths
}

fn walk(root: &Path, folder: &str, paths: &mut Vec<String>) {
    const BUILT: [&str; 9] =
        ["build", "_build", "deps", "target", ".git", ".toolchain", "fixtures", "results", "__pycache__"];
    for entry in fs::read_dir(root.join(folder)).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if BUILT.contains(&name.as_str()) {
            continue;
        }
        let path = if folder.is_empty() { name.clone() } else { format!("{folder}/{name}") };
        if entry.file_type().unwrap().is_file() {
            paths.push(path);
        } else if entry.file_type().unwrap().is_dir() {
            walk(root, &path, paths);
        }
    }
}

/// Our Rust, Gleam and Erlang files.
fn sources() -> Vec<Source> {
    files().iter().filter_map(|path| Source::read(&root(), path)).collect()
}

fn is_test(path: &str) -> bool {
    path.starts_with("test/") || path.contains("/tests/") || path.ends_with("/tests.rs")
}

/// Fails with all breaks of a rule.
fn none(rule: &str, breaks: Vec<String>) {
    assert!(breaks.is_empty(), "{rule}:\n  {}", breaks.join("\n  "));
}

fn at(source: &Source, position: usize) -> String {
    format!("{}:{}", source.path, line_of(&source.code, position))
}

fn rust(path: &str, text: &str) -> Source {
    Source::new(path, Language::Rust, text.into())
}

// Who uses what.

/// Places where a word stands in the code of files that may not say it.
fn word_outside(sources: &[Source], word: &str, allowed: impl Fn(&str) -> bool) -> Vec<String> {
    let breaks = |source: &Source| words(&source.code, word).map(|position| at(source, position)).collect::<Vec<_>>();
    sources.iter().filter(|source| !allowed(&source.path)).flat_map(breaks).collect()
}

fn rust_sources() -> Vec<Source> {
    sources().into_iter().filter(|source| source.language == Language::Rust).collect()
}

const CPU: &str = "native/engine/src/backend/cpu/";
const CUDA: &str = "native/engine/src/backend/cuda/";
const BACKENDS: &str = "native/engine/src/backend/";

#[test]
fn rustler_is_the_nifs_alone() {
    let sources = rust_sources();
    none("rustler outside native/nif", word_outside(&sources, "rustler", |path| path.starts_with("native/nif/")));
    let manifest = fs::read_to_string(root().join("native/engine/Cargo.toml")).unwrap();
    assert_eq!(words(&manifest, "rustler").count(), 0, "the engine depends on rustler");
    assert_eq!(word_outside(&[rust("a.rs", "use rustler::Term;")], "rustler", |_| false), ["a.rs:1"]);
}

#[test]
fn cudarc_is_the_cuda_backends_alone() {
    let sources = rust_sources();
    none("cudarc outside backend/cuda", word_outside(&sources, "cudarc", |path| path.starts_with(CUDA)));
}

#[test]
fn cpu_and_cuda_never_meet() {
    let sources = rust_sources();
    none("backend/cpu names cuda", word_outside(&sources, "cuda", |path| !path.starts_with(CPU)));
    none("backend/cuda names cpu", word_outside(&sources, "cpu", |path| !path.starts_with(CUDA)));
}

#[test]
fn unsafe_is_the_backends_alone() {
    let allowed = |path: &str| path.starts_with(BACKENDS) || is_test(path) || path.contains("/examples/");
    none("unsafe outside backend/", word_outside(&rust_sources(), "unsafe", allowed));
}

/// The rooms that a file of the engine uses: `a` and `b` of `crate::a::x` and `crate::{b::y}`.
fn rooms_used(code: &str) -> BTreeSet<String> {
    let name = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let mut rooms = BTreeSet::new();
    for (position, _) in code.match_indices("crate::") {
        let rest = &code[position + "crate::".len()..];
        let Some(group) = rest.strip_prefix('{') else {
            rooms.insert(name(rest));
            continue;
        };
        let (mut depth, mut fresh) = (0, true);
        for (i, found) in group.char_indices() {
            match found {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => fresh = true,
                found if fresh && depth == 0 && !found.is_whitespace() => {
                    rooms.insert(name(&group[i..]));
                    fresh = false;
                }
                _ => {}
            }
        }
    }
    rooms
}

/// Uses of a room that lies above the file's own.
fn climbs(source: &Source) -> Vec<String> {
    let Some(inside) = source.path.strip_prefix("native/engine/src/") else { return vec![] };
    let own = inside.split(['/', '.']).next().unwrap();
    if own == "lib" || is_test(&source.path) {
        return vec![];
    }
    let floor = |room: &str| FLOORS.iter().position(|floor| *floor == room);
    let Some(height) = floor(own) else { return vec![format!("{}: {own} has no floor", source.path)] };
    let used = rooms_used(&source.code_outside_tests());
    let too_high = used.iter().filter(|room| *room != own && floor(room).is_none_or(|floor| floor >= height));
    too_high.map(|room| format!("{} uses {room}", source.path)).collect()
}

#[test]
fn imports_go_down() {
    none("an import goes up", rust_sources().iter().flat_map(climbs).collect());
    let text = "use crate::{error::{Error, Result}, session, self::x};\nfn f() { crate::loader::g() }";
    let breaks = climbs(&rust("native/engine/src/quant/x.rs", text));
    assert_eq!(breaks.len(), 3, "{breaks:?}");
    assert!(breaks.iter().any(|text| text.ends_with("uses session")), "{breaks:?}");
    assert!(breaks.iter().any(|text| text.ends_with("uses loader")), "{breaks:?}");
}

#[test]
fn gleam_imports_go_down() {
    let imports = |source: &Source, module: &str| {
        source.code.lines().any(|line| {
            let imported = line.strip_prefix("import ").map(|rest| rest.split(['.', ' ']).next());
            imported.flatten() == Some(module)
        })
    };
    for source in sources().iter().filter(|source| source.path.starts_with("src/viva_tensor/")) {
        let command_line =
            source.path.starts_with("src/viva_tensor/cli") || source.path == "src/viva_tensor/install.gleam";
        assert!(command_line || !imports(source, "viva_tensor"), "{} imports the facade above it", source.path);
        let above =
            ["cli", "cli/argument", "cli/measure", "cli/ticker", "install"].map(|name| format!("viva_tensor/{name}"));
        for module in above {
            assert!(command_line || !imports(source, &module), "{} imports the command line", source.path);
        }
    }
}

// What may not be said.

#[test]
fn nothing_panics_by_intent() {
    let exempt = |source: &&Source| source.path.starts_with("native/") && source.path.contains("/src/");
    let breaks = rust_sources().iter().filter(exempt).flat_map(panics).collect();
    none("unwrap, expect or a panic outside tests", breaks);
    let text = "fn f() { a.unwrap(); // b.unwrap()\n \"panic!\"; c.expect(\"x\") }\n#[cfg(test)]\nmod tests { fn g() { panic!() } }";
    assert_eq!(panics(&rust("native/engine/src/a.rs", text)), ["native/engine/src/a.rs:1", "native/engine/src/a.rs:2"]);
}

fn panics(source: &Source) -> Vec<String> {
    if is_test(&source.path) {
        return vec![];
    }
    let code = source.code_outside_tests();
    let said = [".unwrap()", ".expect(", "panic!", "todo!", "unimplemented!", "unreachable!"];
    let places = said.iter().flat_map(|said| code.match_indices(said)).map(|(position, _)| position);
    places.collect::<BTreeSet<_>>().into_iter().map(|position| at(source, position)).collect()
}

#[test]
fn the_library_asserts_nothing_in_gleam() {
    let library = sources().into_iter().filter(|source| source.path.starts_with("src/")).collect::<Vec<_>>();
    for word in ["assert", "panic", "todo"] {
        let breaks = word_outside(&library, word, |path| !path.ends_with(".gleam"));
        none(&format!("{word} in the library"), breaks);
    }
    let breaking = Source::new("src/a.gleam", Language::Gleam, "/// let assert\nlet assert Ok(a) = \"panic\"".into());
    assert_eq!(word_outside(&[breaking], "assert", |_| false), ["src/a.gleam:2"]);
}

#[test]
fn no_path_of_somebodys_machine() {
    // Put together here, so that this file does not say them.
    let paths: Vec<String> = ["home", "root", "tmp", "work", "Users"].iter().map(|name| format!("/{name}/")).collect();
    let mut breaks = vec![];
    for file in files() {
        let Ok(text) = fs::read_to_string(root().join(&file)) else { continue };
        let found = paths.iter().flat_map(|path| text.match_indices(path.as_str()));
        breaks.extend(found.map(|(position, path)| format!("{file}:{}: {path}", line_of(&text, position))));
    }
    none("a path of one machine", breaks);
}

// What has to be said.

#[test]
fn files_open_with_what_they_are() {
    let opening = |source: &Source| match source.language {
        Language::Rust => "//! ",
        Language::Gleam => "//// ",
        Language::Erlang => "%% ",
    };
    let silent = sources().into_iter().filter(|source| !source.text.starts_with(opening(source)));
    none("a file that does not open with what it is", silent.map(|source| source.path).collect());
}

#[test]
fn files_are_a_noun_each() {
    let long = sources().into_iter().map(|source| (source.text.lines().count(), source.path));
    let long: Vec<_> = long.filter(|(lines, _)| *lines > LINES).collect();
    let known = |path: &str| LONG.iter().any(|(known, _)| *known == path);
    let breaks = long.iter().filter(|(_, path)| !known(path)).map(|(lines, path)| format!("{path}: {lines} lines"));
    none("a file that wants to be two", breaks.collect());
}

/// A place in braces.
struct Scope {
    /// What stands before its brace, back to the last statement's end.
    header: String,
    /// Whether a comment above or in that header, or a `SAFETY of the bodies` within, says why its insides are safe.
    told: bool,
}

/// Uses of `unsafe` that nothing explains.
///
/// A use is explained when "SAFETY" or "# Safety" stands in a comment
/// - of its statement: in one of its lines up to `unsafe`, or in the comment and attribute lines right above it; or
/// - of a function, trait, impl, macro or module around it, right above that one's header; or
/// - that begins with "SAFETY of the bodies", before it and in the same braces, or in braces around it.
///
/// An `unsafe fn(…)` that is a type does nothing. An `unsafe fn` is explained by such a comment within its body, too: there it says on what the body relies. One of an
/// `impl Trait for` is explained by the trait, where one of `contracts` has that name.
fn unexplained(source: &Source, contracts: &BTreeSet<String>) -> Vec<String> {
    let comments: Vec<&str> = source.comments.lines().collect();
    let code: Vec<&str> = source.code.lines().collect();
    let tells = |line: usize| comments[line].contains("SAFETY") || comments[line].contains("# Safety");
    // The comment and attribute lines right above a line.
    let told_above = |line: usize| {
        let above = (0..line).rev();
        let attached = |line: &usize| {
            let code = code[*line].trim();
            code.starts_with("#[") || (code.is_empty() && !comments[*line].trim().is_empty())
        };
        above.take_while(attached).any(tells)
    };
    let mut breaks = vec![];
    let mut scopes = vec![Scope { header: String::new(), told: false }];
    // The statement that is being read, and the line that it began in.
    let (mut statement, mut began) = (String::new(), 0);
    for (number, line) in code.iter().enumerate() {
        if comments[number].contains("SAFETY of the bodies")
            && let Some(scope) = scopes.last_mut()
        {
            scope.told = true;
        }
        for (column, found) in line.char_indices() {
            if statement.trim().is_empty() && !found.is_whitespace() {
                began = number;
            }
            if words(line, "unsafe").any(|position| position == column) && !is_pointer_type(&line[column..]) {
                let by_statement = (began..=number).any(tells) || told_above(began) || told_above(number);
                let by_trait = scopes.iter().any(|scope| {
                    let header = scope.header.split_whitespace().collect::<Vec<_>>();
                    let implements = header.windows(2).any(|pair| {
                        pair[1] == "for" && contracts.contains(pair[0].split(['<', ':']).next().unwrap_or_default())
                    });
                    header.contains(&"impl") && implements
                });
                let by_body = body_lines(&code, number, column).any(tells);
                if !by_statement && !by_trait && !by_body && !scopes.iter().any(|scope| scope.told) {
                    breaks.push(format!("{}:{}", source.path, number + 1));
                }
            }
            match found {
                '{' => {
                    let told = told_above(began) || (began..=number).any(tells);
                    scopes.push(Scope { header: std::mem::take(&mut statement), told: told && is_item(&code, began) });
                }
                '}' => {
                    scopes.pop();
                    statement.clear();
                }
                ';' => statement.clear(),
                _ => statement.push(found),
            }
        }
        statement.push('\n');
    }
    breaks
}

/// `unsafe fn(i32)` and `unsafe extern "C" fn(i32)`: types, which do nothing.
fn is_pointer_type(code: &str) -> bool {
    let rest = code.strip_prefix("unsafe").unwrap_or(code).trim_start();
    let rest = match rest.strip_prefix("extern") {
        Some(rest) => rest.trim_start().trim_start_matches(['"', ' ']),
        None => rest,
    };
    rest.starts_with("fn(")
}

/// The lines of the body of an `unsafe fn` that begins at a place; none for anything else.
fn body_lines(code: &[&str], number: usize, column: usize) -> Range<usize> {
    let is_function = code[number][column..].split_whitespace().nth(1) == Some("fn");
    let mut depth = 0;
    for (line, text) in code.iter().enumerate().skip(number).take_while(|_| is_function) {
        for found in text.chars() {
            depth += i32::from("{([".contains(found)) - i32::from("})]".contains(found));
            if depth == 0 && (found == ';' || found == '}') {
                return number..line + 1;
            }
        }
    }
    number..number
}

/// Whether a function, trait, impl, macro or module begins in a line, or below its attributes.
fn is_item(code: &[&str], began: usize) -> bool {
    let head: Vec<&str> = code[began..].iter().take(6).flat_map(|line| line.split_whitespace()).take(12).collect();
    head.iter().any(|word| ["fn", "trait", "impl", "mod", "macro_rules!"].contains(word) || word.starts_with("impl<"))
}

/// Traits of the backends whose documentation has a `# Safety` section.
fn contracts(sources: &[Source]) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for source in sources {
        let comments: Vec<&str> = source.comments.lines().collect();
        let mut safety = false;
        for (line, comment) in source.code.lines().zip(&comments) {
            safety |= comment.contains("# Safety");
            if let Some((_, rest)) = line.split_once("trait ")
                && safety
            {
                names.extend(rest.split(['<', ':', ' ']).next().map(str::to_owned));
            }
            safety &= line.trim().is_empty() || line.trim().starts_with("#[");
        }
    }
    names
}

#[test]
fn every_unsafe_says_why() {
    let sources: Vec<Source> = rust_sources().into_iter().filter(|source| source.path.starts_with(BACKENDS)).collect();
    let contracts = contracts(&sources);
    none("unsafe without a word", sources.iter().flat_map(|source| unexplained(source, &contracts)).collect());

    let breaks = |text: &str| unexplained(&rust("a.rs", text), &BTreeSet::from(["Simd".into()])).len();
    assert_eq!(breaks("fn f() {\n    unsafe { g() }\n}"), 1);
    assert_eq!(breaks("fn f() {\n    // SAFETY: g asks for nothing.\n    unsafe { g() }\n    unsafe { g() }\n}"), 1);
    assert_eq!(breaks("/// # Safety\n/// None.\nunsafe fn f() {\n    unsafe { g() }\n}\nunsafe fn h() {}"), 1);
    assert_eq!(breaks("impl Simd for A {\n    unsafe fn f() {}\n}\nimpl Other for A {\n    unsafe fn f() {}\n}"), 1);
    assert_eq!(breaks("unsafe fn f() {\n    // SAFETY: so.\n    unsafe { g() }\n}\nunsafe fn h() {\n    g()\n}"), 1);
    assert_eq!(breaks("type F = unsafe extern \"C\" fn(i32);\nunsafe extern \"C\" fn f() {}"), 1);
    assert_eq!(breaks("mod a {\n    // SAFETY of the bodies: so.\n    unsafe fn f() {}\n}\nunsafe fn g() {}"), 1);
}

/// Paths of the folder table in the README: the first word of each line of the block under its heading.
fn named_in_readme(readme: &str) -> Vec<&str> {
    let section = readme.split("## How the folders lie").nth(1).unwrap_or_default();
    let block = section.split("```").nth(1).unwrap_or_default();
    block.lines().skip(1).filter_map(|line| line.split_whitespace().next()).collect()
}

#[test]
fn the_readme_names_what_is_there() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let named = named_in_readme(&readme);
    assert!(named.len() > 10, "the table of folders was not found");
    let missing = named.iter().filter(|path| !root().join(path).exists()).map(|path| path.to_string());
    none("named in README.md and not there", missing.collect());
    // And the other way round: each room is in the table.
    let rooms = sources().into_iter().filter(|source| {
        source.path.starts_with("src/")
            || source.path.strip_prefix("native/engine/src/").is_some_and(|rest| !rest.contains('/'))
    });
    let covers =
        |path: &str| named.iter().any(|named| path == *named || (named.ends_with('/') && path.starts_with(named)));
    none("not in README.md's table", rooms.map(|source| source.path).filter(|path| !covers(path)).collect());
    assert_eq!(named_in_readme("## How the folders lie\n```\nsrc/a  x\nb/\n```\n"), ["src/a", "b/"]);
}
