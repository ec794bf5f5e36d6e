//! Reads one source file: the paths that it spells out, and its lines, tests left out.

use std::{collections::BTreeSet, fmt, ops::RangeInclusive};

use proc_macro2::{Delimiter, LineColumn, TokenStream, TokenTree};
use syn::{Attribute, Item, Meta, punctuated::Punctuated, spanned::Spanned, visit::Visit};

pub(crate) struct SourceFile {
    /// Below `src/`, with `/`.
    pub(crate) path: String,
    /// The module that the file is; `bin` and what is below it for a binary.
    pub(crate) module: Vec<String>,
    /// How many lines it has outside of tests.
    pub(crate) lines: usize,
    /// Every path outside of tests.
    pub(crate) paths: Vec<Spelled>,
    /// The modules that it declares for tests alone.
    pub(crate) test_modules: Vec<Vec<String>>,
    /// What would hide code from this reader.
    pub(crate) unreadable: Vec<(usize, String)>,
}

/// A path as it stands in the source, one for every leaf of a use tree.
pub(crate) struct Spelled {
    /// The module around it.
    pub(crate) module: Vec<String>,
    pub(crate) segments: Vec<String>,
    pub(crate) in_use: bool,
    pub(crate) alias: Option<String>,
    pub(crate) line: usize,
}

impl Spelled {
    /// The name that a use binds; none for a glob.
    pub(crate) fn bound_name(&self) -> Option<&str> {
        let last = self.segments.last().filter(|last| *last != "*");
        self.alias.as_deref().or(last.map(String::as_str))
    }
}

impl fmt::Display for Spelled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.segments.join("::"))
    }
}

impl SourceFile {
    pub(crate) fn read(path: &str, text: &str) -> syn::Result<Self> {
        // One parse for the items and their attributes, one for the bare tokens, which shows the
        // inside of macros too. Both count lines and columns alike.
        let syntax: syn::File = syn::parse_str(text)?;
        let tokens: TokenStream = text.parse()?;
        let module = module_of(path);

        let mut finder = TestFinder { module: module.clone(), ..TestFinder::default() };
        if syntax.attrs.iter().any(is_test_only) {
            finder.test_modules.push(module.clone());
        }
        finder.visit_file(&syntax);

        let mut scanner = Scanner { tests: &finder.tests, paths: Vec::new() };
        scanner.scan(tokens, &module);

        let test_lines: BTreeSet<usize> =
            finder.tests.iter().flat_map(|test| test.start().line..=test.end().line).collect();
        Ok(Self {
            path: path.to_owned(),
            lines: text.lines().count() - test_lines.len(),
            paths: scanner.paths,
            test_modules: finder.test_modules,
            unreadable: finder.unreadable,
            module,
        })
    }
}

fn module_of(path: &str) -> Vec<String> {
    let mut module: Vec<String> =
        path.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
    let of_root = module == ["lib"];
    if of_root || module.last().is_some_and(|last| last == "mod") {
        module.pop();
    }
    module
}

/// Whether `#[cfg(…)]` holds in test builds alone.
fn is_test_only(attribute: &Attribute) -> bool {
    attribute.path().is_ident("cfg")
        && attribute.parse_args::<Meta>().is_ok_and(|predicate| implies_test(&predicate))
}

fn implies_test(predicate: &Meta) -> bool {
    let Meta::List(list) = predicate else { return predicate.path().is_ident("test") };
    let parts = list
        .parse_args_with(Punctuated::<Meta, syn::Token![,]>::parse_terminated)
        .unwrap_or_default();
    if list.path.is_ident("all") {
        parts.iter().any(implies_test)
    } else {
        list.path.is_ident("any") && !parts.is_empty() && parts.iter().all(implies_test)
    }
}

/// Finds where the tests stand.
#[derive(Default)]
struct TestFinder {
    module: Vec<String>,
    tests: Vec<RangeInclusive<LineColumn>>,
    test_modules: Vec<Vec<String>>,
    unreadable: Vec<(usize, String)>,
}

impl TestFinder {
    /// Whether the node is for tests alone; if so, where it stands is noted.
    fn skips(&mut self, attributes: &[Attribute], node: &impl Spanned) -> bool {
        let is_test = attributes.iter().any(is_test_only);
        if is_test {
            let span = node.span();
            self.tests.push(span.start()..=span.end());
        }
        is_test
    }
}

impl<'ast> Visit<'ast> for TestFinder {
    fn visit_item(&mut self, item: &'ast Item) {
        if !self.skips(attributes_of(item), item) {
            syn::visit::visit_item(self, item);
        } else if let Item::Mod(declared) = item {
            let mut module = self.module.clone();
            module.push(declared.ident.to_string());
            self.test_modules.push(module);
        }
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if item.attrs.iter().any(|attribute| attribute.path().is_ident("path")) {
            let line = item.ident.span().start().line;
            self.unreadable.push((line, "`#[path]` takes a file out of its room".to_owned()));
        }
        self.module.push(item.ident.to_string());
        syn::visit::visit_item_mod(self, item);
        self.module.pop();
    }

    fn visit_item_extern_crate(&mut self, item: &'ast syn::ItemExternCrate) {
        let alias = item.rename.as_ref().map(|(_, alias)| alias.to_string());
        if item.ident == "self" && alias.as_deref() != Some(super::LIBRARY) {
            let line = item.ident.span().start().line;
            self.unreadable.push((line, "`extern crate self` hides the root".to_owned()));
        }
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        if call.path.segments.last().is_some_and(|last| last.ident == "include") {
            let line = call.path.span().start().line;
            self.unreadable.push((line, "`include!` takes a file out of its room".to_owned()));
        }
    }

