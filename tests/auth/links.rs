//! Every link of the written pages leads to a file that is there, and to a heading of it. Links to
//! other hosts are left alone, links to items are rustdoc's to check.

use std::{
    collections::BTreeMap,
    fs,
    path::{Component, Path, PathBuf},
};

const FILES: [&str; 6] = [
    "README.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "CHANGELOG.md",
    "fuzz/README.md",
    "examples/key0-backend/README.md",
];
const FOLDERS: [&str; 2] = ["src/docs", "examples/key0-backend/deploy"];
/// What the pages of the guide link to in rustdoc, by the same labels as in the files.
const RUSTDOC_LINKS: &str = "src/docs/links.md";

/// A written page, without its code.
struct Page {
    path: PathBuf,
    text: String,
}

impl Page {
    fn read(path: &Path) -> Self {
        let text = fs::read_to_string(root().join(path)).unwrap();
        let mut in_code = false;
        let mut prose = String::new();
        for line in text.lines() {
            let fence = line.trim_start().starts_with("```");
            in_code ^= fence;
            if !fence && !in_code {
                prose.push_str(&without_code_spans(line));
                prose.push('\n');
            }
        }
        Self { path: path.to_owned(), text: prose }
    }

    /// The targets of `[text](target)`.
    fn inline_links(&self) -> impl Iterator<Item = &str> {
        self.text.split("](").skip(1).filter_map(|rest| rest.split(')').next())
    }

    /// The labels and targets of `[label]: target`.
    fn definitions(&self) -> BTreeMap<String, &str> {
        fn definition(line: &str) -> Option<(String, &str)> {
            let (label, target) = line.strip_prefix('[')?.split_once("]: ")?;
            Some((label.to_lowercase(), target))
        }
        self.text.lines().filter_map(definition).collect()
    }

    /// The anchors of its headings, as GitHub makes them.
    fn anchors(&self) -> Vec<String> {
        let heading = |line: &str| {
            line.starts_with('#').then(|| line.trim_start_matches('#').trim().to_lowercase())
        };
        let slug = |heading: String| {
            let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
            heading.chars().filter(kept).map(|c| if c == ' ' { '-' } else { c }).collect()
        };
        self.text.lines().filter_map(heading).map(slug).collect()
    }

    /// What is wrong with a link to `target`.
    fn fault(&self, target: &str) -> Option<String> {
        if target.starts_with("https://") || target.starts_with("crate::") {
            return None;
        }
        let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
        let path = match file {
            "" => self.path.clone(),
            _ => normal(&self.path.parent().unwrap().join(file)),
        };
        let fault = if !root().join(&path).exists() {
            "there is no such file"
        } else if !anchor.is_empty() && !Self::read(&path).anchors().contains(&anchor.to_owned()) {
            "it has no such heading"
        } else if self.path == Path::new("README.md") && !is_packaged(&path) {
            "it is not in the package, whose front page README is"
        } else {
            return None;
        };
        Some(format!("{}: `{target}`: {fault}", self.path.display()))
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Headings keep what they show as code; links in code are none.
fn without_code_spans(line: &str) -> String {
    match line.starts_with('#') {
        true => line.replace('`', ""),
        false => line.split('`').step_by(2).collect::<Vec<_>>().join("`"),
    }
}

fn normal(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::new(), |mut normal, component| {
        match component {
            Component::ParentDir => drop(normal.pop()),
            component => normal.push(component),
        }
        normal
    })
}

fn is_packaged(path: &Path) -> bool {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let included = manifest.lines().find(|line| line.starts_with("include = ")).unwrap();
    let first = path.components().next().unwrap().as_os_str().to_str().unwrap();
    included.contains(&format!("\"/{first}\""))
}

fn pages() -> Vec<Page> {
    let in_folder = |folder: &str| {
        let entries = fs::read_dir(root().join(folder)).unwrap();
        let folder = PathBuf::from(folder);
        entries.map(move |entry| folder.join(entry.unwrap().file_name()))
    };
    let files = FILES.iter().map(PathBuf::from).chain(FOLDERS.iter().flat_map(|at| in_folder(at)));
    let is_page = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "md");
    files.filter(is_page).map(|path| Page::read(&path)).collect()
}

#[test]
fn every_link_leads_somewhere() {
    let pages = pages();
    let links = |page: &Page| {
        let defined = page.definitions().into_values().map(str::to_owned);
        page.inline_links().map(str::to_owned).chain(defined).collect::<Vec<_>>()
    };
    let faults: Vec<_> = pages
        .iter()
        .flat_map(|page| links(page).into_iter().filter_map(|to| page.fault(&to)))
        .collect();
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
    assert!(pages.iter().map(|page| links(page).len()).sum::<usize>() > 50, "links are found");

    for broken in ["no_such_page.md", "guide.md#no-such-heading", "#no-such-heading"] {
        let page = pages.iter().find(|page| page.path.ends_with("architecture.md")).unwrap();
        assert!(page.fault(broken).is_some(), "{broken}");
    }
    let readme = pages.iter().find(|page| page.path == Path::new("README.md")).unwrap();
    assert!(readme.fault("fuzz/README.md").is_some(), "not in the package");
}

/// A page of the guide is read as a file and in rustdoc, where its labels mean the same.
#[test]
fn pages_of_the_guide_link_alike_in_rustdoc() {
    let pages = pages();
    let rustdoc = pages.iter().find(|page| page.path == Path::new(RUSTDOC_LINKS)).unwrap();
    let rustdoc = rustdoc.definitions();
    for page in pages.iter().filter(|page| page.path.starts_with("src/docs")) {
        let own = page.definitions();
        if page.path == Path::new(RUSTDOC_LINKS) {
            continue;
        }
        for (label, target) in &own {
            let module = target.strip_suffix(".md").map(|name| format!("crate::guide::{name}"));
            let wanted = rustdoc.get(label).map(|&target| target.to_owned());
            assert_eq!(module, wanted, "{}: [{label}]", page.path.display());
        }
        let text = page.text.to_lowercase();
        for label in rustdoc.keys().filter(|label| text.contains(&format!("[{label}]"))) {
            assert!(own.contains_key(label), "{}: [{label}] is not defined", page.path.display());
        }
    }
    let guide = pages.iter().find(|page| page.path.ends_with("guide.md")).unwrap();
    assert_eq!(guide.definitions().len(), rustdoc.len(), "the guide lists every page");
}
