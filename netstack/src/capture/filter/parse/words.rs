//! A filter's text → its words.

/// Words, the signs that need no space around them, and offsets: everything between
/// `[` and `]`, brackets included.
pub(super) fn split(text: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (word, after) = rest.split_at(length(rest));
        words.push(word);
        rest = after.trim_start();
    }
    words
}

/// Signs of two characters come before those that they begin with.
const SIGNS: [&str; 14] =
    ["&&", "||", "!=", "<=", ">=", "==", "(", ")", "!", "&", "|", "<", ">", "="];

/// How many bytes the first word has.
fn length(text: &str) -> usize {
    if text.starts_with('[') {
        return text.find(']').map_or(text.len(), |end| end + 1);
    }
    if let Some(sign) = SIGNS.into_iter().find(|sign| text.starts_with(sign)) {
        return sign.len();
    }
    let ends = |c: char| c.is_whitespace() || "[()!&|<>=".contains(c);
    text.find(ends).unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn signs_need_no_space() {
        let words = split(" tcp[ 13 ]&2!=0 &&!(ip6||arp)  len>=9");
        let wanted = [
            "tcp", "[ 13 ]", "&", "2", "!=", "0", "&&", "!", "(", "ip6", "||", "arp", ")", "len",
            ">=", "9",
        ];
        assert_eq!(words, wanted);
    }

    proptest! {
        #[test]
        fn no_character_is_lost(text in "\\PC{0,60}") {
            let without = |text: &str| text.split_whitespace().collect::<String>();
            prop_assert_eq!(without(&split(&text).concat()), without(&text));
        }
    }
}
