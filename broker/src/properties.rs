//! Properties files, as `java.util.Properties` reads them, with the line each setting stands on.
//!
//! Owns: the syntax (comments, continued lines, escapes, the three separators) and the expansion of
//! `${env:NAME}` in values, which Kafka's EnvVarConfigProvider does. Must not know any key: `ottla-core`
//! has the table. Unlike Java's, files are UTF-8.

use std::iter::Peekable;
use std::str::Chars;

use ottla_core::config::{Origin, Setting};

/// A properties file that has been read.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Properties {
    /// Every setting in order. A key that is set twice is here twice; the last one counts.
    pub(crate) settings: Vec<Setting>,
}

/// Something on a line that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{origin}: {problem}")]
pub(crate) struct PropertiesError {
    /// Where.
    pub(crate) origin: Origin,
    /// What.
    pub(crate) problem: PropertiesProblem,
}

/// What cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PropertiesProblem {
    /// `\u` without four hexadecimal digits.
    #[error("\"\\u\" must be followed by the four hexadecimal digits of a character")]
    BadEscape,
    /// `${env:NAME}` where the process has no such variable.
    #[error("config \"{key}\" asks for the environment variable \"{variable}\", which is not set")]
    VariableNotSet {
        /// The key.
        key: String,
        /// The variable.
        variable: String,
    },
    /// `${env:` without an end.
    #[error("config \"{key}\": \"${{env:\" has no closing \"}}\"")]
    Unclosed {
        /// The key.
        key: String,
    },
    /// `--override` without `=`.
    #[error("\"{0}\" is not KEY=VALUE")]
    NoAssignment(String),
    /// Bytes that are no text.
    #[error("the file is not UTF-8")]
    NotUtf8,
}

