//! The documents: their code blocks, their commands, code within a sentence, headings and links.

use std::fs;
use std::path::Path;

/// The project's directory.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub fn text(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every document that a reader is sent to.
pub fn files() -> Vec<String> {
    let mut found = vec!["README.md".to_owned()];
    let mut folders: Vec<_> = ["docs", "deploy", "examples", "tests"]
        .map(|folder| root().join(folder))
        .into();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            // `golden` holds recordings of the original.
            if path.is_dir() && !path.ends_with("golden") {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                let path = path.strip_prefix(root()).unwrap();
                found.push(path.to_string_lossy().into_owned());
            }
        }
    }
    found.sort();
    assert!(found.len() > 10, "{found:?}");
    found
}

/// A block of code.
#[derive(Debug)]
pub struct Block {
    pub file: String,
    /// The heading above it.
    pub section: String,
    /// What its fence says; of an indented block what its first words are.
    pub language: String,
    pub text: String,
    pub fenced: bool,
}

impl Block {
    /// The commands of a block of language `sh`, without their comments.
    pub fn commands(&self) -> Vec<&str> {
        let lines = self.text.lines();
        let lines = lines.map(|line| line.split(" # ").next().unwrap_or_default().trim());
        let shell = self.language == "sh";
        lines
            .filter(|line| shell && !line.is_empty() && !line.starts_with('#'))
            .collect()
    }
}

/// The blocks of a document, in order.
pub fn blocks(file: &str) -> Vec<Block> {
    let mut found: Vec<Block> = Vec::new();
    let mut section = String::new();
    let (mut fenced, mut indented, mut before) = (false, false, String::new());
    for line in text(file).lines() {
        if let Some(language) = line.strip_prefix("```") {
            if !fenced {
                found.push(Block {
                    file: file.into(),
                    section: section.clone(),
                    language: language.into(),
                    text: String::new(),
                    fenced: true,
                });
            }
            fenced = !fenced;
        } else if fenced {
            let block = found.last_mut().unwrap();
            block.text += line;
            block.text.push('\n');
        } else if let Some(code) = line.strip_prefix("    ") {
            // Behind an empty line; else it goes on with a paragraph or a list.
            if before.is_empty() && !indented {
                indented = true;
                let typed = ["make ", "cargo "]
                    .iter()
                    .any(|program| code.contains(program));
                found.push(Block {
                    file: file.into(),
                    section: section.clone(),
                    language: if typed { "sh" } else { "text" }.into(),
                    text: String::new(),
                    fenced: false,
                });
            }
            if indented {
                let block = found.last_mut().unwrap();
                block.text += code;
                block.text.push('\n');
            }
        } else {
            indented = false;
            if let Some(heading) = line.strip_prefix('#') {
                section = heading.trim_start_matches('#').trim().to_owned();
            }
        }
        line.clone_into(&mut before);
    }
    assert!(!fenced, "{file}: a block has no end");
    found
}

/// The text outside of blocks.
pub fn prose(file: &str) -> String {
    let mut fenced = false;
    let text = text(file);
    let lines = text.lines().filter(|line| {
        let fence = line.starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Code within sentences and tables.
pub fn inline(file: &str) -> Vec<String> {
    let prose = prose(file);
    let code = prose.split('`').skip(1).step_by(2);
    code.map(|code| code.replace("\\|", "|").replace('\n', " "))
        .collect()
}

/// The anchors of a document, as GitHub makes them.
pub fn anchors(file: &str) -> Vec<String> {
    let prose = prose(file);
    let headings = prose.lines().filter(|line| line.starts_with('#'));
    let anchors = headings.map(|heading| {
        let heading = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = heading
            .chars()
            .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        kept.collect::<String>().replace(' ', "-")
    });
    anchors.collect()
}

/// Where the links of a document go.
pub fn links(file: &str) -> Vec<String> {
    let prose = prose(file);
    let links = prose.split("](").skip(1);
    links
        .map(|rest| rest.split(')').next().unwrap().to_owned())
        .collect()
}

/// The words of a command line: quotes are taken off, what is optional in a usage counts as given, of alternatives the first.
pub fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let (mut quote, mut skip) = (None, false);
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (None, ']') => skip = false,
            _ if skip => {}
            (None, '[') => skip = chars.peek() == Some(&'='),
            (None, '\'' | '"') => quote = Some(c),
            (Some(open), _) if open == c => quote = None,
            (None, ' ') => words.push(String::new()),
            _ => words.last_mut().unwrap().push(c),
        }
    }
    words.retain(|word| !["", "…", "|"].contains(&word.as_str()));
    for word in &mut words {
        *word = match word.as_str() {
            "N" | "SECONDS" => "1".into(),
            "TIME" => "1s".into(),
            "LEVEL" => "warning".into(),
            "COMMAND" => "status".into(),
            _ => word.split('|').next().unwrap_or_default().to_owned(),
        };
    }
    words
}
