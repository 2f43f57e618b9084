//! `ps`: the processes of a container, as ps(1) would show them. Nothing is
//! run for it: what ps(1) says is in /proc, and the host may have no ps.

mod columns;
mod process;

use std::path::Path;

use rcnt_runtime::cgroup;

use crate::args::{Format, PsArgs};
use crate::state::Directory;
use crate::{Error, print, usage};
use columns::Column;
use process::{Host, Process};

/// Prints them.
pub(crate) fn ps(root: &Path, args: &PsArgs) -> Result<u8, Error> {
    let (id, options) = args.rest.split_first().unwrap_or((const { &String::new() }, &[]));
    if id.starts_with('-') {
        return Err(Error::Refused(usage::undefined(id)));
    }
    let columns = choose(options).map_err(Error::Refused)?;
    let saved = Directory::of(root, id)?.load()?;
    let pids = cgroup::pids(&cgroup::layout_of(&saved.cgroup)?, &saved.cgroup.path)?;
    if args.format == Format::Json {
        return print(&format!("{}\n", serde_json::json!(pids)));
    }
    let host = Host::read();
    let mut text = line(columns.iter().map(|column| (*column, column.head.to_owned())));
    // One that has ended since the list was read is left out.
    for process in pids.into_iter().filter_map(Process::read) {
        text.push_str(&line(columns.iter().map(|it| (*it, (it.value)(&process, &host)))));
    }
    print(&text)
}

/// The columns that ps(1)'s options ask for. Which processes they select does not
/// matter: it is the container's.
fn choose(options: &[String]) -> Result<Vec<&'static Column>, String> {
    if options.is_empty() {
        return columns::named(columns::FULL);
    }
    let (mut listed, mut layout) = (Vec::new(), columns::SHORT);
    let mut rest = options.iter();
    while let Some(option) = rest.next() {
        let letters = option.trim_start_matches('-');
        let unix = option.starts_with('-');
        for (at, letter) in letters.char_indices() {
            match letter {
                'x' if layout == columns::SHORT => layout = columns::BSD,
                'A' | 'a' | 'e' | 'd' | 'w' | 'H' | 'x' => {}
                'u' => layout = columns::USER,
                'f' if unix => layout = columns::FULL,
                'f' => {}
                'o' => {
                    // The rest of the word or the next one.
                    let here = letters.get(at + 1..).filter(|list| !list.is_empty());
                    let list = here.or_else(|| rest.next().map(String::as_str));
                    listed.extend(columns::named(list.unwrap_or_default())?);
                    break;
                }
                _ => return Err(format!("ps: {option:?} is not known; -ef, aux, -o COLUMNS are")),
            }
        }
    }
    if listed.is_empty() { columns::named(layout) } else { Ok(listed) }
}

fn line(cells: impl Iterator<Item = (&'static Column, String)>) -> String {
    let mut text = String::new();
    for (column, cell) in cells {
        if !text.is_empty() {
            text.push(' ');
        }
        let width = column.width;
        match column.right {
            true => text.push_str(&format!("{cell:>width$}")),
            false => text.push_str(&format!("{cell:<width$}")),
        }
    }
    format!("{}\n", text.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heads(options: &[&str]) -> String {
        let options: Vec<String> = options.iter().map(|it| (*it).to_owned()).collect();
        let columns = choose(&options).unwrap();
        line(columns.iter().map(|it| (*it, it.head.to_owned())))
    }

    #[test]
    fn the_usual_options_give_their_usual_columns() {
        assert_eq!(heads(&[]), "UID          PID    PPID  C STIME TTY          TIME CMD\n");
        assert_eq!(heads(&["-ef"]), heads(&[]));
        assert_eq!(heads(&["-e", "-x"]), "    PID TTY      STAT   TIME COMMAND\n");
        assert!(heads(&["aux"]).starts_with("USER         PID %CPU %MEM"));
        assert_eq!(heads(&["-aux"]), heads(&["aux"]));
        assert_eq!(heads(&["-eo", "pid,comm"]), "    PID COMMAND\n");
        assert_eq!(heads(&["-opid", "-o", "args"]), "    PID COMMAND\n");
    }

    #[test]
    fn what_is_not_known_is_named() {
        let text = |options: &[&str]| {
            choose(&options.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>()).unwrap_err()
        };
        assert!(text(&["-Z"]).contains("\"-Z\""));
        assert!(text(&["-o", "pid,colour"]).contains("\"colour\""));
        assert!(text(&["-o"]).contains("no column"));
    }

    #[test]
    fn we_are_a_process_ourselves() {
        let me = i32::try_from(std::process::id()).unwrap();
        let (process, host) = (Process::read(me).unwrap(), Host::read());
        for column in columns::named(columns::EVERY).unwrap() {
            assert!(!(column.value)(&process, &host).is_empty(), "{}", column.name);
        }
    }
}