impl Properties {
    /// Reads a file's bytes. `environment` gives the value of a variable. All errors are reported at once.
    pub(crate) fn parse(
        bytes: &[u8],
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, Vec<PropertiesError>> {
        let text = std::str::from_utf8(bytes).map_err(|error| {
            let good = &bytes[..error.valid_up_to()];
            let line = good.iter().filter(|byte| **byte == b'\n').count() + 1;
            let line = u32::try_from(line).unwrap_or(u32::MAX);
            vec![PropertiesError { origin: Origin::Line(line), problem: PropertiesProblem::NotUtf8 }]
        })?;
        let mut properties = Self::default();
        let mut errors = Vec::new();
        for LogicalLine { text, number } in logical_lines(text) {
            let origin = Origin::Line(number);
            match assignment(&text).and_then(|(key, value)| expanded(key, &value, origin, &environment)) {
                Ok(setting) => properties.settings.push(setting),
                Err(problem) => errors.push(PropertiesError { origin, problem }),
            }
        }
        if errors.is_empty() { Ok(properties) } else { Err(errors) }
    }

    /// Adds settings of the command line, each `KEY=VALUE`.
    pub(crate) fn add_overrides(
        &mut self,
        overrides: &[String],
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<(), Vec<PropertiesError>> {
        let origin = Origin::CommandLine;
        let mut errors = Vec::new();
        for text in overrides {
            let setting = match text.split_once('=') {
                Some((key, value)) => expanded(key.trim().to_owned(), value, origin, &environment),
                None => Err(PropertiesProblem::NoAssignment(text.clone())),
            };
            match setting {
                Ok(setting) => self.settings.push(setting),
                Err(problem) => errors.push(PropertiesError { origin, problem }),
            }
        }
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    /// The value of a key; of several the last.
    pub(crate) fn value(&self, key: &str) -> Option<&str> {
        self.settings.iter().rfind(|setting| setting.key == key).map(|setting| setting.value.as_str())
    }

    /// Settings that a later line of the same file overrules: the first, and the one that counts.
    pub(crate) fn repeated(&self) -> Vec<(&Setting, &Setting)> {
        let in_file = |setting: &&Setting| matches!(setting.origin, Origin::Line(_));
        let lines: Vec<&Setting> = self.settings.iter().filter(in_file).collect();
        let overruled = |(index, setting): (usize, &&'_ Setting)| {
            let last = lines[index + 1..].iter().rfind(|later| later.key == setting.key)?;
            Some((lines[index], *last))
        };
        lines.iter().enumerate().filter_map(overruled).collect()
    }
}

/// One or more lines of a file, joined where one ends in a backslash.
struct LogicalLine {
    text: String,
    /// Of the first of them, from 1.
    number: u32,
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\u{c}')
}

/// Lines end in `\n`, `\r\n` or `\r`.
fn natural_lines(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let Some(end) = text.find(['\n', '\r']) else { return rest.take() };
        let length = if text[end..].starts_with("\r\n") { 2 } else { 1 };
        rest = Some(&text[end + length..]);
        Some(&text[..end])
    })
}

fn logical_lines(text: &str) -> Vec<LogicalLine> {
    let mut lines: Vec<LogicalLine> = Vec::new();
    let mut continued = false;
    for (line, number) in natural_lines(text).zip(1..) {
        let line = line.trim_start_matches(is_space);
        // A line that is nothing but a backslash has not begun yet, and a comment may follow it.
        if continued && lines.last().is_some_and(|before| before.text.is_empty()) {
            lines.pop();
            continued = false;
        }
        if !continued && (line.is_empty() || line.starts_with(['#', '!'])) {
            continue;
        }
        // An even number of backslashes at the end is so many escaped backslashes.
        let backslashes = line.bytes().rev().take_while(|byte| *byte == b'\\').count();
        let continues = backslashes % 2 == 1;
        let piece = if continues { &line[..line.len() - 1] } else { line };
        match lines.last_mut() {
            Some(before) if continued => before.text.push_str(piece),
            _ => lines.push(LogicalLine { text: piece.to_owned(), number }),
        }
        continued = continues;
    }
    lines
}

/// Splits a line at the first `=`, `:` or space that is not escaped.
fn assignment(line: &str) -> Result<(String, String), PropertiesProblem> {
    let mut rest = line.chars().peekable();
    let key = unescape_until(&mut rest, |c| is_space(c) || c == '=' || c == ':')?;
    skip_spaces(&mut rest);
    if rest.next_if(|c| *c == '=' || *c == ':').is_some() {
        skip_spaces(&mut rest);
    }
    Ok((key, unescape_until(&mut rest, |_| false)?))
}

fn skip_spaces(rest: &mut Peekable<Chars<'_>>) {
    while rest.next_if(|c| is_space(*c)).is_some() {}
}

fn unescape_until(
    rest: &mut Peekable<Chars<'_>>,
    end: impl Fn(char) -> bool,
) -> Result<String, PropertiesProblem> {
    let mut text = String::new();
    while let Some(c) = rest.next_if(|c| !end(*c)) {
        if c != '\\' {
            text.push(c);
            continue;
        }
        match rest.next() {
            Some('t') => text.push('\t'),
            Some('n') => text.push('\n'),
            Some('r') => text.push('\r'),
            Some('f') => text.push('\u{c}'),
            Some('u') => text.push(unicode_escape(rest)?),
            // Java drops the backslash before anything else.
            Some(other) => text.push(other),
            None => {}
        }
    }
    Ok(text)
}

fn unicode_escape(rest: &mut Peekable<Chars<'_>>) -> Result<char, PropertiesProblem> {
    let mut code = 0;
    for _ in 0..4 {
        let digit = rest.next().and_then(|c| c.to_digit(16)).ok_or(PropertiesProblem::BadEscape)?;
        code = code * 16 + digit;
    }
    // Half of a surrogate pair is no character; no config key or value needs one.
    char::from_u32(code).ok_or(PropertiesProblem::BadEscape)
}

/// Makes a setting, with every `${env:NAME}` in its value replaced. Other `${...}` stay as they are, as in
/// Kafka where no provider of that name is configured. Values of variables are not expanded again.
fn expanded(
    key: String,
    value: &str,
    origin: Origin,
    environment: impl Fn(&str) -> Option<String>,
) -> Result<Setting, PropertiesProblem> {
    const OPEN: &str = "${env:";
    let mut whole = String::new();
    let mut rest = value;
    while let Some((before, after)) = rest.split_once(OPEN) {
        let Some((variable, after)) = after.split_once('}') else {
            return Err(PropertiesProblem::Unclosed { key });
        };
        let Some(text) = environment(variable) else {
            return Err(PropertiesProblem::VariableNotSet { key, variable: variable.to_owned() });
        };
        whole.push_str(before);
        whole.push_str(&text);
        rest = after;
    }
    whole.push_str(rest);
    Ok(Setting { key, value: whole, origin })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(name: &str) -> Option<String> {
        match name {
            "NODE_ID" => Some("7".to_owned()),
            "EMPTY" => Some(String::new()),
            "NESTED" => Some("${env:NODE_ID}".to_owned()),
            _ => None,
        }
    }

    fn parse(text: &str) -> Result<Vec<(String, String, Origin)>, Vec<String>> {
        Properties::parse(text.as_bytes(), environment)
            .map(|file| file.settings.into_iter().map(|s| (s.key, s.value, s.origin)).collect())
            .map_err(|errors| errors.iter().map(PropertiesError::to_string).collect())
    }

    #[track_caller]
    fn reads(text: &str, expected: &[(&str, &str, u32)]) {
        let expected: Vec<_> = expected
            .iter()
            .map(|(key, value, line)| ((*key).to_owned(), (*value).to_owned(), Origin::Line(*line)))
            .collect();
        assert_eq!(parse(text), Ok(expected), "{text:?}");
    }

    #[test]
    fn separators() {
        for line in ["a=b", "a = b", "a:b", "a : b", "a b", "  a\t=\u{c}b", "a   b", "a=b\r\n"] {
            reads(line, &[("a", "b", 1)]);
        }
        reads("a", &[("a", "", 1)]);
        reads("a=", &[("a", "", 1)]);
        reads("a==b:c d ", &[("a", "=b:c d ", 1)]);
        reads("listeners=PLAIN://:9092", &[("listeners", "PLAIN://:9092", 1)]);
        reads("=b", &[("", "b", 1)]);
    }

    #[test]
    fn comments_and_empty_lines_count_as_lines() {
        reads("# one\n\n  ! two \\\na=b # no comment\n", &[("a", "b # no comment", 4)]);
    }

    #[test]
    fn lines_are_continued() {
        reads("a=b,\\\n   c,\\\n\td\ne=f", &[("a", "b,c,d", 1), ("e", "f", 4)]);
        reads("a=b\\\\\nc=d", &[("a", "b\\", 1), ("c", "d", 2)]);
        reads("a=b\\\n# no comment", &[("a", "b# no comment", 1)]);
        reads("a=b\\\n\nc=d", &[("a", "b", 1), ("c", "d", 3)]);
        reads("a=b\\", &[("a", "b", 1)]);
        reads("a=b\rc=d\r\ne=f", &[("a", "b", 1), ("c", "d", 2), ("e", "f", 3)]);
        reads("\\\n# a comment\na=b", &[("a", "b", 3)]);
    }

    #[test]
    fn escapes() {
        reads(r"a\ b\=\:=c\td", &[("a b=:", "c\td", 1)]);
        reads(r"a=\u00e4\n\q\#", &[("a", "ä\nq#", 1)]);
        for bad in ["a=\\u12", "x=1\na=\\u12g4", "a=\\ud800"] {
            let line = bad.lines().count();
            assert_eq!(
                parse(bad),
                Err(vec![format!(
                    "line {line}: \"\\u\" must be followed by the four hexadecimal digits of a character"
                )])
            );
        }
    }

    #[test]
    fn variables_are_expanded_in_values() {
        reads("node.id=${env:NODE_ID}", &[("node.id", "7", 1)]);
        reads("a=x${env:NODE_ID}y${env:EMPTY}${env:NODE_ID}", &[("a", "x7y7", 1)]);
        reads("a=${env:NESTED}", &[("a", "${env:NODE_ID}", 1)]);
        reads("a=${file:/x:y} ${b} $c", &[("a", "${file:/x:y} ${b} $c", 1)]);
        assert_eq!(
            parse("a=1\nb=${env:NOT_THERE}\nc=${env:NODE_ID"),
            Err(vec![
                "line 2: config \"b\" asks for the environment variable \"NOT_THERE\", which is not set"
                    .to_owned(),
                "line 3: config \"c\": \"${env:\" has no closing \"}\"".to_owned(),
            ])
        );
    }

    #[test]
    fn overrides_come_last() {
        let mut file = Properties::parse(b"a=1\nb=2", environment).expect("a file");
        file.add_overrides(&["a=${env:NODE_ID}".to_owned(), "c=x=y".to_owned()], environment).expect("added");
        assert_eq!((file.value("a"), file.value("b"), file.value("c")), (Some("7"), Some("2"), Some("x=y")));
        let errors = file.add_overrides(&["nonsense".to_owned()], environment).expect_err("refused");
        assert_eq!(errors[0].to_string(), "--override: \"nonsense\" is not KEY=VALUE");
        assert_eq!(file.repeated(), [], "an override is no slip");
    }

    #[test]
    fn a_key_set_twice_is_noticed() {
        let file = Properties::parse(b"a=1\nb=2\na=3", environment).expect("a file");
        let repeated: Vec<_> =
            file.repeated().into_iter().map(|(first, last)| (first.origin, last.origin)).collect();
        assert_eq!(repeated, [(Origin::Line(1), Origin::Line(3))]);
        assert_eq!(file.value("a"), Some("3"));
    }

    #[test]
    fn bytes_that_are_no_text_are_refused() {
        let errors = Properties::parse(b"a=1\nb=\xff", environment).expect_err("refused");
        assert_eq!(errors[0].to_string(), "line 2: the file is not UTF-8");
    }
}
