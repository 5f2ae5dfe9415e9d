//! The imports between the files of a crate.

use super::tokens::{Token, group_length, product_tokens};
use std::collections::{BTreeMap, BTreeSet};

/// Maximum length of a chain of imports; more would be a circle of re-exports, which does not compile.
const IMPORTS_MAX: usize = 16;

/// The files of a crate, relative to its `src`, and the imports between them.
pub(super) struct Imports {
    pub(super) files: Vec<String>,
    /// For each file, the files that it imports from, and the first imported name.
    pub(super) takes: Vec<BTreeMap<usize, String>>,
}

/// A module's path, `[]` for the root.
type ModulePath = Vec<String>;

#[derive(Default)]
struct Module {
    file: usize,
    children: BTreeSet<String>,
    /// Names from `use`, by their local name.
    imports: BTreeMap<String, Vec<String>>,
    globs: Vec<Vec<String>>,
    items: BTreeSet<String>,
}

/// A path in a file.
struct Mention {
    module: ModulePath,
    file: usize,
    path: Vec<String>,
    /// A re-export alone uses nothing: the name must also occur elsewhere in the file.
    shown_as: Option<String>,
}

/// The target of a path.
enum Target {
    Module(ModulePath),
    Item(usize),
    Outside,
}

impl Imports {
    /// Reads a crate from its files, relative to its `src`, with their texts. Skips files that only tests compile.
    pub(super) fn read(texts: &BTreeMap<String, String>) -> Imports {
        let mut reading =
            Reading { texts, files: Vec::new(), modules: BTreeMap::new(), mentions: Vec::new(), words: Vec::new() };
        for root in ["lib.rs", "main.rs"] {
            if texts.contains_key(root) {
                reading.read_file(root, Vec::new());
            }
        }
        reading.finish()
    }
}

struct Reading<'t> {
    texts: &'t BTreeMap<String, String>,
    files: Vec<String>,
    modules: BTreeMap<ModulePath, Module>,
    mentions: Vec<Mention>,
    /// The words of each file outside `use`.
    words: Vec<BTreeSet<String>>,
}

