//! Templates that try to use up the host end in an error, soon; damaged ones are errors or render, never a panic.

use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use random::Random;
use serde_json::Value;
use viva_tensor_engine::{
    chat::{ChatTemplate, Message},
    error::Error,
    tokenizer::Tokenizer,
};

mod random;

fn fixtures() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../test/fixtures")
}

fn tokenizer() -> Tokenizer {
    Tokenizer::from_huggingface(&fs::read(fixtures().join("tiny/llama/tokenizer.json")).unwrap(), None).unwrap()
}

fn messages() -> Vec<Message> {
    [("system", "Be brief."), ("user", "<think>x</think> Hi {{ there }}"), ("assistant", "Yes.")]
        .map(|(role, content)| Message { role: role.into(), content: content.into() })
        .to_vec()
}

const BOMBS: &[(&str, &str)] = &[
    ("recursive macro", "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}"),
    ("mutual recursion", "{% macro f() %}{{ g() }}{% endmacro %}{% macro g() %}{{ f() }}{% endmacro %}{{ f() }}"),
    ("recursive caller", "{% macro f() %}{% call f() %}{{ caller() }}{% endcall %}{% endmacro %}{{ f() }}"),
    ("recursive loop", "{% set l = [1] %}{% for x in l recursive %}{{ loop(l) }}{% endfor %}"),
    (
        "doubled string",
        "{% set ns = namespace(x='ab') %}{% for i in range(100) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
    ),
    (
        "joined string",
        "{% set ns = namespace(x='ab') %}{% for i in range(100) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
    ),
    (
        "replaced string",
        "{% set ns = namespace(x='ab') %}{% for i in range(100) %}{% set ns.x = ns.x.replace('a', ns.x) %}{% endfor %}",
    ),
    ("repeated string", "{{ 'a' * 100000000000 }}"),
    ("repeated list", "{{ [1] * 100000000000 }}"),
    (
        "doubled list",
        "{% set ns = namespace(x=[1]) %}{% for i in range(100) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
    ),
    (
        "many strings",
        "{% set ns = namespace(x=[]) %}{% set a = 'a' * 1000000 %}{% for i in range(100000) %}{% set ns.x = ns.x + [a ~ i] %}{% endfor %}",
    ),
    (
        "shared lists",
        "{% set ns = namespace(x=[1]) %}{% for i in range(100) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x }}",
    ),
    (
        "compared lists",
        "{% set ns = namespace(x=[1], y=[1]) %}{% for i in range(100) %}{% set ns.x = [ns.x, ns.x] %}{% set ns.y = [ns.y, ns.y] %}{% endfor %}{% for i in range(100000) %}{{ ns.x == ns.y }}{% endfor %}",
    ),
    (
        "dumped lists",
        "{% set ns = namespace(x=[1]) %}{% for i in range(100) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x | tojson }}",
    ),
    ("deep lists", "{% set ns = namespace(x=[1]) %}{% for i in range(100000) %}{% set ns.x = [ns.x] %}{% endfor %}"),
    ("nested loops", "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}"),
    ("large output", "{% for a in range(100000) %}{{ 'a' * 1000 }}{% endfor %}"),
    ("large range", "{{ range(100001) | list }}"),
    ("wide format", "{{ '%999999999d' % 1 }}"),
    ("wide brace", "{{ '{:>999999999}'.format(1) }}"),
    ("wide centre", "{{ 'a'.center(99999999999) }}"),
    (
        "joined by itself",
        "{% set ns = namespace(x='abcdefgh') %}{% for i in range(50) %}{% set ns.x = ns.x.join(ns.x) %}{% endfor %}",
    ),
    (
        "long dict",
        "{% set ns = namespace(x={}) %}{% for i in range(100000) %}{% set ns.x = dict(ns.x, **{'k' ~ i: i}) %}{% endfor %}",
    ),
    (
        "sorted again",
        "{% set l = range(100000) | list %}{% for i in range(100000) %}{% set x = l | sort %}{% endfor %}",
    ),
    ("counted again", "{% set s = 'ab' * 1000000 %}{% for i in range(100000) %}{% set x = s.count('b') %}{% endfor %}"),
    ("indented", "{% set s = 'a\\n' * 1000000 %}{{ s | indent(60000) }}"),
    (
        "batched",
        "{{ [1] | batch(1000000, 'x') | list }}{{ range(100000) | batch(1) | map('batch', 1000000, 'x') | list }}",
    ),
    (
        "pair of macros in loops",
        "{% macro f(n) %}{% for i in range(10) %}{{ f(n) }}{% endfor %}{% endmacro %}{{ f(1) }}",
    ),
    ("split", "{% set s = 'a ' * 1000000 %}{% for i in range(1000) %}{% set x = s.split() %}{% endfor %}"),
];

