//! The rules of the project that a test can check: architecture, names, file sizes, documented flags.
#![allow(clippy::disallowed_types)]

#[path = "support/sources.rs"]
mod sources;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use std::{env, fs};

use regex::Regex;
use sources::sources;

/// The architecture of src/, lowest layer first: a module imports from its own line of this table and
/// from those above it, never from those below. A longer path is a layer inside a module. Tests and
/// fuzz targets may import everything.
#[rustfmt::skip]
const LAYERS: [(&str, &[&str]); 15] = [
    ("names and mechanisms for all", &["bus", "clock", "collector", "directory_watcher", "http_counts", "logging", "response_buffers", "short_lived", "single_flight", "unit_filter"]),
    ("a unit: its name, its properties and their types", &["systemd::unit"]),
    ("the exits that the journal reports to the ledger", &["source::journal::exits"]),
    ("a List+Watch cache of PID 1", &["systemd"]),
    ("the only writer of the cache", &["systemd::follow"]),
    ("one module per interface of the host", &["source"]),
    ("the file in which counters survive a restart", &["state_file"]),
    ("the plain data of one scrape", &["snapshot"]),
    ("one scrape, each source under its deadline", &["scrape"]),
    ("the exported metrics", &["metrics"]),
    ("the status page", &["html"]),
    ("the HTTP server", &["http"]),
    ("the content of responses", &["app"]),
    ("the commands, and targets for fuzzing", &["cli", "fuzzing", "sd_notify"]),
    ("the program", &["main"]),
];

/// Lines of a file in src/, tests not counted.
const MAX_LINES: usize = 400;

#[test]
fn imports_point_to_lower_layers() {
    let mut violations = Vec::new();
    for source in Source::all() {
        let Some((own_layer, _)) = layer(&source.module) else {
            violations.push(format!("{}: to be added to LAYERS in tests/house.rs", source.path));
            continue;
        };
        for import in source.imports() {
            match layer(&import) {
                Some((layer, _)) if layer <= own_layer => {}
                Some((_, module)) => violations.push(format!("{}: {module}", source.path)),
                None => violations.push(format!("{}: {import} is not in LAYERS", source.path)),
            }
        }
    }
    violations.sort();
    violations.dedup();
    assert!(violations.is_empty(), "imports from a higher layer: {violations:#?}");
}

#[test]
fn every_layer_exists() {
    let modules: BTreeSet<String> = Source::all().map(|source| source.module).collect();
    let layers = LAYERS.iter().flat_map(|(_, modules)| *modules);
    let absent: Vec<_> = layers.filter(|&&module| !modules.contains(module)).collect();
    assert!(absent.is_empty(), "in LAYERS, but not in src/: {absent:?}");
}

#[test]
fn type_names_have_one_meaning() {
    let declaration =
        Regex::new(r"(?m)^\s*pub(?:\([a-z:_ ]+\))? (?:struct|enum|union|trait|type) (\w+)")
            .expect("a pattern");
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for source in Source::all() {
        for declared in declaration.captures_iter(&source.code) {
            places.entry(declared[1].to_owned()).or_default().push(source.path.clone());
        }
    }
    places.retain(|_, places| places.len() > 1);
    assert!(places.is_empty(), "type names that are declared twice: {places:#?}");
}

#[test]
fn files_have_at_most_400_lines_without_tests() {
    let long: Vec<String> = Source::all()
        .map(|source| (source.code.lines().count(), source.path))
        .filter(|(lines, _)| *lines > MAX_LINES)
        .map(|(lines, path)| format!("{path}: {lines}"))
        .collect();
    assert!(long.is_empty(), "more than {MAX_LINES} lines: {long:#?}");
}

#[test]
fn every_source_file_opens_with_a_module_comment() {
    let silent: Vec<PathBuf> =
        sources("src").into_iter().filter(|path| !read(path).starts_with("//! ")).collect();
    assert!(silent.is_empty(), "no //! line at the top of {silent:?}");
}

#[test]
fn lib_rs_describes_every_public_module() {
    let lib = read("src/lib.rs");
    let map: Vec<&str> = lib.lines().filter_map(|line| line.strip_prefix("//!")).collect();
    let word = Regex::new(r"\w+").expect("a pattern");
    let described: BTreeSet<&str> =
        map.iter().flat_map(|line| word.find_iter(line)).map(|word| word.as_str()).collect();
    let modules = lib.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'));
    let absent: Vec<&str> = modules.filter(|module| !described.contains(module)).collect();
    assert!(absent.is_empty(), "not in the module comment of src/lib.rs: {absent:?}");
}

#[test]
fn flag_document_lists_exactly_the_flags_of_help() {
    let help = stdout(Command::new(env!("CARGO_BIN_EXE_unit-exporter")).arg("--help"));
    assert_eq!(flags(&read("docs/flags.md")), flags(&help));
}

/// A file of src/ without its comments and tests.
struct Source {
    path: String,
    /// As it is written in an import, without `crate::`.
    module: String,
    code: String,
}