impl Reading<'_> {
    fn read_file(&mut self, name: &str, module: ModulePath) {
        let Some(text) = self.texts.get(name) else { return };
        let file = self.files.len();
        self.files.push(name.to_owned());
        self.words.push(BTreeSet::new());
        self.modules.entry(module.clone()).or_default().file = file;
        self.read_tokens(&product_tokens(text), &module, file);
        let folder = match name.rsplit_once('/') {
            _ if matches!(name, "lib.rs" | "main.rs") => String::new(),
            Some((folder, "mod.rs")) => format!("{folder}/"),
            _ => format!("{}/", name.trim_end_matches(".rs")),
        };
        self.read_children(&module, file, &folder);
    }

    /// The files of a module's children, and of the children of inline modules.
    fn read_children(&mut self, module: &ModulePath, file: usize, folder: &str) {
        let children = self.modules.get(module).map(|module| module.children.clone()).unwrap_or_default();
        for child in children {
            let path = joined(module, &child);
            if self.modules.get(&path).is_some_and(|inline| inline.file == file) {
                self.read_children(&path, file, &format!("{folder}{child}/"));
                continue;
            }
            for name in [format!("{folder}{child}.rs"), format!("{folder}{child}/mod.rs")] {
                self.read_file(&name, path.clone());
            }
        }
    }

    fn read_tokens(&mut self, tokens: &[Token], module: &ModulePath, file: usize) {
        let mut at = 0;
        let mut depth = 0usize;
        let mut is_public = false;
        while at < tokens.len() {
            let rest = &tokens[at..];
            let before = at.checked_sub(1).map(|before| &tokens[before]);
            match rest {
                [public, ..] if public.is_word("pub") => {
                    is_public = true;
                    at += 1;
                    if tokens.get(at).is_some_and(|token| token.is('(')) {
                        at += group_length(&tokens[at..]);
                    }
                    continue;
                }
                [word, ..] if word.is_word("use") => {
                    let length = rest.iter().position(|token| token.is(';')).unwrap_or(rest.len());
                    self.read_use(&rest[1..length], &mut Vec::new(), (module, file, is_public));
                    at += length;
                }
                [word, Token::Word(name), open, ..] if word.is_word("mod") && open.is('{') => {
                    let length = group_length(&rest[2..]);
                    let inner = joined(module, name);
                    self.module(module).children.insert(name.clone());
                    self.module(&inner).file = file;
                    self.read_tokens(&rest[3..(2 + length).max(4) - 1], &inner, file);
                    at += 2 + length;
                }
                [word, Token::Word(name), end, ..] if word.is_word("mod") && end.is(';') => {
                    self.module(module).children.insert(name.clone());
                    at += 3;
                }
                [Token::Word(word), Token::Word(name), ..] if depth == 0 && is_item(word) => {
                    self.module(module).items.insert(name.clone());
                    self.words[file].insert(name.clone());
                    at += 2;
                }
                [word, bang, Token::Word(name), ..] if word.is_word("macro_rules") && bang.is('!') => {
                    self.module(module).items.insert(name.clone());
                    at += 3;
                }
                [Token::Word(_), Token::Path, Token::Word(_), ..] if !is_inner(before) => {
                    let path = read_path(rest);
                    self.words[file].extend(path.iter().cloned());
                    at += 2 * path.len() - 1;
                    self.mentions.push(Mention { module: module.clone(), file, path, shown_as: None });
                }
                [token, ..] => {
                    match token {
                        Token::Sign('(' | '[' | '{') => depth += 1,
                        Token::Sign(')' | ']' | '}') => depth = depth.saturating_sub(1),
                        Token::Word(word) => _ = self.words[file].insert(word.clone()),
                        _ => {}
                    }
                    at += 1;
                }
                [] => {}
            }
            is_public = false;
        }
    }

    /// One tree of a `use`, below `path`.
    fn read_use(&mut self, tokens: &[Token], path: &mut Vec<String>, place: (&ModulePath, usize, bool)) {
        let (module, file, is_public) = place;
        let depth = path.len();
        let mut rest = tokens;
        loop {
            match rest {
                [Token::Word(word), Token::Path, ..] => {
                    path.push(word.clone());
                    rest = &rest[2..];
                }
                [open, ..] if open.is('{') => {
                    let inside = &rest[1..group_length(rest).max(2) - 1];
                    split_list(inside).for_each(|tree| self.read_use(tree, path, place));
                    break;
                }
                [star, ..] if star.is('*') => {
                    self.module(module).globs.push(path.clone());
                    let path = joined(path, "*");
                    self.mentions.push(Mention { module: module.clone(), file, path, shown_as: None });
                    break;
                }
                [Token::Word(word), after @ ..] => {
                    let shown = match after {
                        [r#as, Token::Word(name), ..] if r#as.is_word("as") => name.clone(),
                        _ if word == "self" => path.last().cloned().unwrap_or_default(),
                        _ => word.clone(),
                    };
                    let path = if word == "self" { path.clone() } else { joined(path, word) };
                    self.module(module).imports.insert(shown.clone(), path.clone());
                    let shown_as = is_public.then_some(shown);
                    self.mentions.push(Mention { module: module.clone(), file, path, shown_as });
                    break;
                }
                _ => break,
            }
        }
        path.truncate(depth);
    }

    fn module(&mut self, path: &ModulePath) -> &mut Module {
        self.modules.entry(path.clone()).or_default()
    }

    fn finish(self) -> Imports {
        let mut takes = vec![BTreeMap::new(); self.files.len()];
        for Mention { module, file, path, shown_as } in &self.mentions {
            if shown_as.as_ref().is_some_and(|name| !self.words[*file].contains(name)) {
                continue;
            }
            let is_glob = path.last().is_some_and(|last| last == "*");
            let path = if is_glob { &path[..path.len() - 1] } else { path };
            let taken = match self.resolve(module, path, 0) {
                Target::Item(taken) => taken,
                Target::Module(taken) if is_glob => self.modules[&taken].file,
                // A module that is only named; names from it are separate mentions.
                Target::Module(_) | Target::Outside => continue,
            };
            if taken != *file {
                let name = path.last().map(|last| last.to_owned()).unwrap_or_default();
                takes[*file].entry(taken).or_insert(name);
            }
        }
        Imports { files: self.files, takes }
    }

    /// The target of a path in a module.
    fn resolve(&self, module: &[String], path: &[String], imports: usize) -> Target {
        let [first, rest @ ..] = path else { return Target::Module(module.to_vec()) };
        match first.as_str() {
            "crate" => self.descend(&[], rest, imports),
            "self" => self.descend(module, rest, imports),
            "super" => self.descend(&module[..module.len().saturating_sub(1)], rest, imports),
            name if self
                .modules
                .get(module)
                .is_some_and(|it| it.children.contains(name) || it.imports.contains_key(name)) =>
            {
                self.descend(module, path, imports)
            }
            _ => Target::Outside,
        }
    }

    fn descend(&self, module: &[String], path: &[String], imports: usize) -> Target {
        let Some(here) = self.modules.get(module).filter(|_| imports < IMPORTS_MAX) else { return Target::Outside };
        let [name, rest @ ..] = path else { return Target::Module(module.to_vec()) };
        if name == "super" {
            return self.descend(&module[..module.len().saturating_sub(1)], rest, imports);
        }
        if here.items.contains(name) {
            return Target::Item(here.file);
        }
        let child = joined(module, name);
        if here.children.contains(name) && self.modules.contains_key(&child) {
            return self.descend(&child, rest, imports);
        }
        if let Some(imported) = here.imports.get(name) {
            let whole: Vec<String> = imported.iter().chain(rest).cloned().collect();
            // `use name::name;` refers to an outside crate.
            let is_itself = imported.first() == Some(name) && !here.children.contains(name);
            return if is_itself { Target::Outside } else { self.resolve(module, &whole, imports + 1) };
        }
        for glob in &here.globs {
            let whole: Vec<String> = glob.iter().chain(path).cloned().collect();
            if let Target::Module(inside) = self.resolve(module, glob, imports + 1)
                && inside != module
                && self.modules.get(&inside).is_some_and(|inside| inside.has(name))
            {
                return self.resolve(module, &whole, imports + 1);
            }
        }
        // Defined by a macro.
        Target::Item(here.file)
    }
}

