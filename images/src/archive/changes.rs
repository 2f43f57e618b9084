//! `--change` instructions of `import` and `commit`: Dockerfile lines that change
//! a configuration and nothing else. Pure.

use crate::config::{Healthcheck, RunConfig};

/// A range of exposed ports may have this many; there are no more ports.
const PORTS_MAX: u32 = 65_536;

/// Why an instruction was not applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// Not an instruction that only changes the configuration; docker's words.
    #[error("{0} is not a valid change command")]
    Command(String),
    /// It needs something it did not get.
    #[error("{command} requires {what}: \"{text}\"")]
    Arguments {
        /// The instruction.
        command: String,
        /// What is missing.
        what: &'static str,
        /// As typed.
        text: String,
    },
}

/// Applies `changes` in order.
///
/// # Errors
/// The first one that makes no sense; `config` then holds those before it.
pub fn apply_changes(config: &mut RunConfig, changes: &[String]) -> Result<(), ChangeError> {
    changes.iter().try_for_each(|change| apply_change(config, change))
}

fn apply_change(config: &mut RunConfig, change: &str) -> Result<(), ChangeError> {
    let change = change.trim();
    let (command, rest) = change.split_once(char::is_whitespace).unwrap_or((change, ""));
    let (command, rest) = (command.to_ascii_uppercase(), rest.trim());
    let missing =
        |what| ChangeError::Arguments { command: command.clone(), what, text: change.to_owned() };
    if rest.is_empty() {
        return match command.as_str() {
            "CMD" | "ENTRYPOINT" | "ENV" | "EXPOSE" | "HEALTHCHECK" | "LABEL" | "ONBUILD"
            | "STOPSIGNAL" | "USER" | "VOLUME" | "WORKDIR" => Err(missing("an argument")),
            _ => Err(ChangeError::Command(command)),
        };
    }
    match command.as_str() {
        "CMD" => config.cmd = command_words(rest),
        "ENTRYPOINT" => config.entrypoint = command_words(rest),
        "USER" => rest.clone_into(&mut config.user),
        "WORKDIR" => config.working_dir = join(&config.working_dir, rest),
        "STOPSIGNAL" => config.stop_signal = Some(rest.to_owned()),
        "ONBUILD" => config.on_build.push(rest.to_owned()),
        "ENV" => {
            let pairs = pairs(rest).ok_or_else(|| missing("NAME=value pairs"))?;
            pairs.into_iter().for_each(|(name, value)| set_env(&mut config.env, &name, &value));
        }
        "LABEL" => {
            config.labels.extend(pairs(rest).ok_or_else(|| missing("name=value pairs"))?);
        }
        "EXPOSE" => {
            for word in rest.split_whitespace() {
                let ports = ports(word).ok_or_else(|| missing("ports like 80, 53/udp, 1-5/tcp"))?;
                config.exposed_ports.extend(ports);
            }
        }
        "VOLUME" => {
            let paths = json_words(rest)
                .unwrap_or_else(|| rest.split_whitespace().map(str::to_owned).collect());
            if paths.iter().any(String::is_empty) {
                return Err(missing("paths that are not empty"));
            }
            config.volumes.extend(paths);
        }
        "HEALTHCHECK" => {
            let check = healthcheck(rest).ok_or_else(|| missing("NONE, or options and CMD"))?;
            config.healthcheck = Some(check);
        }
        _ => return Err(ChangeError::Command(command)),
    }
    Ok(())
}

fn json_words(text: &str) -> Option<Vec<String>> {
    serde_json::from_str(text).ok()
}

/// Exec form, or shell form run by `/bin/sh -c`.
fn command_words(text: &str) -> Vec<String> {
    json_words(text).unwrap_or_else(|| vec!["/bin/sh".into(), "-c".into(), text.to_owned()])
}

