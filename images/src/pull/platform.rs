//! `--platform os/arch[/variant]`, in the spellings people use.

use crate::manifest::Platform;

/// Why a text is no platform.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not a platform: os/architecture[/variant] expected, e.g. linux/arm64")]
pub struct PlatformError(String);

/// Reads `linux/arm64`, `linux/arm/v7` or `arm64`; uname(1)'s names for
/// processors are turned into Go's, which images use.
///
/// # Errors
/// [`PlatformError`] for anything else.
pub fn parse_platform(text: &str) -> Result<Platform, PlatformError> {
    let wrong = || PlatformError(text.to_owned());
    let lower = text.to_ascii_lowercase();
    let word = |w: &&str| {
        !w.is_empty() && w.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
    };
    let words: Vec<&str> = lower.split('/').collect();
    if !words.iter().all(word) {
        return Err(wrong());
    }
    let (os, architecture, variant) = match words.as_slice() {
        [architecture] => ("linux", *architecture, None),
        [os, architecture] => (*os, *architecture, None),
        [os, architecture, variant] => (*os, *architecture, Some(*variant)),
        _ => return Err(wrong()),
    };
    let (architecture, implied) = match architecture {
        "x86_64" | "x86-64" => ("amd64", None),
        "aarch64" => ("arm64", None),
        "i386" | "i686" | "x86" => ("386", None),
        "armhf" => ("arm", Some("v7")),
        "armel" => ("arm", Some("v6")),
        other => (other, None),
    };
    // arm64 means v8 and arm means v7 unless it says otherwise.
    let usual = match architecture {
        "arm64" => Some("v8"),
        "arm" => Some("v7"),
        _ => None,
    };
    let variant = variant.or(implied).or(usual).map(str::to_owned);
    Ok(Platform { architecture: architecture.to_owned(), os: os.to_owned(), variant })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_usual_spellings_are_understood() {
        for (text, canonical) in [
            ("linux/amd64", "linux/amd64"),
            ("x86_64", "linux/amd64"),
            ("Linux/aarch64", "linux/arm64/v8"),
            ("linux/arm", "linux/arm/v7"),
            ("linux/arm/v6", "linux/arm/v6"),
            ("armhf", "linux/arm/v7"),
            ("windows/amd64", "windows/amd64"),
        ] {
            assert_eq!(parse_platform(text).unwrap().to_string(), canonical);
        }
        for bad in ["", "/", "linux/", "a/b/c/d", "linux//v7", "linux/ar m"] {
            assert!(parse_platform(bad).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_parses_to_the_same(text in "(linux/)?[a-z0-9]{1,6}(/v[0-9])?") {
            if let Ok(platform) = parse_platform(&text) {
                prop_assert_eq!(parse_platform(&platform.to_string()).unwrap(), platform);
            }
        }
    }
}
