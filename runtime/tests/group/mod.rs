//! A cgroup of one test, in whatever layout the machine has.
#![allow(dead_code)] // not every test file uses all of it

use std::fs;
use std::path::PathBuf;

use rcnt_runtime::cgroup::{
    self, CgroupError, Layout, kill_all, layout, remove, remove_empty_parents,
};
use rcnt_runtime::plan::{CgroupPlan, Resources};
use rustix::process::Pid;

use super::single_threaded::{start, wait};

/// A cgroup of one test, removed even when the test panics.
pub(crate) struct Group {
    pub(crate) layout: Layout,
    pub(crate) path: PathBuf,
}

impl Group {
    pub(crate) fn new(name: &str) -> Self {
        Self::of(layout().unwrap(), name)
    }

    pub(crate) fn of(layout: Layout, name: &str) -> Self {
        let path = PathBuf::from(format!("rcnt-test-{}/{name}", std::process::id()));
        Self { layout, path }
    }

    pub(crate) fn create(&self, resources: Resources) -> Result<cgroup::JoinHandles, CgroupError> {
        cgroup::create(&self.layout, &self.plan(resources))
    }

    pub(crate) fn plan(&self, resources: Resources) -> CgroupPlan {
        CgroupPlan { path: self.path.clone(), resources, ..CgroupPlan::default() }
    }

    /// Creates it and runs `act` inside; gives the exit code.
    pub(crate) fn run(&self, resources: Resources, act: impl FnOnce() -> u8) -> i32 {
        wait(self.start(resources, act))
    }

    pub(crate) fn start(&self, resources: Resources, act: impl FnOnce() -> u8) -> Pid {
        let handles = self.create(resources).unwrap();
        start(handles.clone_into_fd(), || {
            handles.join_self().unwrap();
            act()
        })
    }

    /// The text of the first of these files that some hierarchy has.
    pub(crate) fn file(&self, names: &[&str]) -> Option<String> {
        let dirs = self.layout.directories(&self.path);
        let texts = dirs.iter().flat_map(|dir| names.iter().map(move |name| dir.join(name)));
        texts.filter_map(|file| fs::read_to_string(file).ok()).next().map(|t| t.trim().to_owned())
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = kill_all(&self.layout, &self.path);
        // Children of a panicked test are zombies by now.
        while let Ok(Some(_)) = rustix::process::wait(rustix::process::WaitOptions::NOHANG) {}
        let removed = remove(&self.layout, &self.path);
        let _ = remove_empty_parents(&self.layout, &self.path);
        if !std::thread::panicking() {
            removed.unwrap();
            for dir in self.layout.directories(&self.path) {
                assert!(!dir.exists(), "{} is left", dir.display());
            }
        }
    }
}

/// Whether the machine has it, in either version.
pub(crate) fn has(layout: &Layout, controller: &str) -> bool {
    let on_v2 = |root: &PathBuf| {
        let offered = fs::read_to_string(root.join("cgroup.controllers")).unwrap_or_default();
        offered.split_whitespace().any(|word| word == controller)
    };
    layout.v1_of(controller).is_some() || layout.unified.as_ref().is_some_and(on_v2)
}
