//! `images`.

use std::collections::BTreeMap;
use std::time::Duration;

use rcnt_engine::Engine;
use rcnt_engine::images::{ImageSummary, Reference, Store};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::args::image::ImagesFlags;
use crate::failure::Failure;
use crate::render::filter::{Filters, glob_matches, label_matches};
use crate::render::listing::{Column, Listing};
use crate::render::{self, human, time::go_string};

const FILTERS: &[&str] = &["before", "dangling", "label", "reference", "since"];

/// `images`.
///
/// # Errors
/// A wrong filter or template; no such image for `before` and `since`.
pub(super) fn images(engine: &Engine, flags: &ImagesFlags) -> Result<u8, Failure> {
    let filters = Filters::parse(&flags.filter, FILTERS)?;
    let store = engine.store()?;
    let mut images = store.list().map_err(|e| Failure::of(&e))?;
    images.retain(|image| labels_hold(&store, &filters, image));
    images.sort_by_key(|image| std::cmp::Reverse(created(image)));
    let mut rows: Vec<Row> = images.iter().flat_map(|image| rows_of(image, flags)).collect();
    narrow(&store, &filters, &mut rows)?;
    if let Some(wanted) = &flags.reference {
        rows.retain(|row| names(wanted, row));
    }
    if flags.quiet && flags.format.is_none() {
        // One line per image: its names do not show.
        let mut ids: Vec<String> = rows.iter().map(Row::id).collect();
        ids.dedup();
        let lines: String = ids.into_iter().map(|id| id + "\n").collect();
        render::out(&lines)?;
        return Ok(0);
    }
    let listing = if flags.digests { &WITH_DIGESTS } else { &PLAIN };
    render::out(&listing.render(&rows, flags.format.as_deref())?)?;
    Ok(0)
}

fn created(image: &ImageSummary) -> Option<OffsetDateTime> {
    OffsetDateTime::parse(image.created.as_deref()?, &Rfc3339).ok()
}

/// One line of `images`: an image under one of its names.
struct Row {
    image: ImageSummary,
    /// `None`: `<none>`.
    repository: Option<String>,
    tag: Option<String>,
    digest: Option<String>,
    labels: BTreeMap<String, String>,
    now: OffsetDateTime,
    full: bool,
}

/// An image's lines: one per tag; those without a tag one per digest, or one.
fn rows_of(image: &ImageSummary, flags: &ImagesFlags) -> Vec<Row> {
    let row = |repository: Option<String>, tag: Option<String>, digest: Option<String>| Row {
        image: image.clone(),
        repository,
        tag,
        digest,
        labels: BTreeMap::new(),
        now: OffsetDateTime::now_utc(),
        full: flags.no_trunc,
    };
    let digest_of = |name: &Reference| {
        let same = image.digests.iter().find(|digest| digest.name() == name.name());
        same.and_then(Reference::digest).map(ToString::to_string)
    };
    let tags = image.tags.iter().map(|name| {
        row(Some(name.familiar_name()), name.tag().map(str::to_owned), digest_of(name))
    });
    let mut rows: Vec<Row> = tags.collect();
    let untagged = image
        .digests
        .iter()
        .filter(|digest| !image.tags.iter().any(|tag| tag.name() == digest.name()));
    rows.extend(untagged.map(|name| row(Some(name.familiar_name()), None, digest_of(name))));
    if rows.is_empty() {
        rows.push(row(None, None, None));
    }
    rows
}

fn labels_hold(store: &Store, filters: &Filters, image: &ImageSummary) -> bool {
    // Labels are in the configuration: read only for those who ask.
    !filters.has("label")
        || store.resolve(image.id.as_str()).is_ok_and(|image| {
            filters.all("label", |v| label_matches(v, image.config.config.labels.iter()))
        })
}

fn narrow(store: &Store, filters: &Filters, rows: &mut Vec<Row>) -> Result<(), Failure> {
    for value in filters.values("dangling") {
        let wanted = crate::args::values::bool_value(value)
            .map_err(|_| Failure::general(format!("invalid filter 'dangling={value}'")))?;
        rows.retain(|row| (row.repository.is_none() || row.tag.is_none()) == wanted);
    }
    for (key, newer) in [("since", true), ("before", false)] {
        for name in filters.values(key) {
            let image = store.resolve(name).map_err(|e| Failure::of(&e))?;
            let Some(border) = image.config.created.as_deref() else { continue };
            let border = OffsetDateTime::parse(border, &Rfc3339).ok();
            rows.retain(|row| row.image.id != image.id && (created(&row.image) > border) == newer);
        }
    }
    if filters.has("reference") {
        rows.retain(|row| filters.any("reference", |pattern| names(pattern, row)));
    }
    Ok(())
}

