//! `--filter key=value`, given any number of times: values of one key are
//! alternatives, different keys must all hold.

use crate::failure::Failure;

/// The filters of one command, checked against the keys it knows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Filters(Vec<(String, String)>);

impl Filters {
    /// Parses `given`; `known` are the keys there are.
    ///
    /// # Errors
    /// A filter without `=`, or with a key that is not known, in docker's words.
    pub(crate) fn parse(given: &[String], known: &[&str]) -> Result<Self, Failure> {
        let mut filters = Vec::new();
        for text in given {
            let Some((key, value)) = text.split_once('=') else {
                return Err(Failure::runtime(format!(
                    "invalid argument \"{text}\" for \"-f, --filter\" flag: bad format of filter (expected name=value)"
                )));
            };
            let key = key.trim().to_lowercase();
            if !known.contains(&key.as_str()) {
                return Err(Failure::general(format!("invalid filter '{key}'"))
                    .hint(format!("the filters are: {}", known.join(", "))));
            }
            filters.push((key, value.trim().to_owned()));
        }
        Ok(Self(filters))
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The values given for `key`.
    pub(crate) fn values(&self, key: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(k, _)| k == key).map(|(_, value)| value.as_str())
    }

    /// Whether `key` was given at all.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.values(key).next().is_some()
    }

    /// Whether `key` was not given, or one of its values holds.
    pub(crate) fn any(&self, key: &str, holds: impl FnMut(&str) -> bool) -> bool {
        !self.has(key) || self.values(key).any(holds)
    }

    /// Whether every value of `key` holds: labels narrow down, they are no
    /// alternatives.
    pub(crate) fn all(&self, key: &str, holds: impl FnMut(&str) -> bool) -> bool {
        self.values(key).all(holds)
    }
}

/// `label=key` or `label=key=value`.
pub(crate) fn label_matches<'a>(
    wanted: &str,
    mut labels: impl Iterator<Item = (&'a String, &'a String)>,
) -> bool {
    match wanted.split_once('=') {
        Some((key, value)) => labels.any(|(k, v)| k == key && v == value),
        None => labels.any(|(k, _)| k == wanted),
    }
}

/// docker's match for names and ids: the value is a regular expression that may
/// match anywhere, or the whole text itself.
pub(crate) fn pattern_matches(pattern: &str, text: &str) -> bool {
    pattern == text || regex_lite::Regex::new(pattern).is_ok_and(|regex| regex.is_match(text))
}

/// docker's `reference` filter: path.Match, where `*` stops at `/`.
pub(crate) fn glob_matches(pattern: &str, text: &str) -> bool {
    match pattern.chars().next() {
        None => text.is_empty(),
        Some('*') => {
            let rest = &pattern[1..];
            let stops = text.char_indices().map(|(at, _)| at).chain([text.len()]);
            stops
                .take_while(|at| !text[..*at].contains('/'))
                .any(|at| glob_matches(rest, &text[at..]))
        }
        Some('?') => match text.chars().next() {
            Some(c) if c != '/' => glob_matches(&pattern[1..], &text[c.len_utf8()..]),
            _ => false,
        },
        Some(wanted) => match text.strip_prefix(wanted) {
            Some(text) => glob_matches(&pattern[wanted.len_utf8()..], text),
            None => false,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_a_key_are_alternatives_and_keys_must_all_hold() {
        let given = ["status=exited".to_owned(), "status=created".into(), "label=a".into()];
        let filters = Filters::parse(&given, &["status", "label"]).unwrap();
        assert!(filters.any("status", |v| v == "created"));
        assert!(!filters.any("status", |v| v == "running"));
        assert!(filters.any("name", |_| false));
        assert!(filters.all("label", |v| v == "a"));
    }

    #[test]
    fn a_filter_is_a_known_key_and_a_value() {
        let parse = |text: &str| Filters::parse(&[text.to_owned()], &["name"]);
        assert_eq!(parse("name").unwrap_err().exit_code(), 125);
        let error = parse("colour=red").unwrap_err();
        assert_eq!(error.text(), "rcnt: invalid filter 'colour'\nhint: the filters are: name\n");
    }

    #[test]
    fn names_are_matched_as_expressions_and_references_as_globs() {
        assert!(pattern_matches("we", "web"));
        assert!(pattern_matches("^web$", "web"));
        assert!(!pattern_matches("^we$", "web"));
        assert!(!pattern_matches("(", "web"));
        assert!(glob_matches("*:latest", "nginx:latest"));
        assert!(!glob_matches("*:latest", "library/nginx:latest"));
        assert!(glob_matches("lib*/ngin?:1.*", "library/nginx:1.27"));
    }
}