#[test]
fn bombs_are_template_errors() {
    let tokenizer = tokenizer();
    for (name, source) in BOMBS {
        let started = Instant::now();
        let rendered = ChatTemplate::new(source, &tokenizer).and_then(|template| template.render(&messages(), true));
        assert!(matches!(rendered, Err(Error::Template { .. })), "{name}: {:?}", rendered.map(|text| text.len()));
        assert!(started.elapsed() < Duration::from_secs(12), "{name} took {:?}", started.elapsed());
    }
}

#[test]
fn circles_of_values_are_no_trouble() {
    let tokenizer = tokenizer();
    for source in [
        "{% set ns = namespace() %}{% set ns.x = ns %}{% set ns.y = [ns] %}{{ ns.y[0].x is defined }}",
        "{% macro f() %}{{ 1 }}{% endmacro %}{% set g = [f] %}{{ g[0]() }}",
        "{% set ns = namespace(x=none) %}{% for i in range(50000) %}{% set ns2 = namespace(x=ns.x) %}{% set ns.x = ns2 %}{% endfor %}ok",
        "{% set ns = namespace(x=none) %}{% for i in range(50000) %}{% macro f() %}{{ ns.x }}{% endmacro %}{% set ns.x = f %}{% endfor %}ok",
    ] {
        let rendered = ChatTemplate::new(source, &tokenizer).and_then(|template| template.render(&messages(), true));
        assert!(rendered.is_ok(), "{source}: {rendered:?}");
    }
}

#[test]
fn sources_that_nest_deep_are_template_errors() {
    let tokenizer = tokenizer();
    let deep = [
        format!("{{{{ {}1{} }}}}", "(".repeat(100_000), ")".repeat(100_000)),
        format!("{{{{ {}1{} }}}}", "[".repeat(100_000), "]".repeat(100_000)),
        format!("{{{{ {}1 }}}}", "not ".repeat(100_000)),
        format!("{{{{ {}1 }}}}", "-".repeat(100_000)),
        format!("{{{{ 1{} }}}}", " + 1".repeat(100_000)),
        format!("{{{{ 1{} }}}}", " or 1".repeat(100_000)),
        format!("{{{{ x{} }}}}", ".a".repeat(100_000)),
        format!("{{{{ x{} }}}}", "|upper".repeat(100_000)),
        format!("{{{{ 1{} }}}}", " if 1 else 1".repeat(100_000)),
        format!("{}{}", "{% if 1 %}".repeat(100_000), "{% endif %}".repeat(100_000)),
        format!("{}{}", "{% for x in y %}".repeat(10_000), "{% endfor %}".repeat(10_000)),
        "{{ x }}".repeat(1 << 18),
    ];
    for source in deep {
        let started = Instant::now();
        let template = ChatTemplate::new(&source, &tokenizer);
        assert!(matches!(template, Err(Error::Template { .. })), "{}...", &source[..40]);
        assert!(started.elapsed() < Duration::from_secs(2));
    }
    // As deep as is allowed: parsed, rendered and dropped on a stack of 128 KB.
    let source = format!("{{{{ {}1{} }}}}", "(".repeat(90), format!("{})", " + 1".repeat(250)).repeat(90));
    let small = std::thread::Builder::new().stack_size(128 << 10);
    let worker = small.spawn(move || ChatTemplate::new(&source, &tokenizer).map(|template| template.render(&[], true)));
    assert!(worker.unwrap().join().unwrap().is_ok());
}

fn seeds() -> Vec<String> {
    let read = |name: &str| -> Value {
        serde_json::from_slice(&fs::read(fixtures().join("templates").join(name)).unwrap()).unwrap()
    };
    let snippets = read("snippets.json");
    let snippets =
        snippets["snippets"].as_array().unwrap().iter().map(|case| case["source"].as_str().unwrap().to_owned());
    let chats = read("chats.json");
    let chats = chats["templates"].as_object().unwrap().values().map(|source| source.as_str().unwrap().to_owned());
    // The whole chats count for more than the one-liners.
    let chats: Vec<String> = chats.collect();
    snippets.chain(chats.iter().cycle().take(chats.len() * 20).cloned()).collect()
}