impl Source {
    /// All but tests, the simulation, fuzz targets and lib.rs.
    fn all() -> impl Iterator<Item = Self> {
        sources("src").into_iter().filter_map(|path| {
            let relative = path.strip_prefix(root().join("src")).expect("a path in src/");
            let relative = relative.to_str().expect("UTF-8");
            let module = relative.trim_end_matches(".rs").trim_end_matches("/mod");
            let module = module.replace('/', "::");
            let is_test = module
                .split("::")
                .any(|name| ["tests", "fuzz", "simulation", "simulated"].contains(&name));
            (!is_test && module != "lib").then(|| Self {
                path: format!("src/{relative}"),
                module,
                code: without_tests(&read(&path)),
            })
        })
    }

    /// The modules and items that it names by `crate::` or `super::`.
    fn imports(&self) -> Vec<String> {
        static START: LazyLock<Regex> =
            LazyLock::new(|| Regex::new(r"\b(crate|super(?:::super)*)::").expect("a pattern"));
        static IRRELEVANT: LazyLock<Regex> =
            LazyLock::new(|| Regex::new(r"(?m)^\s*//.*$|pub\(in [^)]*\)").expect("a pattern"));
        let code = IRRELEVANT.replace_all(&self.code, "");
        let mut imports = Vec::new();
        for found in START.captures_iter(&code) {
            let whole = found.get(0).expect("a match");
            let mut base: Vec<&str> = self.module.split("::").collect();
            match found[1].matches("super").count() {
                0 => base.clear(),
                supers => base.truncate(base.len().saturating_sub(supers)),
            }
            expand(&base.join("::"), &code[whole.end()..], &mut imports);
        }
        imports
    }
}

/// The paths that begin an import, such as `a::b` and `a::c` for `a::{b, c}`.
fn expand(base: &str, rest: &str, paths: &mut Vec<String>) {
    let rest = rest.trim_start();
    if let Some(group) = rest.strip_prefix('{') {
        let (mut depth, mut start) = (0, 0);
        for (at, character) in group.char_indices() {
            match character {
                '{' => depth += 1,
                ',' | '}' if depth == 0 => {
                    expand(base, &group[start..at], paths);
                    start = at + 1;
                    if character == '}' {
                        return;
                    }
                }
                '}' => depth -= 1,
                _ => {}
            }
        }
        return;
    }
    let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
    let (name, rest) = rest.split_at(end);
    if name.is_empty() {
        if rest.starts_with('*') {
            paths.push(base.to_owned());
        }
        return;
    }
    let path = if base.is_empty() { name.to_owned() } else { format!("{base}::{name}") };
    match rest.strip_prefix("::") {
        Some(rest) if rest.starts_with(|c: char| c == '{' || c == '_' || c.is_alphanumeric()) => {
            expand(&path, rest, paths);
        }
        _ => paths.push(path),
    }
}

/// The layer of a path, and the module in [`LAYERS`] that it belongs to: the longest that fits.
fn layer(path: &str) -> Option<(usize, &'static str)> {
    let belongs = |module: &str| {
        path.strip_prefix(module).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
    };
    let layers = LAYERS.iter().enumerate();
    layers
        .flat_map(|(layer, (_, modules))| modules.iter().map(move |&module| (layer, module)))
        .filter(|(_, module)| belongs(module))
        .max_by_key(|(_, module)| module.len())
}

/// A source without the items that only tests and fuzz targets have.
fn without_tests(source: &str) -> String {
    let mut code = String::new();
    let mut lines = source.lines();
    while let Some(line) = lines.next() {
        let attribute = line.trim_start();
        if !attribute.starts_with("#[cfg(test)]") && !attribute.starts_with("#[cfg(any(test,") {
            code.push_str(line);
            code.push('\n');
            continue;
        }
        // rustfmt puts the end of an item at the indentation of its beginning
        let indentation = &line[..line.len() - attribute.len()];
        let mut item = lines.by_ref().skip_while(|line| line.trim_start().starts_with("#["));
        let first = item.next().unwrap_or_default();
        if !first.ends_with([';', '}', ',']) {
            let end = format!("{indentation}}}");
            item.find(|line| line.starts_with(&end));
        }
    }
    code
}

#[test]
fn imports_are_expanded() {
    let source = Source {
        path: String::new(),
        module: "a::b".into(),
        code: without_tests(
            "use crate::x::{self, y::Z, w::{V, U}};\nuse super::super::q;\nuse super::r::*;\n\
             // crate::comment\npub(in crate::a) fn g() {}\n#[cfg(test)]\n#[rustfmt::skip]\nmod tests {\n    use crate::t;\n}\n\
             fn f() { crate::last() }\n",
        ),
    };
    let expected = ["x::self", "x::y::Z", "x::w::V", "x::w::U", "q", "a::r", "last"];
    assert_eq!(source.imports(), expected);
}

/// The long flags that a text mentions.
fn flags(text: &str) -> BTreeSet<&str> {
    let words = text
        .split(|character: char| !(character.is_ascii_alphanumeric() || "-._".contains(character)));
    words
        .map(|word| word.trim_end_matches(['.', '-']))
        .filter(|word| word.starts_with("--"))
        .collect()
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn stdout(command: &mut Command) -> String {
    let output = command.current_dir(root()).output().expect("a program that starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
