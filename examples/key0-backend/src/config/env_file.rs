//! Reads a `.env` file so that a value is what stands in it, byte for byte, or is refused.
//!
//! The crates for this undo backslashes, drop quotes inside of a value and expand `$`, each in a way
//! of its own: a secret becomes another one without a word. They name no line either.

/// A line of a `.env` file that gives a variable.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry<'a> {
    pub(super) name: &'a str,
    /// As it stands in the file, without the quotes around it.
    pub(super) value: String,
    /// Counted from 1; of its first line, where it takes several.
    pub(super) line: usize,
    /// It is in double quotes and holds a backslash, which other tools may take away.
    pub(super) has_escapes: bool,
    /// Why other tools could read another value here.
    pub(super) doubt: Option<&'static str>,
}

/// A line that gives nothing, and should. Holds nothing of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BadLine<'a> {
    pub(super) line: usize,
    pub(super) name: Option<&'a str>,
    pub(super) reason: &'static str,
}

/// Every line that is neither empty nor a comment.
///
/// `NAME=value`, with or without `export` before it. A value in single or double quotes may go over
/// several lines, and a comment may follow it. Nothing is expanded and no escape is undone.
pub(super) fn read(text: &[u8]) -> Vec<Result<Entry<'_>, BadLine<'_>>> {
    let text = text.strip_prefix("\u{feff}".as_bytes()).unwrap_or(text);
    if text.starts_with(b"\xff\xfe") || text.starts_with(b"\xfe\xff") {
        let reason = "the file is UTF-16; save it as UTF-8";
        return vec![Err(BadLine { line: 1, name: None, reason })];
    }
    let lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').collect();
    let mut read = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        let line = lines[at].strip_suffix(b"\r").unwrap_or(lines[at]);
        if matches!(line.trim_ascii_start().first(), None | Some(b'#')) {
            at += 1;
            continue;
        }
        let mut taken = 1;
        read.push(entry(at + 1, line, &lines[at + 1..], &mut taken));
        at += taken;
    }
    read
}

fn entry<'a>(
    line: usize,
    text: &'a [u8],
    next: &[&[u8]],
    taken: &mut usize,
) -> Result<Entry<'a>, BadLine<'a>> {
    let bad = |name, reason| BadLine { line, name, reason };
    let (name, value) = split(text).ok_or(bad(None, "it is not NAME=value"))?;
    let not_text = bad(Some(name), "it is not UTF-8");
    let Ok(value) = str::from_utf8(value) else { return Err(not_text) };
    let entry = Entry { name, value: value.to_owned(), line, has_escapes: false, doubt: None };
    let spaceless = value.trim_ascii_start();
    let Some(quote) = spaceless.chars().next().filter(|first| matches!(first, '"' | '\'')) else {
        let doubt = "its # after a space begins a comment in some tools; put the value in single \
                     quotes, or the comment on a line of its own";
        let comment = value.contains(" #") || value.contains("\t#");
        return Ok(Entry { doubt: comment.then_some(doubt), ..entry });
    };
    let mut value = spaceless[1..].to_owned();
    let mut further = next.iter();
    let end = loop {
        if let Some(end) = value.find(quote) {
            break end;
        }
        let open = bad(Some(name), "the quote before its value has no partner");
        let next = further.next().ok_or(open)?;
        let Ok(next) = str::from_utf8(next) else { return Err(not_text) };
        value.push('\n');
        value.push_str(next);
        *taken += 1;
    };
    let behind = value.split_off(end);
    let behind = behind[1..].trim_ascii();
    let doubt = "something follows its closing quote; a value that holds quotes of one sort stands \
                 in those of the other";
    let doubt = (!behind.is_empty() && !behind.starts_with('#')).then_some(doubt);
    let has_escapes = quote == '"' && value.contains('\\');
    Ok(Entry { value, has_escapes, doubt, ..entry })
}

fn split(line: &[u8]) -> Option<(&str, &[u8])> {
    let sign = line.iter().position(|byte| *byte == b'=')?;
    let name = str::from_utf8(&line[..sign]).ok()?.trim_ascii();
    let name = name.strip_prefix("export ").unwrap_or(name).trim_ascii_start();
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    let is_name = !name.is_empty() && name.bytes().all(legal);
    is_name.then_some((name, &line[sign + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(text: &str) -> Vec<(String, String, usize)> {
        let entries = read(text.as_bytes()).into_iter().map(|entry| {
            let entry = entry.expect("it is an entry");
            assert_eq!(entry.doubt, None, "{entry:?}");
            (entry.name.to_owned(), entry.value, entry.line)
        });
        entries.collect()
    }

    #[test]
    fn a_value_is_what_stands_there() {
        for value in [
            r"a\nb\\c\$d\tq",
            r#"a"b'c`d"#,
            "$HOME${HOME}%7E",
            "a#b",
            "a b  c",
            " a ",
            "a=b==",
            "é\u{200b}",
            "",
        ] {
            let expected = vec![("A".to_owned(), value.to_owned(), 1)];
            for ending in ["", "\n", "\r\n"] {
                assert_eq!(values(&format!("A={value}{ending}")), expected);
            }
            assert_eq!(values(&format!("export A ={value}\n")), expected);
            for quote in ['"', '\''] {
                if !value.contains(quote) {
                    assert_eq!(values(&format!("A={quote}{value}{quote}")), expected);
                    assert_eq!(values(&format!("A= {quote}{value}{quote} # c\r\n")), expected);
                }
            }
        }
    }

    #[test]
    fn lines_are_counted() {
        let text = "\u{feff}# a comment\n\n  # another\r\nA='one\ntwo\n'\nB=3\n";
        let expected = [("A", "one\ntwo\n", 4), ("B", "3", 7)];
        let expected =
            expected.map(|(name, value, line)| (name.to_owned(), value.to_owned(), line));
        assert_eq!(values(text), expected);
    }

    #[test]
    fn what_is_no_entry() {
        let one = |text: &'static [u8]| {
            let mut bad = read(text).into_iter().filter_map(Result::err);
            bad.next().map(|bad| (bad.line, bad.name, bad.reason))
        };
        let no_entry = "it is not NAME=value";
        for text in [&b"\nA"[..], b"\n=a", b"\nA: b", b"\nA B=c", b"\n\xff=a"] {
            assert_eq!(one(text), Some((2, None, no_entry)), "{text:?}");
        }
        assert_eq!(one(b"A=1\nB=\xff"), Some((2, Some("B"), "it is not UTF-8")));
        let open = "the quote before its value has no partner";
        assert_eq!(one(b"A=1\nB='\nC=2\n"), Some((2, Some("B"), open)));
        assert_eq!(one(b"\xff\xfeA\0=\0"), Some((1, None, "the file is UTF-16; save it as UTF-8")));
    }

    #[test]
    fn what_other_tools_read_otherwise() {
        for text in ["A='a'b", r#"A="a\"b""#, "A=\"a\" b", "A=a # b", "A=a\t#b"] {
            let entries = read(text.as_bytes());
            assert!(matches!(&entries[..], [Ok(Entry { doubt: Some(_), .. })]), "{text}");
        }
        for (text, escapes) in [(r#"A="a\nb""#, true), (r"A='a\nb'", false), (r"A=a\nb", false)] {
            let entries = read(text.as_bytes());
            let [Ok(entry)] = &entries[..] else { panic!("{text}") };
            assert_eq!((entry.has_escapes, &*entry.value), (escapes, r"a\nb"), "{text}");
        }
    }
}