/// Pieces that templates are made of, to put where they do not belong.
const PIECES: &[&str] = &[
    "{{",
    "}}",
    "{%",
    "%}",
    "{#",
    "#}",
    "-%}",
    "{%-",
    "{% endif %}",
    "{% endfor %}",
    "{% else %}",
    "{% raw %}",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    "'",
    "\"",
    "\\",
    "\\u12",
    "|",
    "~",
    "+",
    "-",
    "*",
    "**",
    "//",
    "%",
    "==",
    "<",
    " in ",
    " not ",
    " is ",
    " if ",
    " else ",
    ".",
    ",",
    ":",
    "0",
    "-1",
    "9223372036854775807",
    "1e999",
    "none",
    "loop",
    "loop(x)",
    "messages",
    "namespace(",
    "[::-1]",
    "[:",
    "|map(",
    "|tojson",
    "|indent(",
    ".split(",
    ".format(",
    "é",
    "\u{0}",
    "\u{FDD0}",
    "\n",
    "self",
    "caller()",
    "varargs",
    "**x",
    "*x",
    "=",
];

fn mutated(random: &mut Random, seeds: &[String]) -> String {
    let mut source: Vec<char> = seeds[random.below(seeds.len())].chars().collect();
    for _ in 0..1 + random.below(4) {
        let at = random.below(source.len() + 1);
        let length = random.below(12).min(source.len() - at);
        match random.below(6) {
            0 => drop(source.drain(at..at + length)),
            1 => drop(source.splice(at..at, PIECES[random.below(PIECES.len())].chars())),
            2 => drop(source.splice(at..at + length, PIECES[random.below(PIECES.len())].chars())),
            3 => {
                let copy: Vec<char> = source[at..at + length].to_vec();
                let to = random.below(source.len() + 1);
                drop(source.splice(to..to, copy));
            }
            4 => {
                let other: Vec<char> = seeds[random.below(seeds.len())].chars().collect();
                let cut = random.below(other.len() + 1);
                source.truncate(at);
                source.extend(&other[cut..]);
            }
            _ => {
                if let Some(character) = source.get_mut(at) {
                    *character = char::from_u32(random.below(0x250) as u32).unwrap_or('?');
                }
            }
        }
    }
    source.into_iter().collect()
}

#[test]
fn damaged_templates_render_or_are_template_errors() {
    let tokenizer = tokenizer();
    let (seeds, messages) = (seeds(), messages());
    let mut random = Random(2024);
    let (mut rendered, mut refused) = (0, 0);
    for at in 0..5000 {
        let source = mutated(&mut random, &seeds);
        let result =
            ChatTemplate::new(&source, &tokenizer).and_then(|template| template.encode(&tokenizer, &messages, true));
        match result {
            Ok(_) => rendered += 1,
            Err(Error::Template { .. }) => refused += 1,
            Err(other) => panic!("mutant {at}: {other:?} of {source:?}"),
        }
    }
    // Mutants that are all refused at once would test nothing.
    assert!(rendered > 500 && refused > 500, "{rendered} rendered, {refused} refused");
}

/// Long enough lists for a sort that trusts its order to notice that there is none.
#[test]
fn what_has_no_order_is_sorted_without_a_panic() {
    let tokenizer = tokenizer();
    let render = |source: &str| ChatTemplate::new(source, &tokenizer).unwrap().render(&messages(), true);
    let numbers = "{% for i in range(200) %}{% set ns.x = ns.x + [i * 37 % 101, i * 53 % 89] %}{% endfor %}";
    let list = |more: &str| format!("{{% set ns = namespace(x=[]) %}}{numbers}{more}");
    let sorted = render(&list("{{ ns.x | sort | join(' ') }}")).unwrap();
    let mut expected: Vec<u32> = (0..200).flat_map(|i| [i * 37 % 101, i * 53 % 89]).collect();
    expected.sort_unstable();
    assert_eq!(sorted, expected.iter().map(u32::to_string).collect::<Vec<_>>().join(" "));
    let nans = "{% set ns.x = ns.x + ['nan'|float] + ns.x[3:] + ['nan'|float] + ns.x %}{{ ns.x | sort | length }}";
    assert_eq!(render(&list(nans)).unwrap(), (400 + 1 + 397 + 1 + 400).to_string());
    let mixed = "{% set ns.x = ns.x + ['a', none, [1]] + ns.x %}{{ ns.x | sort }}";
    assert!(matches!(render(&list(mixed)), Err(Error::Template { .. })));
    // Equals stay in their order, from either end.
    let pairs = "{% set l = [['b', 1], ['a', 2], ['B', 3], ['A', 4]] %}{{ l | sort(attribute=0) }}{{ l | sort(attribute=0, reverse=true) }}";
    let (up, down) = ("['a', 2], ['A', 4], ['b', 1], ['B', 3]", "['b', 1], ['B', 3], ['a', 2], ['A', 4]");
    assert_eq!(render(pairs).unwrap(), format!("[{up}][{down}]"));
}
