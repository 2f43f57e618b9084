//! New file systems of any kind, with their own options.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::mount::{MountFlags, mount};

use super::fsapi::{Setting, change_to, filesystem};
use crate::plan::{FilesystemPlan, MountAttributes};

/// Kinds that carry no label of a mount: their files have their own.
const UNLABELLED: [&str; 3] = ["proc", "sysfs", "mqueue"];

/// fsconfig(2) takes values of at most 256 bytes, the final null included.
const LONGEST: usize = 255;

/// A file system to be made.
pub(super) struct New<'a> {
    pub(super) plan: &'a FilesystemPlan,
    pub(super) label: Option<&'a str>,
    /// Of the directory it will cover; one in the options comes later and wins.
    pub(super) mode: Option<u32>,
    pub(super) attributes: MountAttributes,
}

impl New<'_> {
    fn label(&self) -> Option<&str> {
        self.label.filter(|_| !UNLABELLED.contains(&self.plan.kind.as_str()))
    }

    /// As a detached mount.
    pub(super) fn detached(&self) -> io::Result<OwnedFd> {
        let mode = self.mode.map(|mode| format!("{mode:04o}"));
        let mut settings = Vec::with_capacity(self.plan.options.len() + 2);
        settings.extend(mode.as_deref().map(|mode| Setting::Value("mode", mode)));
        settings.extend(self.plan.options.iter().map(|(key, value)| match value {
            Some(value) => Setting::Value(key, value),
            None => Setting::Flag(key),
        }));
        settings.extend(self.label().map(|label| Setting::Value("context", label)));
        let flags = change_to(self.attributes).set;
        filesystem(&self.plan.kind, &self.plan.source, &settings, flags)
    }

    /// Whether a value is too long for fsconfig(2): an overlay of many layers.
    pub(super) fn needs_mount_call(&self) -> bool {
        let long = |value: &Option<String>| value.as_ref().is_some_and(|v| v.len() > LONGEST);
        self.plan.options.iter().any(|(_, value)| long(value))
    }

    /// The old way: all options in one text of at most a page.
    /// Its attributes are set by whoever finds it.
    pub(super) fn mount_on(&self, target: &OwnedFd) -> io::Result<()> {
        let mut words: Vec<String> = Vec::new();
        words.extend(self.mode.map(|mode| format!("mode={mode:04o}")));
        words.extend(self.plan.options.iter().map(|(key, value)| match value {
            Some(value) => format!("{key}={value}"),
            None => key.clone(),
        }));
        words.extend(self.label().map(|label| format!("context=\"{label}\"")));
        let data = CString::new(words.join(","))?;
        let at = format!("/proc/self/fd/{}", target.as_raw_fd());
        let (source, kind) = (self.plan.source.as_str(), self.plan.kind.as_str());
        mount(source, at.as_str(), kind, MountFlags::empty(), data.as_c_str())?;
        Ok(())
    }
}