    fn visit_impl_item(&mut self, item: &'ast syn::ImplItem) {
        let attributes = match item {
            syn::ImplItem::Const(item) => &item.attrs,
            syn::ImplItem::Fn(item) => &item.attrs,
            syn::ImplItem::Type(item) => &item.attrs,
            syn::ImplItem::Macro(item) => &item.attrs,
            _ => return syn::visit::visit_impl_item(self, item),
        };
        if !self.skips(attributes, item) {
            syn::visit::visit_impl_item(self, item);
        }
    }

    fn visit_trait_item(&mut self, item: &'ast syn::TraitItem) {
        let attributes = match item {
            syn::TraitItem::Const(item) => &item.attrs,
            syn::TraitItem::Fn(item) => &item.attrs,
            syn::TraitItem::Type(item) => &item.attrs,
            syn::TraitItem::Macro(item) => &item.attrs,
            _ => return syn::visit::visit_trait_item(self, item),
        };
        if !self.skips(attributes, item) {
            syn::visit::visit_trait_item(self, item);
        }
    }
}

fn attributes_of(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::ExternCrate(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::ForeignMod(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Union(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

/// Collects the paths outside of tests.
struct Scanner<'a> {
    tests: &'a [RangeInclusive<LineColumn>],
    paths: Vec<Spelled>,
}

impl Scanner<'_> {
    fn scan(&mut self, tokens: TokenStream, module: &[String]) {
        let tokens: Vec<TokenTree> = tokens
            .into_iter()
            .filter(|token| {
                let start = token.span().start();
                !self.tests.iter().any(|test| test.contains(&start))
            })
            .collect();
        let mut rest = tokens.as_slice();
        while let Some((token, after)) = rest.split_first() {
            rest = match (token, after) {
                (TokenTree::Ident(word), [TokenTree::Group(group), after @ ..])
                    if word == "pub" && is_visibility(group) =>
                {
                    after
                }
                (
                    TokenTree::Ident(word),
                    [TokenTree::Ident(name), TokenTree::Group(group), after @ ..],
                ) if word == "mod" && group.delimiter() == Delimiter::Brace => {
                    let inner = [module, &[name.to_string()]].concat();
                    self.scan(group.stream(), &inner);
                    after
                }
                (TokenTree::Ident(word), [TokenTree::Ident(krate), after @ ..])
                    if word == "extern" && krate == "crate" =>
                {
                    self.tree(after, &[], true, module)
                }
                (TokenTree::Ident(word), _) if word == "use" => {
                    self.tree(skip_colons(after), &[], true, module)
                }
                (TokenTree::Ident(_), _) => self.tree(rest, &[], false, module),
                (TokenTree::Group(group), _) => {
                    self.scan(group.stream(), module);
                    after
                }
                _ => after,
            };
        }
    }

    /// Follows a path, or a use tree, to each of its leaves; returns what comes after it.
    fn tree<'t>(
        &mut self,
        tokens: &'t [TokenTree],
        above: &[String],
        in_use: bool,
        module: &[String],
    ) -> &'t [TokenTree] {
        let Some((first, after)) = tokens.split_first() else { return tokens };
        let name = match first {
            TokenTree::Group(group) if in_use && group.delimiter() == Delimiter::Brace => {
                let leaves: Vec<TokenTree> = group.stream().into_iter().collect();
                for leaf in leaves.split(is_comma) {
                    self.tree(skip_colons(leaf), above, true, module);
                }
                return after;
            }
            TokenTree::Ident(name) => name.to_string(),
            TokenTree::Punct(star) if star.as_char() == '*' && in_use => "*".to_owned(),
            _ => return tokens,
        };
        let mut segments = above.to_vec();
        // `a::{self}` is `a`.
        if above.is_empty() || name != "self" {
            segments.push(name);
        }
        let onward = skip_colons(after);
        if onward.len() < after.len() && continues(onward, in_use) {
            return self.tree(onward, &segments, in_use, module);
        }
        let (alias, after) = match after {
            [TokenTree::Ident(word), TokenTree::Ident(alias), after @ ..]
                if in_use && word == "as" =>
            {
                (Some(alias.to_string()), after)
            }
            _ => (None, after),
        };
        // A lone `self` is a value, a lone `crate` an attribute's key.
        let lone = segments.len() == 1 && onward.len() == after.len();
        if in_use || !(lone && ["crate", "self", "super"].contains(&segments[0].as_str())) {
            self.paths.push(Spelled {
                module: module.to_vec(),
                segments,
                in_use,
                alias,
                line: first.span().start().line,
            });
        }
        after
    }
}

fn continues(onward: &[TokenTree], in_use: bool) -> bool {
    match onward.first() {
        Some(TokenTree::Ident(_)) => true,
        Some(TokenTree::Group(group)) => in_use && group.delimiter() == Delimiter::Brace,
        Some(TokenTree::Punct(punct)) => in_use && punct.as_char() == '*',
        _ => false,
    }
}

fn skip_colons(tokens: &[TokenTree]) -> &[TokenTree] {
    match tokens {
        [TokenTree::Punct(one), TokenTree::Punct(two), rest @ ..]
            if one.as_char() == ':' && two.as_char() == ':' =>
        {
            rest
        }
        _ => tokens,
    }
}

fn is_comma(token: &TokenTree) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == ',')
}

/// `(crate)`, `(super)`, `(self)` or `(in …)`, in contrast to the fields of a tuple struct.
fn is_visibility(group: &proc_macro2::Group) -> bool {
    let inner: Vec<TokenTree> = group.stream().into_iter().collect();
    match inner.as_slice() {
        [TokenTree::Ident(word)] => ["crate", "self", "super"].iter().any(|known| word == known),
        [TokenTree::Ident(word), ..] => word == "in",
        _ => false,
    }
}