fn join(base: &str, path: &str) -> String {
    let joined = if path.starts_with('/') { path.to_owned() } else { format!("{base}/{path}") };
    let mut parts: Vec<&str> = Vec::new();
    for part in joined.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            _ => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

fn set_env(env: &mut Vec<String>, name: &str, value: &str) {
    let line = format!("{name}={value}");
    let same = |known: &&mut String| known.split('=').next() == Some(name);
    match env.iter_mut().find(same) {
        Some(known) => *known = line,
        None => env.push(line),
    }
}

/// `a=b "c d"=e` or the old `a the whole rest`.
fn pairs(text: &str) -> Option<Vec<(String, String)>> {
    let words = split_words(text)?;
    if !words.first()?.contains('=') {
        let (name, value) = text.split_once(char::is_whitespace)?;
        return Some(vec![(name.to_owned(), value.trim().to_owned())]);
    }
    let pair = |word: String| {
        let (name, value) = word.split_once('=')?;
        (!name.is_empty()).then(|| (name.to_owned(), value.to_owned()))
    };
    words.into_iter().map(pair).collect()
}

/// Words apart by blanks; quotes and backslashes keep blanks in a word.
fn split_words(text: &str) -> Option<Vec<String>> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (c, quote) {
            (c, Some(open)) if c == open => quote = None,
            ('\\', Some('"') | None) => word.get_or_insert_default().push(chars.next()?),
            (c, Some(_)) => word.get_or_insert_default().push(c),
            ('"' | '\'', None) => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (c, None) if c.is_whitespace() => words.extend(word.take()),
            (c, None) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    quote.is_none().then_some(words)
}

/// `80`, `53/udp`, `8000-8003/tcp` → one name per port.
fn ports(word: &str) -> Option<Vec<String>> {
    let (range, protocol) = word.split_once('/').unwrap_or((word, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return None;
    }
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let port = |text: &str| text.parse::<u16>().ok().map(u32::from);
    let (first, last) = (port(first)?, port(last)?);
    (first <= last && last - first < PORTS_MAX)
        .then(|| (first..=last).map(|port| format!("{port}/{protocol}")).collect())
}

/// `NONE`, or `--interval=30s … CMD …`.
fn healthcheck(text: &str) -> Option<Healthcheck> {
    let mut check = Healthcheck::default();
    let mut rest = text;
    loop {
        let (word, after) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        let after = after.trim_start();
        if let Some(option) = word.strip_prefix("--") {
            let (name, value) = option.split_once('=')?;
            match name {
                "interval" => check.interval = duration(value)?,
                "timeout" => check.timeout = duration(value)?,
                "start-period" => check.start_period = duration(value)?,
                "start-interval" => check.start_interval = duration(value)?,
                "retries" => check.retries = value.parse().ok().filter(|n| *n >= 0)?,
                _ => return None,
            }
            rest = after;
            continue;
        }
        check.test = match (word.to_ascii_uppercase().as_str(), after) {
            ("NONE", "") => vec!["NONE".to_owned()],
            ("CMD", command) if !command.is_empty() => match json_words(command) {
                Some(words) => [vec!["CMD".to_owned()], words].concat(),
                None => vec!["CMD-SHELL".to_owned(), command.to_owned()],
            },
            _ => return None,
        };
        return Some(check);
    }
}

/// Go's durations: `1m30s`, `500ms` → nanoseconds.
fn duration(text: &str) -> Option<i64> {
    let mut rest = text;
    let mut total = 0i64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(digits);
        let unit = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(unit);
        let scale = match unit {
            "ns" => 1,
            "us" | "µs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000i64,
            _ => return None,
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let whole = whole.parse::<i64>().ok()?.checked_mul(scale)?;
        let fraction = match fraction {
            "" => 0.0,
            digits => format!("0.{digits}").parse::<f64>().ok()?,
        };
        // Below one unit: exact enough in a double.
        total = total.checked_add(whole)?.checked_add((fraction * scale as f64) as i64)?;
        rest = after;
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(changes: &[&str]) -> RunConfig {
        let mut config = RunConfig::default();
        let changes: Vec<String> = changes.iter().map(|c| (*c).to_owned()).collect();
        apply_changes(&mut config, &changes).unwrap();
        config
    }

    #[test]
    fn instructions_change_the_configuration_as_in_a_dockerfile() {
        let config = applied(&[
            r#"CMD ["nginx","-g","daemon off;"]"#,
            "entrypoint /start.sh --now",
            r#"ENV A=1 B="two words" C=x\ y"#,
            "ENV A 3 and more",
            "EXPOSE 80 53/udp 8000-8002/TCP",
            "USER www:www",
            "WORKDIR /srv",
            "WORKDIR app/../web",
            r#"LABEL "a b"=c d=e"#,
            r#"VOLUME ["/data"]"#,
            "VOLUME /x /y",
            "STOPSIGNAL SIGQUIT",
            "HEALTHCHECK --interval=1m30s --retries=3 CMD curl -f localhost",
            "ONBUILD RUN true",
        ]);
        assert_eq!(config.cmd, ["nginx", "-g", "daemon off;"]);
        assert_eq!(config.entrypoint, ["/bin/sh", "-c", "/start.sh --now"]);
        assert_eq!(config.env, ["A=3 and more", "B=two words", "C=x y"]);
        let ports: Vec<_> = config.exposed_ports.iter().map(String::as_str).collect();
        assert_eq!(ports, ["53/udp", "80/tcp", "8000/tcp", "8001/tcp", "8002/tcp"]);
        assert_eq!((config.user.as_str(), config.working_dir.as_str()), ("www:www", "/srv/web"));
        assert_eq!(config.labels["a b"], "c");
        assert_eq!(config.volumes.len(), 3);
        let check = config.healthcheck.unwrap();
        assert_eq!((check.interval, check.retries), (90_000_000_000, 3));
        assert_eq!(check.test, ["CMD-SHELL", "curl -f localhost"]);
    }

    #[test]
    fn what_is_no_change_is_refused() {
        let mut config = RunConfig::default();
        let error = apply_changes(&mut config, &["RUN rm -rf /".to_owned()]).unwrap_err();
        assert_eq!(error.to_string(), "RUN is not a valid change command");
        for bad in [
            "CMD",
            "EXPOSE 0x",
            "EXPOSE 5-1",
            "EXPOSE 70000",
            "EXPOSE 1/icmp",
            "ENV A",
            "ENV A=\"x",
            "LABEL =x y=z",
            "HEALTHCHECK CMD",
            "HEALTHCHECK --interval=x CMD y",
            "FROM x",
            "",
        ] {
            assert!(apply_changes(&mut config, &[bad.to_owned()]).is_err(), "{bad:?}");
        }
        assert_eq!(config, RunConfig::default());
    }
}