/// Whether `pattern` (`nginx`, `nginx:1.*`, `*/app`) names this line.
fn names(pattern: &str, row: &Row) -> bool {
    let Some(repository) = &row.repository else { return false };
    let tagged = row.tag.as_ref().map(|tag| format!("{repository}:{tag}"));
    let short = pattern.strip_prefix("docker.io/").unwrap_or(pattern);
    let short = short.strip_prefix("library/").unwrap_or(short);
    glob_matches(short, repository) || tagged.is_some_and(|name| glob_matches(short, &name))
}

impl Row {
    fn id(&self) -> String {
        let id = &self.image.id;
        if self.full { id.to_string() } else { id.short().to_owned() }
    }

    fn since(&self) -> String {
        match created(&self.image) {
            Some(at) => {
                let age = Duration::try_from(self.now - at).unwrap_or_default();
                human::duration(age) + " ago"
            }
            None => "N/A".to_owned(),
        }
    }
}

fn or_none(text: &Option<String>) -> String {
    text.clone().unwrap_or_else(|| "<none>".to_owned())
}

const COLUMNS: &[Column<Row>] = &[
    Column { field: "Containers", title: "CONTAINERS", cell: |_| "N/A".to_owned() },
    Column {
        field: "CreatedAt",
        title: "CREATED AT",
        cell: |row| created(&row.image).map_or_else(|| "N/A".to_owned(), go_string),
    },
    Column { field: "CreatedSince", title: "CREATED", cell: Row::since },
    Column { field: "Digest", title: "DIGEST", cell: |row| or_none(&row.digest) },
    Column { field: "ID", title: "IMAGE ID", cell: Row::id },
    Column { field: "Repository", title: "REPOSITORY", cell: |row| or_none(&row.repository) },
    Column { field: "SharedSize", title: "SHARED SIZE", cell: |_| "N/A".to_owned() },
    Column { field: "Size", title: "SIZE", cell: |row| human::size(row.image.size) },
    Column { field: "Tag", title: "TAG", cell: |row| or_none(&row.tag) },
    Column { field: "UniqueSize", title: "UNIQUE SIZE", cell: |_| "N/A".to_owned() },
    Column { field: "VirtualSize", title: "SIZE", cell: |row| human::size(row.image.size) },
];

fn label(row: &Row, key: &str) -> Option<String> {
    row.labels.get(key).cloned()
}

const PLAIN: Listing<Row> = Listing {
    columns: COLUMNS,
    default: &["Repository", "Tag", "ID", "CreatedSince", "Size"],
    label,
};
const WITH_DIGESTS: Listing<Row> = Listing {
    columns: COLUMNS,
    default: &["Repository", "Tag", "Digest", "ID", "CreatedSince", "Size"],
    label,
};

#[cfg(test)]
mod tests {
    use super::*;

    fn flags() -> ImagesFlags {
        ImagesFlags {
            all: false,
            digests: false,
            filter: Vec::new(),
            format: None,
            no_trunc: false,
            quiet: false,
            reference: None,
        }
    }

    fn image(tags: &[&str], digests: &[&str]) -> ImageSummary {
        let names = |names: &[&str]| names.iter().map(|n| n.parse().unwrap()).collect();
        ImageSummary {
            id: format!("sha256:{}", "ab".repeat(32)).parse().unwrap(),
            tags: names(tags),
            digests: names(digests),
            created: Some("2020-01-02T03:04:05Z".into()),
            size: 4_261_550,
            manifest: format!("sha256:{}", "cd".repeat(32)).parse().unwrap(),
        }
    }

    #[test]
    fn each_name_is_a_line_and_none_is_one_too() {
        let digest = format!("team/app@sha256:{}", "ef".repeat(32));
        let mut rows = rows_of(&image(&["busybox", "team/app:1"], &[&digest]), &flags());
        rows.extend(rows_of(&image(&[], &[&digest]), &flags()));
        rows.extend(rows_of(&image(&[], &[]), &flags()));
        let text = PLAIN.render(&rows, Some("{{.Repository}} {{.Tag}} {{.ID}} {{.Size}}")).unwrap();
        assert_eq!(
            text,
            "busybox latest abababababab 4.26MB\nteam/app 1 abababababab 4.26MB\n\
             team/app <none> abababababab 4.26MB\n<none> <none> abababababab 4.26MB\n"
        );
        let text = PLAIN.render(&rows[1..2], Some("{{.Digest}}")).unwrap();
        assert_eq!(text, format!("sha256:{}\n", "ef".repeat(32)));
        assert!(names("team/app", &rows[1]) && names("team/app:1", &rows[1]));
        assert!(names("docker.io/library/busy*", &rows[0]) && !names("app", &rows[1]));
    }

    #[test]
    fn the_table_is_dockers() {
        let rows = rows_of(&image(&["busybox"], &[]), &flags());
        let text = PLAIN.render(&rows, None).unwrap();
        let header = text.lines().next().unwrap();
        assert_eq!(header, "REPOSITORY   TAG       IMAGE ID       CREATED       SIZE");
    }
}