impl Module {
    fn has(&self, name: &str) -> bool {
        self.items.contains(name) || self.children.contains(name) || self.imports.contains_key(name)
    }
}

fn is_item(word: &str) -> bool {
    matches!(word, "fn" | "struct" | "enum" | "trait" | "type" | "const" | "static" | "union")
}

/// Whether a path continues after this token.
fn is_inner(before: Option<&Token>) -> bool {
    before.is_some_and(|token| *token == Token::Path || token.is('.'))
}

fn read_path(tokens: &[Token]) -> Vec<String> {
    let mut path: Vec<String> = tokens[0].word().map(str::to_owned).into_iter().collect();
    let mut rest = &tokens[1..];
    while let [Token::Path, Token::Word(word), ..] = rest {
        path.push(word.clone());
        rest = &rest[2..];
    }
    path
}

/// The parts of a list between commas.
fn split_list(tokens: &[Token]) -> impl Iterator<Item = &[Token]> {
    let mut depth = 0usize;
    tokens.split(move |token| {
        match token {
            Token::Sign('{') => depth += 1,
            Token::Sign('}') => depth -= 1,
            _ => {}
        }
        depth == 0 && token.is(',')
    })
}

fn joined(path: &[String], name: &str) -> Vec<String> {
    path.iter().cloned().chain([name.to_owned()]).collect()
}
